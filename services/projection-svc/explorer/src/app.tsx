// The page: who and what is looked at, and what stands there while that is not picked.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { readKey, writeKey, type Trouble } from "./api/client";
import { rules as rulesRequest, state } from "./api/request";
import type { Rules, State } from "./api/types";
import { useAsk } from "./api/use-ask";
import { Explore } from "./explore";
import { useRoute } from "./model/route";
import { PrincipalField, rememberTenant, TenantField } from "./ui/combobox";
import { Curl, Failure, Icon } from "./ui/parts";
import { RuleList } from "./ui/rules";
import { KeyForm, Principals, Welcome } from "./ui/start";

/** An ingress has no way to the page of the API. */
const isHere = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);

/** Between two looks at the newest state, and at how far the rules are. */
const EVERY = 4_000;

export function App(): JSX.Element {
  const [route, go] = useRoute();
  const { tenant, principal } = route;
  // Another key is another caller: everything is asked anew.
  const [caller, setCaller] = useState(0);
  const rules = useAsk<Rules>(tenant ? rulesRequest() : null, `rules ${caller}`, EVERY);
  const who = JSON.stringify([tenant, principal, caller]);
  const head = useAsk<State>(tenant && principal ? state(tenant, principal, []) : null, who, EVERY);
  const pinned = route.at && head.data ? state(tenant, principal, ["version" in route.at ? ["version", route.at.version] : ["as_of", route.at.asOf]]) : null;
  const then = useAsk<State>(pinned, who);
  const all = rules.data?.rules ?? [];
  const rule = all.find((one) => one.name === route.rule) ?? all.find((one) => one.operator === "sum") ?? all[0];

  useEffect(() => {
    document.title = [rule && principal ? rule.name : "", principal, tenant, "Aevon"].filter(Boolean).join(" · ");
  }, [rule?.name, principal, tenant]);
  useEffect(() => {
    if (tenant && rules.data) rememberTenant(tenant);
  }, [tenant, rules.data]);

  const useKey = (key: string | null) => {
    writeKey(key);
    setCaller(caller + 1);
  };
  const trouble = rules.trouble ?? head.trouble;
  const needsKey = trouble?.status === 401;
  const pickTenant = (tenant: string) => go({ tenant, principal: "", at: null, window: "", filters: [] });
  const pickPrincipal = (principal: string) => go({ principal, at: null, window: "" });
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>To the content</a>
      <header class="bar">
        <a class="brand" href="#" onClick={(event) => (event.preventDefault(), pickTenant(""))} aria-label="Aevon: to the start">
          <Mark /> <span>Aevon</span>
        </a>
        {tenant && (
          <div class="who">
            <TenantField value={tenant} onPick={pickTenant} />
            <PrincipalField key={tenant} tenant={tenant} value={principal} onPick={pickPrincipal} />
          </div>
        )}
        <div class="row tight end">
          {readKey() && !needsKey && <button type="button" class="plain" title="Forget the key" aria-label="Forget the key" onClick={() => useKey(null)}><Icon name="key" /></button>}
          <ThemeButton />
          {isHere && <a class="plain docs" href="docs">API</a>}
        </div>
      </header>
      <main id="main" tabIndex={-1} class={tenant && !needsKey ? "with-rules" : ""}>
        {!tenant ? (
          <Welcome onPick={pickTenant} />
        ) : needsKey ? (
          <KeyForm trouble={readKey() ? (trouble?.detail ?? null) : null} hasKey={readKey() !== null} onKey={useKey} />
        ) : (
          <>
            <aside class="side">
              {all.length > 0 && (
                <RuleList
                  rules={all}
                  states={(then.data ?? head.data)?.states ?? []}
                  picked={rule?.name ?? ""}
                  onPick={(rule) => go({ rule, by: "", filters: [], window: "" })}
                />
              )}
              <div class="side-note quiet">
                {head.of && <p class="row between">Values as known {route.at ? "then" : "now"}<Curl of={then.of ?? head.of} what="the values of all rules" /></p>}
                {rules.of && <p class="row between">Lag of the buckets<Curl of={rules.of} what="the rules and their lag" /></p>}
              </div>
            </aside>
            <div class="content">
              <Content trouble={trouble} retry={() => (rules.retry(), head.retry())}>
                {rules.data && all.length === 0 && <NoRules />}
                {rule && !principal && <Principals key={`${tenant} ${caller}`} tenant={tenant} rule={rule} onPick={pickPrincipal} />}
                {rule && principal && head.data && <Explore key={who} {...{ route, go, rule }} head={head.data} />}
                {!trouble && (!rules.data || (principal && !head.data)) && <p class="quiet loading">Asking…</p>}
              </Content>
            </div>
          </>
        )}
      </main>
    </>
  );
}

/** What went wrong stands above what is there already. */
const Content = ({ trouble, retry, children }: { trouble: Trouble | null; retry: () => void; children: (JSX.Element | false | "" | null | undefined)[] }) => (
  <>
    {trouble && <Failure trouble={trouble} onRetry={retry} />}
    {children}
  </>
);

const NoRules = () => (
  <section class="empty-state">
    <h2>There are no rules yet</h2>
    <p>A rule says what events add up to. Write one, and apply its folder: <code>aevon rules apply DIR</code>.</p>
  </section>
);

const Mark = () => (
  <svg width="26" height="26" viewBox="0 0 32 32" aria-hidden="true" class="mark">
    <rect width="32" height="32" rx="9" />
    <path d="M7 22V17M13 22V12M19 22V15" />
    <circle cx="25" cy="9" r="2.5" />
  </svg>
);

const THEMES = ["", "light", "dark"] as const;
const THEME = "aevon.theme";

export function applyTheme(theme: string): void {
  if (theme) document.documentElement.dataset["theme"] = theme;
  else delete document.documentElement.dataset["theme"];
}
export const theme = (): string => localStorage.getItem(THEME) ?? "";

function ThemeButton() {
  const [now, setNow] = useState(theme());
  const name = now || "as the system";
  const turn = () => {
    const next = THEMES[(THEMES.indexOf(now as (typeof THEMES)[number]) + 1) % THEMES.length] ?? "";
    localStorage.setItem(THEME, next);
    applyTheme(next);
    setNow(next);
  };
  return (
    <button type="button" class="plain" title={`Theme: ${name}`} aria-label={`Theme: ${name}. Change it`} onClick={turn}>
      <Icon name="theme" />
    </button>
  );
}

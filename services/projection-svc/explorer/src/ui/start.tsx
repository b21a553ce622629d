// What stands there before a tenant and a principal are picked.
import type { JSX } from "preact";
import { largest, principals, type Request } from "../api/request";
import type { Principals, Rule, StateList } from "../api/types";
import { useAsk } from "../api/use-ask";
import { group } from "../model/decimal";
import { Curl, Failure } from "./parts";
import { TenantField, tenantsBefore } from "./combobox";

export function Welcome({ onPick }: { onPick: (tenant: string) => void }): JSX.Element {
  const before = tenantsBefore();
  return (
    <section class="welcome">
      <h1>What does the log add up to, and what did we know when?</h1>
      <p>Pick a tenant. You see the state of each of its principals over time, as it is known now and as it was known at any moment before, with the events behind every number.</p>
      <TenantField value="" onPick={onPick} isFirst />
      <p class="quiet">
        {before.length > 0 ? "Again: " : <>The sample of <code>aevon dev</code> is of tenant </>}
        {(before.length > 0 ? before : ["acme"]).map((one) => <button key={one} type="button" class="chip" onClick={() => onPick(one)}>{one}</button>)}
      </p>
    </section>
  );
}

/** Whom there is to look at: those of whom there is most first. */
export function Principals({ tenant, rule, onPick }: { tenant: string; rule: Rule; onPick: (principal: string) => void }): JSX.Element {
  // A weighted sum has no value without an end.
  const canRank = rule.operator !== "weighted_sum";
  const ranked = useAsk<StateList>(canRank ? largest(tenant, rule.name) : null, `largest ${tenant} ${rule.name}`);
  const listed = useAsk<Principals>(principals(tenant, ""), `principals ${tenant}`);
  const trouble = listed.trouble ?? ranked.trouble;
  if (trouble) return <Failure trouble={trouble} onRetry={() => (listed.retry(), ranked.retry())} />;
  if (!listed.data) return <p class="quiet loading">Asking who is there…</p>;
  if (listed.data.items.length === 0) {
    return (
      <section class="empty-state">
        <h2>Nothing is known of tenant {tenant}</h2>
        <p>No event of it was stored yet. Send one, and it is here at once:</p>
        <pre tabIndex={0}>{`curl '${new URL("v1/events", document.baseURI).href}' -H 'content-type: application/json' -d '${JSON.stringify({ tenant_id: tenant, principal_id: "user_1", id: "my-first", type: rule.source_event, occurred_at: new Date().toISOString().slice(0, 19) + "Z", data: {} })}'`}</pre>
      </section>
    );
  }
  const of: Request | null = ranked.of ?? listed.of;
  const items = ranked.data?.items ?? [];
  const value = (at: number) => items[at]?.states[0]?.values[0]?.value ?? null;
  const most = Math.max(...items.map((_, at) => Math.abs(Number(value(at) ?? 0))), 0);
  const others = listed.data.items.filter((one) => !items.some((it) => it.principal_id === one.principal_id));
  return (
    <section class="ranking" aria-label="Principals">
      <div class="row between">
        <h2>{canRank ? `The most ${rule.name}` : "Principals"}</h2>
        <Curl of={of} what="the list of principals" />
      </div>
      <ol>
        {items.map((one, at) => (
          <li key={one.principal_id}>
            <button type="button" onClick={() => onPick(one.principal_id)}>
              <span class="who">{one.principal_id}</span>
              <span class="value">{value(at) === null ? "—" : group(value(at)!)} <small>{rule.unit}</small></span>
              <span class="bar" style={{ width: `${most ? (Math.abs(Number(value(at) ?? 0)) / most) * 100 : 0}%` }} />
            </button>
          </li>
        ))}
      </ol>
      {others.length > 0 && (
        <p class="others">
          {items.length > 0 && <span class="quiet">Also: </span>}
          {others.slice(0, 24).map((one) => <button key={one.principal_id} type="button" class="chip" onClick={() => onPick(one.principal_id)}>{one.principal_id}</button>)}
          {(listed.data.next !== null || others.length > 24) && <span class="quiet"> … type above to find others</span>}
        </p>
      )}
    </section>
  );
}

export function KeyForm({ trouble, hasKey, onKey }: { trouble: string | null; hasKey: boolean; onKey: (key: string | null) => void }): JSX.Element {
  return (
    <form
      class="key"
      onSubmit={(event) => {
        event.preventDefault();
        const key = String(new FormData(event.currentTarget).get("key") ?? "").trim();
        if (key) onKey(key);
      }}
    >
      <h2>{hasKey ? "The key is not taken" : "This installation asks for a key"}</h2>
      {trouble && <p role="alert">{trouble}</p>}
      <label>
        <span>Key with scope <code>read</code></span>
        <input name="key" type="password" autocomplete="off" spellcheck={false} required autofocus />
      </label>
      <p class="quiet">It is kept in this tab alone (session storage), sent to this service alone, and gone when the tab is closed. Copied commands say <code>$AEVON_KEY</code> in its place.</p>
      <div class="row">
        <button type="submit" class="primary">Use this key</button>
        {hasKey && <button type="button" onClick={() => onKey(null)}>Forget the key</button>}
      </div>
    </form>
  );
}

// A text field that proposes principals: the pattern "combobox with a list" of the ARIA practices.
import type { JSX } from "preact";
import { useEffect, useId, useState } from "preact/hooks";
import { principals } from "../api/request";
import type { Principals } from "../api/types";
import { useAsk } from "../api/use-ask";
import { Icon } from "./parts";

interface ComboboxProps {
  tenant: string;
  value: string;
  onPick: (principal: string) => void;
}

/** While somebody types, a question a keystroke would be too many. */
const PAUSE = 120;

export function PrincipalField({ tenant, value, onPick }: ComboboxProps): JSX.Element {
  const id = useId();
  const [text, setText] = useState(value);
  const [prefix, setPrefix] = useState("");
  const [isOpen, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const found = useAsk<Principals>(tenant && isOpen ? principals(tenant, prefix) : null, `principals ${tenant}`);
  const items = isOpen ? (found.data?.items ?? []) : [];

  useEffect(() => setText(value), [value]);
  useEffect(() => {
    const timer = setTimeout(() => setPrefix(isOpen && text !== value ? text : ""), PAUSE);
    return () => clearTimeout(timer);
  }, [text, isOpen]);

  const pick = (principal: string) => {
    setOpen(false);
    setActive(-1);
    setText(principal);
    if (principal && principal !== value) onPick(principal);
  };
  const press = (event: KeyboardEvent) => {
    const move: Record<string, number> = { ArrowDown: 1, ArrowUp: -1 };
    const step = move[event.key];
    if (step) {
      setOpen(true);
      setActive((at) => (items.length ? (at + step + items.length) % items.length : -1));
    } else if (event.key === "Enter") pick(items[active]?.principal_id ?? text);
    else if (event.key === "Escape") {
      setOpen(false);
      setText(value);
    } else return;
    event.preventDefault();
  };
  return (
    <div class="field combobox" onFocusOut={(event) => !event.currentTarget.contains(event.relatedTarget as Node) && setOpen(false)}>
      <label for={id}>Principal</label>
      <div class="box">
        <input
          id={id}
          role="combobox"
          aria-expanded={isOpen && items.length > 0}
          aria-controls={`${id}-list`}
          aria-autocomplete="list"
          aria-activedescendant={active >= 0 ? `${id}-${active}` : undefined}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          placeholder={tenant ? "who?" : "first a tenant"}
          disabled={!tenant}
          maxLength={512}
          value={text}
          onInput={(event) => {
            setText(event.currentTarget.value);
            setOpen(true);
            setActive(-1);
          }}
          onFocus={(event) => event.currentTarget.select()}
          onClick={() => setOpen(true)}
          onKeyDown={press}
          onBlur={() => text && text !== value && !isOpen && pick(text)}
        />
        <Icon name="chevron" />
        <ul id={`${id}-list`} role="listbox" aria-label="Principals" hidden={!isOpen || items.length === 0}>
          {items.map(({ principal_id }, at) => (
            <li
              key={principal_id}
              id={`${id}-${at}`}
              role="option"
              aria-selected={at === active}
              class={principal_id === value ? "current" : ""}
              onPointerDown={(event) => {
                event.preventDefault();
                pick(principal_id);
              }}
            >
              {principal_id}
            </li>
          ))}
        </ul>
        {isOpen && found.data && items.length === 0 && (
          <div class="none" role="status">Nobody's name begins so. Enter takes it as it is.</div>
        )}
        {isOpen && found.trouble && <div class="none" role="alert">{found.trouble.title}</div>}
      </div>
    </div>
  );
}

/** The tenant is typed: no route tells who there is. Those of before are proposed. */
export function TenantField({ value, onPick, isFirst }: { value: string; onPick: (tenant: string) => void; isFirst?: boolean }): JSX.Element {
  const id = useId();
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const pick = () => {
    if (text && text !== value) onPick(text);
  };
  return (
    <form
      class="field"
      onSubmit={(event) => {
        event.preventDefault();
        pick();
      }}
    >
      <label for={id}>Tenant</label>
      <div class="box">
        <input
          id={id}
          list={`${id}-before`}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          placeholder="whose?"
          maxLength={512}
          autofocus={isFirst ?? false}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onBlur={pick}
        />
        <datalist id={`${id}-before`}>{tenantsBefore().map((one) => <option key={one} value={one} />)}</datalist>
      </div>
    </form>
  );
}

const TENANTS = "aevon.tenants";

export function tenantsBefore(): string[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(TENANTS) ?? "[]");
    return Array.isArray(found) ? found.filter((one) => typeof one === "string") : [];
  } catch {
    return [];
  }
}

export function rememberTenant(tenant: string): void {
  const others = tenantsBefore().filter((one) => one !== tenant);
  localStorage.setItem(TENANTS, JSON.stringify([tenant, ...others].slice(0, 8)));
}

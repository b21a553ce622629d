// Small parts that stand in many places.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useState } from "preact/hooks";
import { readKey, type Trouble } from "../api/client";
import { curl, type Request } from "../api/request";
import { say } from "./say";

const ICONS = {
  copy: "M5.5 5.5v-2a1 1 0 0 1 1-1h6a1 1 0 0 1 1 1v6a1 1 0 0 1-1 1h-2M3.5 5.5h6a1 1 0 0 1 1 1v6a1 1 0 0 1-1 1h-6a1 1 0 0 1-1-1v-6a1 1 0 0 1 1-1Z",
  done: "M3 8.5 6.5 12 13 4.5",
  play: "M5 3.2v9.6l8-4.8Z",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  back: "M10 3.5 5.5 8l4.5 4.5",
  forth: "M6 3.5 10.5 8 6 12.5",
  close: "M4 4l8 8M12 4l-8 8",
  key: "M9.8 6.2a3 3 0 1 0-2.1 2.1L9 9.5h1.5V11H12v1.5h1.8v-2L9.8 6.2ZM5 5h.01",
  theme: "M8 2.5a5.5 5.5 0 1 0 0 11Zm0 0a5.5 5.5 0 0 1 0 11",
  check: "M8 1.8 13 4v4c0 3-2.1 5.2-5 6.2C5.1 13.2 3 11 3 8V4ZM5.8 8l1.6 1.6 2.9-3.1",
  chevron: "M4.5 6.5 8 10l3.5-3.5",
  warn: "M8 2.2 14.2 13H1.8ZM8 6.5v3M8 11.2v.01",
};

export const Icon = ({ name }: { name: keyof typeof ICONS }): JSX.Element => (
  <svg class={`icon ${name}`} viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
    <path d={ICONS[name]} />
  </svg>
);

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without https there is no clipboard but the old one.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** Copies what was asked, for a shell. */
export function Curl({ of, what }: { of: Request | null; what: string }): JSX.Element | null {
  const [state, setState] = useState<"" | "done" | "failed">("");
  useEffect(() => {
    if (!state) return;
    const timer = setTimeout(() => setState(""), 2000);
    return () => clearTimeout(timer);
  }, [state]);
  if (!of) return null;
  const text = curl(of, readKey() !== null);
  const press = async () => {
    const done = await copy(text);
    setState(done ? "done" : "failed");
    say(done ? "The command is copied" : "The command can't be copied", 0);
  };
  return (
    <button type="button" class="curl" title={text} aria-label={`Copy as curl: ${what}`} onClick={press}>
      <Icon name={state === "done" ? "done" : "copy"} />
      <span>{state === "done" ? "copied" : state === "failed" ? "failed" : "curl"}</span>
    </button>
  );
}

export interface Choice<T extends string> {
  value: T;
  name: string;
  hint?: string;
}

/** One of a few. */
export function Segments<T extends string>({ label, choices, value, onPick }: { label: string; choices: readonly Choice<T>[]; value: T | null; onPick: (value: T) => void }) {
  const name = useId();
  return (
    <fieldset class="segments">
      <legend class="hidden">{label}</legend>
      {choices.map((one) => (
        <label key={one.value} title={one.hint}>
          <input type="radio" name={name} checked={one.value === value} onChange={() => onPick(one.value)} />
          <span>{one.name}</span>
        </label>
      ))}
    </fieldset>
  );
}

export function Select<T extends string>({ label, choices, value, onPick }: { label: string; choices: readonly (Choice<T> & { isOff?: boolean })[]; value: T; onPick: (value: T) => void }) {
  return (
    <label class="select">
      <span class="name">{label}</span>
      <select value={value} onChange={(event) => onPick(event.currentTarget.value as T)}>
        {choices.map((one) => (
          <option key={one.value} value={one.value} disabled={one.isOff ?? false}>
            {one.name}
          </option>
        ))}
      </select>
    </label>
  );
}

/** What went wrong, in the service's own words, and the way on. */
export function Failure({ trouble, onRetry }: { trouble: Trouble; onRetry?: () => void }): JSX.Element {
  return (
    <div class="failure" role="alert">
      <Icon name="warn" />
      <div>
        <strong>{trouble.title}</strong>
        <p>{trouble.detail}</p>
        {trouble.faults.length > 0 && <ul>{trouble.faults.map((fault) => <li key={fault}>{fault}</li>)}</ul>}
        <p class="quiet">
          {trouble.code && <code>{trouble.code}</code>} {trouble.requestId && <>request <code>{trouble.requestId}</code></>}
        </p>
      </div>
      {onRetry && <button type="button" onClick={onRetry}>Try again</button>}
    </div>
  );
}

export const Badge = ({ kind, children, title }: { kind: string; children: ComponentChildren; title?: string }) => (
  <span class={`badge ${kind}`} title={title}>{children}</span>
);

/** A number of things, with its noun. */
export const many = (number: number, one: string, several = `${one}s`): string =>
  `${number.toLocaleString("en")} ${number === 1 ? one : several}`;

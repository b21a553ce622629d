// Answers as what is drawn: windows with the value that was known, and the one that is known now.
import { add } from "./decimal";
import type { Mark } from "./log";
import { floor, instant, millis, next, type Grain } from "./time";
import type { Rule, WindowValue } from "../api/types";

export interface Cell {
  /** The label; null is the group without a value, undefined that there are no groups. */
  readonly label: string | null | undefined;
  readonly value: string | null;
  readonly events: number;
  readonly skipped: number;
  readonly isEstimate: boolean;
}

export interface Window {
  readonly start: string;
  readonly end: string;
  readonly from: number;
  readonly to: number;
  readonly then: readonly Cell[];
  readonly now: readonly Cell[];
  /**
   * `same`: as it was. `rewritten`: the log had gone past it, and it has changed since. `open`: it was
   * not complete, or had not begun.
   */
  readonly state: "same" | "rewritten" | "open";
  readonly marks: readonly Mark[];
}

export type Operator = Rule["operator"];

/** Operators whose windows and groups add up, so that they may be stacked. */
export const isAdditive = (operator: Operator): boolean => ["count", "sum", "weighted_sum"].includes(operator);

const OTHERS = Symbol("others");
export type Label = string | null | undefined | typeof OTHERS;
export { OTHERS };

/** Groups that have a colour of their own. */
export const MOST_COLOURS = 6;

function cells(values: readonly WindowValue[], by: string): Map<string, { end: string; cells: Cell[] }> {
  const found = new Map<string, { end: string; cells: Cell[] }>();
  for (const one of values) {
    if (one.window_start === null || one.window_end === null) continue;
    const cell: Cell = {
      label: by ? (one.group?.[by] ?? null) : undefined,
      value: one.value,
      events: one.event_count,
      skipped: one.skipped_count,
      isEstimate: one.approximate ?? false,
    };
    const known = found.get(one.window_start);
    if (known) known.cells.push(cell);
    else found.set(one.window_start, { end: one.window_end, cells: [cell] });
  }
  return found;
}

const sign = (all: readonly Cell[]) =>
  JSON.stringify(all.map((one) => [one.label ?? null, one.value, one.events, one.skipped]));

/** How a range is cut. */
export interface Cut {
  readonly start: number;
  readonly end: number;
  readonly grain: Grain;
  readonly zone: string;
}

/** The windows of both answers. `passed` is the beginning of the window that the log had come to then. */
export function windows(
  then: readonly WindowValue[],
  now: readonly WindowValue[],
  by: string,
  passed: number,
  marks: readonly Mark[],
  cut: Cut,
): Window[] {
  const [before, after] = [cells(then, by), cells(now, by)];
  const starts = [...new Set([...before.keys(), ...after.keys()])];
  const all = starts.map((start): Window => {
    const [old, fresh] = [before.get(start), after.get(start)];
    const end = (old ?? fresh)!.end;
    const [was, is] = [old?.cells ?? [], fresh?.cells ?? []];
    const from = millis(start);
    const state = sign(was) === sign(is) ? "same" : from < passed ? "rewritten" : "open";
    return { start, end, from, to: millis(end), then: was, now: is, state, marks: [] };
  });
  // A window that a void has emptied is in no answer, and is what somebody may look for.
  for (const { ms } of marks) {
    const isIn = cut.start <= ms && ms < cut.end;
    if (isIn && !all.some((one) => one.from <= ms && ms < one.to)) all.push(emptied(ms, cut));
  }
  all.sort((a, b) => a.from - b.from);
  return all.map((one) => ({ ...one, marks: marks.filter((mark) => one.from <= mark.ms && mark.ms < one.to) }));
}

function emptied(ms: number, { start, end, grain, zone }: Cut): Window {
  const from = Math.max(start, floor(ms, grain, zone));
  const to = Math.min(end, next(ms, grain, zone));
  return { start: instant(from), end: instant(to), from, to, then: [], now: [], state: "same", marks: [] };
}

/** The value of a window over all of its groups, where these add up. */
export function total(all: readonly Cell[], operator: Operator): string | null {
  if (all.length === 1) return all[0]!.value;
  if (!isAdditive(operator)) return null;
  const values = all.map((one) => one.value).filter((value) => value !== null);
  return values.length ? values.reduce(add) : null;
}

export const events = (all: readonly Cell[]): number => all.reduce((sum, one) => sum + one.events, 0);
export const skipped = (all: readonly Cell[]): number => all.reduce((sum, one) => sum + one.skipped, 0);

/** The labels by how much there is of them now, so that none changes its colour under the slider. */
export function labels(now: readonly WindowValue[], then: readonly WindowValue[], by: string): (string | null)[] {
  const weight = new Map<string | null, number>();
  const weigh = (values: readonly WindowValue[], share: number) => {
    for (const one of values) {
      const label = one.group?.[by] ?? null;
      weight.set(label, (weight.get(label) ?? 0) + share * Math.abs(Number(one.value ?? 0)));
    }
  };
  weigh(now, 1);
  weigh(then, 0);
  return [...weight.entries()].sort((a, b) => b[1] - a[1]).map(([label]) => label);
}

/** Cells with those of the groups without a colour put together; only where they add up. */
export function coloured(all: readonly Cell[], order: readonly (string | null)[], operator: Operator): { label: Label; value: string | null }[] {
  const shown = new Set(order.slice(0, MOST_COLOURS));
  const own = all.filter((one) => one.label === undefined || shown.has(one.label));
  const rest = all.filter((one) => one.label !== undefined && !shown.has(one.label));
  own.sort((a, b) => order.indexOf(a.label ?? null) - order.indexOf(b.label ?? null));
  const found: { label: Label; value: string | null }[] = own.map(({ label, value }) => ({ label, value }));
  if (rest.length && isAdditive(operator)) found.push({ label: OTHERS, value: total(rest, operator) });
  return found;
}

export const showLabel = (label: Label): string =>
  label === OTHERS ? "others" : label === null ? "(no value)" : label === "" ? "(empty)" : (label ?? "");

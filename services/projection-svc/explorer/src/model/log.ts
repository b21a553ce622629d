// A principal's log as far as the page has read it, and what in it has rewritten history.
import { floor, millis, compareInstants, type Grain } from "./time";
import type { LoggedEvent } from "../api/types";

export const VOID = "aevon.void";

export interface Log {
  /** Of the rule's type, and the voids of such, in the order of the log. */
  readonly events: readonly LoggedEvent[];
  /** Whether there is nothing before the first of them. */
  readonly isWhole: boolean;
  /** When the first event was stored, be it among them or not. */
  readonly since: string | null;
}

/** Something that changed a window which the log had already gone past. */
export interface Mark {
  readonly kind: "late" | "void";
  /** The late event, or the void. */
  readonly event: LoggedEvent;
  /** The event that changes the window: the late one, or what was voided. */
  readonly about: LoggedEvent;
  readonly seq: number;
  /** When that occurred. */
  readonly ms: number;
}

export const seqOf = (position: string): number => Number(position.slice(position.indexOf(":") + 1));
export const partitionOf = (position: string): string => position.slice(0, position.indexOf(":"));

/** Whether a void takes out that event. */
function takesOut(one: LoggedEvent, event: LoggedEvent): boolean {
  const data = one.data as { event_id?: unknown; source?: unknown };
  return data.event_id === event.id && (data.source ?? undefined) === event.source;
}

/** Puts what came in since to what was read before; null where something is missing between them. */
export function merge(log: Log, newest: readonly LoggedEvent[]): Log | null {
  const last = log.events.at(-1);
  const first = newest[0];
  if (!last || !first || seqOf(first.position) > seqOf(last.position)) return null;
  const added = newest.filter((one) => seqOf(one.position) > seqOf(last.position));
  if (added.length === 0) return log;
  const voids = added.filter((one) => one.type === VOID);
  const marked = log.events.map((one) => {
    const by = one.voided_by ? undefined : voids.find((it) => takesOut(it, one));
    return by ? { ...one, voided_by: by.position } : one;
  });
  return { ...log, events: [...marked, ...added] };
}

/** The events that have changed the rule's answers: voids of other types' events are none of them. */
export function stops(log: Log): LoggedEvent[] {
  const voiding = new Set(log.events.map((one) => one.voided_by).filter(Boolean));
  return log.events.filter((one) => one.type !== VOID || voiding.has(one.position));
}

/** The newest moment of valid time that was known of at a position. */
export function frontier(events: readonly LoggedEvent[], seq: number): number {
  let newest = -Infinity;
  for (const one of events) {
    if (seqOf(one.position) > seq) break;
    if (one.type !== VOID) newest = Math.max(newest, millis(one.occurred_at));
  }
  return newest;
}

/**
 * Everything that rewrote history when it came in: events of windows before the one that the log had
 * come to, and voids. What came in together is not late to each other.
 */
export function marks(events: readonly LoggedEvent[], grain: Grain, zone: string): Mark[] {
  const found: Mark[] = [];
  const byVoid = new Map(events.flatMap((one) => (one.voided_by ? [[one.voided_by, one] as const] : [])));
  let [passed, newest] = [-Infinity, -Infinity];
  let ingested = "";
  for (const event of events) {
    const seq = seqOf(event.position);
    const about = event.type === VOID ? byVoid.get(event.position) : event;
    if (!about) continue;
    const ms = millis(about.occurred_at);
    if (event.type === VOID) {
      found.push({ kind: "void", event, about, seq, ms });
      continue;
    }
    if (ingested === "" || compareInstants(event.ingested_at, ingested) > 0) {
      passed = newest === -Infinity ? newest : floor(newest, grain, zone);
      ingested = event.ingested_at;
    }
    if (ms < passed) found.push({ kind: "late", event, about, seq, ms });
    newest = Math.max(newest, ms);
  }
  return found;
}

/** Of these, what has changed since a position the history that was known there. */
export function since(all: readonly Mark[], events: readonly LoggedEvent[], seq: number, grain: Grain, zone: string): Mark[] {
  const known = frontier(events, seq);
  const passed = known === -Infinity ? known : floor(known, grain, zone);
  return all.filter((mark) => {
    if (mark.seq <= seq) return false;
    if (mark.kind === "void") return seqOf(mark.about.position) <= seq;
    return mark.ms < passed && !mark.about.voided_by;
  });
}

/** The index of the last event at or below a position; -1 where there is none. */
export function lastAt(events: readonly LoggedEvent[], seq: number): number {
  let [low, high] = [0, events.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (seqOf(events[middle]!.position) <= seq) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

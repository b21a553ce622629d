// Instants are RFC 3339 in UTC, as the API sends them; milliseconds only decide where something is drawn.

export const GRAINS = ["1m", "1h", "1d", "1w", "1mo"] as const;
export type Grain = (typeof GRAINS)[number];

export const GRAIN_NAMES: Record<Grain, string> = {
  "1m": "minutes",
  "1h": "hours",
  "1d": "days",
  "1w": "weeks",
  "1mo": "months",
};

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

export const GRAIN_MS: Record<Grain, number> = {
  "1m": MINUTE,
  "1h": HOUR,
  "1d": DAY,
  "1w": 7 * DAY,
  "1mo": 30 * DAY,
};

/** Most windows that are drawn. */
export const MOST_WINDOWS = 400;
/** More than this many are hard to tell apart: the next coarser grain is chosen by itself. */
const PLEASANT_WINDOWS = 120;

export const millis = (instant: string): number => Date.parse(instant);
export const instant = (ms: number): string => new Date(ms).toISOString().replace(".000Z", "Z");

/** Compares instants of the API by all of their digits; milliseconds would lose the last three. */
export function compareInstants(a: string, b: string): number {
  const [left, right] = [digits(a), digits(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}

function digits(text: string): string {
  const [whole = "", fraction = ""] = text.replace("Z", "").split(".");
  return `${whole}.${fraction.padEnd(6, "0")}`;
}

const formats = new Map<string, Intl.DateTimeFormat>();

function format(zone: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = zone + JSON.stringify(options);
  let found = formats.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...options });
    formats.set(key, found);
  }
  return found;
}

interface Fields {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}

function fields(ms: number, zone: string): Fields {
  const parts = format(zone, {
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  }).formatToParts(ms);
  const of = (type: string) => Number(parts.find((part) => part.type === type)?.value ?? 0);
  return {
    year: of("year"),
    month: of("month"),
    day: of("day"),
    hour: of("hour"),
    minute: of("minute"),
    second: of("second"),
  };
}

/** What the clock of a zone shows, as if it were UTC. */
function local(ms: number, zone: string): number {
  if (zone === "UTC") return ms;
  const f = fields(ms, zone);
  return Date.UTC(f.year, f.month - 1, f.day, f.hour, f.minute, f.second) + (((ms % 1000) + 1000) % 1000);
}

function fromLocal(shown: number, zone: string): number {
  if (zone === "UTC") return shown;
  const guess = shown - (local(shown, zone) - shown);
  return guess - (local(guess, zone) - shown);
}

const MONDAY = Date.UTC(1970, 0, 5);

/** The beginning of the window that an instant lies in. Decides what is drawn and asked, never what is counted. */
export function floor(ms: number, grain: Grain, zone: string): number {
  if (grain === "1m") return Math.floor(ms / MINUTE) * MINUTE;
  const shown = local(ms, zone);
  if (grain === "1mo") {
    const date = new Date(shown);
    return fromLocal(Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1), zone);
  }
  const origin = grain === "1w" ? MONDAY : 0;
  const size = GRAIN_MS[grain];
  return fromLocal(Math.floor((shown - origin) / size) * size + origin, zone);
}

/** The beginning of the window after the one that an instant lies in. */
export function next(ms: number, grain: Grain, zone: string): number {
  const start = floor(ms, grain, zone);
  // Far enough to be in the next one whatever the clock does, near enough not to skip it.
  const inNext = { "1m": MINUTE, "1h": HOUR, "1d": DAY + 2 * HOUR, "1w": 7 * DAY + 2 * HOUR, "1mo": 31 * DAY + 2 * HOUR };
  return floor(start + inNext[grain], grain, zone);
}

export const windowsIn = (start: number, end: number, grain: Grain): number =>
  Math.ceil((end - start) / GRAIN_MS[grain]);

export function pleasantGrain(start: number, end: number): Grain {
  return GRAINS.find((grain) => windowsIn(start, end, grain) <= PLEASANT_WINDOWS) ?? "1mo";
}

/** A moment to the second, or finer where that matters. */
export function showInstant(text: string, zone: string, fine = false): string {
  const ms = millis(text);
  const day = format(zone, { day: "numeric", month: "short", year: "numeric" }).format(ms);
  const clock = format(zone, { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(ms);
  const fraction = fine ? /\.\d+/.exec(text)?.[0] ?? "" : "";
  return `${day}, ${clock}${fraction}`;
}

/** The span of a window in as few words as say it. */
export function showWindow(start: string, end: string, zone: string): string {
  const [from, to] = [millis(start), millis(end)];
  const day = (ms: number) => format(zone, { weekday: "short", day: "numeric", month: "short", year: "numeric" }).format(ms);
  const clock = (ms: number) => format(zone, { hour: "2-digit", minute: "2-digit" }).format(ms);
  const wholeDays = clock(from) === "00:00" && clock(to) === "00:00";
  const last = day(to - 1);
  if (wholeDays) return day(from) === last ? last : `${day(from)} – ${last}`;
  return day(from) === last ? `${last}, ${clock(from)}–${clock(to)}` : `${day(from)}, ${clock(from)} – ${day(to)}, ${clock(to)}`;
}

/** A label of the time axis: what changes from one window to the next, and the day where it begins. */
export function showTick(ms: number, grain: Grain, zone: string): { text: string; isMajor: boolean } {
  const clock = format(zone, { hour: "2-digit", minute: "2-digit" }).format(ms);
  const day = format(zone, { day: "numeric", month: "short" }).format(ms);
  if (grain === "1mo") {
    const isMajor = fields(ms, zone).month === 1;
    return { text: format(zone, isMajor ? { year: "numeric" } : { month: "short" }).format(ms), isMajor };
  }
  if (grain === "1d" || grain === "1w") return { text: day, isMajor: fields(ms, zone).day <= (grain === "1d" ? 1 : 7) };
  return clock === "00:00" ? { text: day, isMajor: true } : { text: clock, isMajor: false };
}

/** How long something took, in the two largest units. */
export function showDuration(ms: number): string {
  const units: [number, string][] = [[365 * DAY, "y"], [DAY, "d"], [HOUR, "h"], [MINUTE, "min"], [1000, "s"]];
  let rest = Math.max(0, ms);
  const parts: string[] = [];
  for (const [size, name] of units) {
    if (rest < size || parts.length === 2) continue;
    parts.push(`${Math.floor(rest / size)} ${name}`);
    rest %= size;
  }
  return parts.join(" ") || (ms >= 1 ? `${Math.round(ms)} ms` : "less than 1 ms");
}

/** For `<input type="datetime-local">`. */
export const toInput = (ms: number, zone: string): string => new Date(local(ms, zone)).toISOString().slice(0, 19);
export const fromInput = (text: string, zone: string): number | null => {
  const shown = Date.parse(`${text}Z`);
  return Number.isNaN(shown) ? null : fromLocal(shown, zone);
};

export const ownZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

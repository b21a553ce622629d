// Sends questions. Every one has a deadline, and may be given up.
import type { Problem } from "./types";
import type { Request } from "./request";

/** Longer than the service's own budget for a question (10 s), so that its word comes first. */
const DEADLINE = 15_000;
/** Final answers that are kept, so that sliding back needs no request. */
const MOST_KEPT = 300;

const KEY = "aevon.key";

/** Why there is no answer, in words for people. */
export class Trouble extends Error {
  constructor(
    readonly title: string,
    readonly detail: string,
    readonly status: number | null,
    readonly code: string | null,
    readonly requestId: string | null,
    readonly faults: readonly string[] = [],
  ) {
    super(`${title}: ${detail}`);
  }
}

export const readKey = (): string | null => sessionStorage.getItem(KEY);
export function writeKey(key: string | null): void {
  kept.clear();
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

const kept = new Map<string, unknown>();

function keep(url: string, answer: unknown): void {
  kept.delete(url);
  kept.set(url, answer);
  const oldest = kept.keys().next();
  if (kept.size > MOST_KEPT && !oldest.done) kept.delete(oldest.value);
}

/** The answer that is there already. */
export const known = <T>(asked: Request): T | undefined => kept.get(asked.url) as T | undefined;

export interface Answer<T> {
  body: T;
  etag: string | null;
}

/** Asks; null where the answer is the one with this tag. */
export async function ask<T>(asked: Request, signal: AbortSignal, etag?: string | null): Promise<Answer<T> | null> {
  const found = known<T>(asked);
  if (found !== undefined) return { body: found, etag: null };
  const headers = new Headers({ accept: "application/json" });
  const key = readKey();
  if (key) headers.set("authorization", `Bearer ${key}`);
  if (etag) headers.set("if-none-match", etag);
  const late = AbortSignal.timeout(DEADLINE);
  let response: Response;
  let text: string;
  try {
    response = await fetch(new URL(asked.url, document.baseURI), {
      headers,
      signal: AbortSignal.any([signal, late]),
      cache: "no-store",
      credentials: "omit",
    });
    text = await response.text();
  } catch (error) {
    if (signal.aborted) throw error;
    throw late.aborted
      ? new Trouble("No answer in time", `Nothing came within ${DEADLINE / 1000} s. The service may be overloaded, or the way to it slow.`, null, null, null)
      : new Trouble("The service can't be reached", "The request did not get through. Is it running, and are you online?", null, null, null);
  }
  if (response.status === 304) return null;
  const requestId = response.headers.get("x-request-id");
  if (!response.ok) throw troubleOf(response.status, text, requestId);
  const body = parsed<T>(text);
  if (body === null) {
    throw new Trouble("The answer can't be read", "What came back is not JSON. Does something stand between this page and the service?", response.status, null, requestId);
  }
  if (asked.isFinal) keep(asked.url, body);
  return { body, etag: response.headers.get("etag") };
}

function parsed<T>(text: string): T | null {
  try {
    return JSON.parse(text) as T;
  } catch {
    return null;
  }
}

function troubleOf(status: number, text: string, requestId: string | null): Trouble {
  const problem = parsed<Problem>(text);
  if (!problem?.title) {
    return new Trouble(`The answer was ${status}`, "It came without a reason, perhaps from a proxy on the way.", status, null, requestId);
  }
  const code = problem.type.split(":").pop() ?? null;
  const faults = (problem.errors ?? []).map((one) => [one.field, one.detail].filter(Boolean).join(" "));
  return new Trouble(problem.title, problem.detail ?? "", status, code, requestId, faults);
}

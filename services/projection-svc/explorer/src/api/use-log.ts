// Reads a principal's log from its end, as far as is useful, and what comes in from then on.
import { useEffect, useRef, useState } from "preact/hooks";
import { ask, Trouble, type Answer } from "./client";
import { events, type Parameter, type Request } from "./request";
import type { EventList, LoggedEvent } from "./types";
import { merge, VOID, type Log } from "../model/log";

const PAGE = "1000";
/** What came in between two looks is mostly little. */
const NEWEST = "200";
/** Pages that are read: what lies before has positions too, by the clock. */
const MOST_PAGES = 3;

export interface LogAsked {
  readonly log: Log | null;
  readonly trouble: Trouble | null;
  readonly request: Request | null;
  readonly retry: () => void;
}

const listing = (tenant: string, principal: string, type: string, limit: string, cursor: string | null) => {
  const parameters: (Parameter | null)[] = [
    ["order", "-position"],
    ["type", type],
    ["type", VOID],
    ["limit", limit],
    cursor ? ["cursor", cursor] : null,
  ];
  return events(tenant, principal, parameters);
};

async function readAll(tenant: string, principal: string, type: string, signal: AbortSignal): Promise<Log> {
  const found: LoggedEvent[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < MOST_PAGES; page++) {
    const answer: Answer<EventList> | null = await ask<EventList>(listing(tenant, principal, type, PAGE, cursor), signal);
    found.push(...(answer?.body.items ?? []));
    cursor = answer?.body.next ?? null;
    if (cursor === null) break;
  }
  found.reverse();
  if (cursor === null) return { events: found, isWhole: true, since: found[0]?.ingested_at ?? null };
  const first = await ask<EventList>(events(tenant, principal, [["order", "position"], ["type", type], ["limit", "1"]]), signal);
  return { events: found, isWhole: false, since: first?.body.items[0]?.ingested_at ?? null };
}

async function readNewest(tenant: string, principal: string, type: string, log: Log, signal: AbortSignal): Promise<Log> {
  const answer = await ask<EventList>(listing(tenant, principal, type, NEWEST, null), signal);
  const newest = [...(answer?.body.items ?? [])].reverse();
  return merge(log, newest) ?? readAll(tenant, principal, type, signal);
}

interface Shown {
  family: string;
  log: Log | null;
  trouble: Trouble | null;
  /** The version that was asked for. */
  upTo: string;
}

/** The log of a principal's events of a type, up to this version at least. */
export function useLog(tenant: string, principal: string, type: string, version: string): LogAsked {
  const family = JSON.stringify([tenant, principal, type]);
  const [shown, setShown] = useState<Shown>({ family, log: null, trouble: null, upTo: "" });
  const running = useRef<{ family: string; controller: AbortController } | null>(null);
  const own = shown.family === family ? shown : null;
  const isAsked = Boolean(tenant && principal && type && version);

  useEffect(() => {
    if (running.current && running.current.family !== family) {
      running.current.controller.abort();
      running.current = null;
    }
    // What is on its way is let arrive, however fast the log grows.
    if (!isAsked || running.current || own?.upTo === version) return;
    const controller = new AbortController();
    const { signal } = controller;
    running.current = { family, controller };
    const log = own?.log ?? null;
    const reading = log ? readNewest(tenant, principal, type, log, signal) : readAll(tenant, principal, type, signal);
    const end = (shown: Omit<Shown, "family" | "upTo">) => {
      if (signal.aborted) return;
      running.current = null;
      setShown({ family, upTo: version, ...shown });
    };
    reading.then(
      (log) => end({ log, trouble: null }),
      (error: unknown) => end({ log, trouble: error instanceof Trouble ? error : null }),
    );
  }, [family, version, isAsked, shown]);
  useEffect(() => () => running.current?.controller.abort(), []);

  return {
    log: own?.log ?? null,
    trouble: own?.trouble ?? null,
    retry: () => setShown((before) => ({ ...before, upTo: "" })),
    request: isAsked ? listing(tenant, principal, type, PAGE, null) : null,
  };
}

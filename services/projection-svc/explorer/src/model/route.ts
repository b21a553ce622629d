// What is looked at stands in the page's address, so that a link shows the same.
// The fragment is never sent to a server.
import { useCallback, useEffect, useState } from "preact/hooks";
import { GRAINS, type Grain } from "./time";

/** A moment of the log: a position, or what was ingested by an instant. */
export type Moment = { version: string } | { asOf: string };

/** `fit` is everything that is known of; `7d` the last days; else two instants. */
export type Range = { preset: string } | { start: string; end: string };

export interface Route {
  tenant: string;
  principal: string;
  rule: string;
  range: Range;
  grain: Grain | null;
  by: string;
  /** Labels that are kept, by dimension; null is the group without a value. */
  filters: readonly (readonly [string, string | null])[];
  isRunning: boolean;
  zone: string;
  /** None: now. */
  at: Moment | null;
  /** The beginning of the window that is looked into. */
  window: string;
}

export const isZone = (zone: string): boolean => {
  try {
    new Intl.DateTimeFormat("en", { timeZone: zone });
    return true;
  } catch {
    return false;
  }
};

const isInstant = (text: string | null): text is string => text !== null && !Number.isNaN(Date.parse(text));

/** Whatever somebody may have typed; what can't be read is as good as absent. */
export function read(fragment: string): Route {
  const query = new URLSearchParams(fragment.replace(/^#/, ""));
  const of = (name: string) => query.get(name) ?? "";
  const grain = GRAINS.find((one) => one === of("windows")) ?? null;
  const [start, end] = [query.get("start"), query.get("end")];
  const filters: [string, string | null][] = [];
  for (const [name, value] of query) {
    const dimension = /^(filter|without)\[(.+)\]$/.exec(name);
    if (dimension?.[2]) filters.push([dimension[2], dimension[1] === "filter" ? value : null]);
  }
  const asOf = query.get("as_of");
  const version = /^\d+:\d+$/.exec(of("version"))?.[0];
  return {
    tenant: of("tenant"),
    principal: of("principal"),
    rule: of("rule"),
    range: isInstant(start) && isInstant(end) ? { start, end } : { preset: of("range") || "fit" },
    grain,
    by: of("by"),
    filters,
    isRunning: query.has("running"),
    zone: isZone(of("zone")) && of("zone") ? of("zone") : "UTC",
    at: version ? { version } : isInstant(asOf) ? { asOf } : null,
    window: isInstant(query.get("window")) ? of("window") : "",
  };
}

export function write(route: Route): string {
  const query = new URLSearchParams();
  const add = (name: string, value: string) => value && query.append(name, value);
  add("tenant", route.tenant);
  add("principal", route.principal);
  add("rule", route.rule);
  if ("preset" in route.range) add("range", route.range.preset === "fit" ? "" : route.range.preset);
  else {
    add("start", route.range.start);
    add("end", route.range.end);
  }
  add("windows", route.grain ?? "");
  add("by", route.by);
  for (const [dimension, label] of route.filters) {
    query.append(`${label === null ? "without" : "filter"}[${dimension}]`, label ?? "");
  }
  if (route.isRunning) query.append("running", "");
  add("zone", route.zone === "UTC" ? "" : route.zone);
  if (route.at && "version" in route.at) add("version", route.at.version);
  if (route.at && "asOf" in route.at) add("as_of", route.at.asOf);
  add("window", route.window);
  return query.toString().replace(/%3A/g, ":").replace(/%5B/g, "[").replace(/%5D/g, "]");
}

export type Go = (change: Partial<Route>, how?: "push" | "replace") => void;

/** The route, and the way to another: `replace` for what would flood the history of the browser. */
export function useRoute(): [Route, Go] {
  const [route, setRoute] = useState(() => read(location.hash));
  useEffect(() => {
    const follow = () => setRoute(read(location.hash));
    addEventListener("popstate", follow);
    addEventListener("hashchange", follow);
    return () => {
      removeEventListener("popstate", follow);
      removeEventListener("hashchange", follow);
    };
  }, []);
  const go = useCallback<Go>((change, how = "push") => {
    setRoute((before) => {
      const after = { ...before, ...change };
      const address = `#${write(after)}`;
      if (address !== location.hash) history[how === "push" ? "pushState" : "replaceState"](null, "", address);
      return after;
    });
  }, []);
  return [route, go];
}

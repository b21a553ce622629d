// One rule's state of one principal: over time, as it is known now and as it was known at a moment.
import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { state, verify, type Parameter } from "./api/request";
import type { Rule, State } from "./api/types";
import { useAsk } from "./api/use-ask";
import { useLog } from "./api/use-log";
import { Chart, colourOf } from "./chart/chart";
import { group } from "./model/decimal";
import { frontier, marks as marksOf, seqOf, since as sinceOf, stops as stopsOf, VOID } from "./model/log";
import type { Go, Route } from "./model/route";
import { events, isAdditive, labels, MOST_COLOURS, OTHERS, showLabel, skipped, total, windows as windowsOf, type Window } from "./model/series";
import { DAY, floor, fromInput, GRAIN_NAMES, GRAINS, instant, millis, MOST_WINDOWS, next, ownZone, pleasantGrain, showInstant, showWindow, toInput, windowsIn, type Grain } from "./model/time";
import { Curl, Failure, many, Segments, Select } from "./ui/parts";
import { lag } from "./ui/rules";
import { say } from "./ui/say";
import { Table } from "./ui/table";
import { TimeMachine } from "./ui/time-machine";
import { Verify } from "./ui/verify";
import { WindowPanel } from "./ui/window-panel";

interface ExploreProps {
  route: Route;
  go: Go;
  rule: Rule;
  head: State;
}

const DAYS: Record<string, number> = { "24h": 1, "7d": 7, "30d": 30, "365d": 365 };

interface Span {
  start: number;
  end: number;
  grain: Grain;
}

/** The range and its windows; none while nothing is known to fit it to. */
function spanOf(route: Route, known: { from: number; to: number } | null): Span | null {
  const { range, zone } = route;
  const ends = "start" in range ? [millis(range.start), millis(range.end)] : DAYS[range.preset] ? [Date.now() - DAYS[range.preset]! * DAY, Date.now()] : known ? [known.from, known.to] : null;
  if (!ends) return null;
  const [from, to] = ends as [number, number];
  const isDrawn = route.grain && windowsIn(from, to, route.grain) <= MOST_WINDOWS;
  const grain = isDrawn ? route.grain! : pleasantGrain(from, to);
  if ("start" in range) return { start: from, end: to, grain };
  return { start: floor(from, grain, zone), end: next(to, grain, zone), grain };
}

export function Explore({ route, go, rule, head }: ExploreProps): JSX.Element {
  const { tenant, principal, zone, at } = route;
  const by = rule.group_by?.includes(route.by) ? route.by : "";
  const isThen = at !== null;
  const read = useLog(tenant, principal, rule.source_event, head.version);
  const stops = useMemo(() => (read.log ? stopsOf(read.log) : []), [read.log]);
  const known = useMemo(() => {
    const all = stops.filter((one) => one.type !== VOID).map((one) => millis(one.occurred_at));
    return all.length ? { from: all.reduce((a, b) => Math.min(a, b)), to: all.reduce((a, b) => Math.max(a, b)) } : null;
  }, [stops]);
  const span = spanOf(route, known);
  const grain = span?.grain ?? "1h";

  // The questions. All of them name the versions of rule and log, so that they are about one thing.
  const pinned: Parameter = ["rule", `${rule.name}:${rule.version}`];
  const filters = route.filters.filter(([dimension]) => rule.group_by?.includes(dimension)).map(([dimension, label]): Parameter => [`filter[${dimension}]`, label]);
  const range: Parameter[] = span ? [["start", instant(span.start)], ["end", instant(span.end)]] : [];
  const windowed: (Parameter | false)[] = [
    pinned,
    ...range,
    ["granularity", grain],
    zone !== "UTC" && ["timezone", zone],
    Boolean(by) && ["group_by", by],
    ...filters,
    route.isRunning && ["cumulative", "true"],
    rule.operator === "latest" && ["fill", "previous"],
  ];
  const nowAt: Parameter = ["version", head.version];
  const thenAt: Parameter = !at ? nowAt : "version" in at ? ["version", at.version] : ["as_of", at.asOf];
  const isFinal = thenAt[0] === "version";
  const family = JSON.stringify([tenant, principal, rule.name, rule.version]);
  const ofState = (parameters: readonly (Parameter | false)[], final: boolean) => (span ? state(tenant, principal, parameters, final) : null);
  const now = useAsk<State>(ofState([...windowed, nowAt], true), family);
  const then = useAsk<State>(isThen ? ofState([...windowed, thenAt], isFinal) : null, family);
  // Until the first answer as of then is there, what is shown stays; where it is refused, nothing is.
  const shown = isThen && (then.data || then.trouble) ? then : now;
  const totals = useAsk<State>(ofState([pinned, ...range, ...filters, thenAt], isFinal), family);
  const ofGroups = useAsk<State>(by ? ofState([pinned, ...range, ...filters, ["group_by", by], thenAt], isFinal) : null, `${family} ${by}`);

  // What they say.
  const version = shown.data?.version ?? head.version;
  const seq = seqOf(version);
  const marks = useMemo(() => marksOf(stops, grain, zone), [stops, grain, zone]);
  const since = useMemo(() => (isThen ? sinceOf(marks, stops, seq, grain, zone) : []), [marks, stops, seq, isThen]);
  const values = shown.data?.values ?? [];
  const latest = now.data?.values ?? [];
  const passed = useMemo(() => {
    const known = frontier(stops, seq);
    if (known !== -Infinity) return floor(known, grain, zone);
    // Before what was read of the log, the answer itself tells how far the log had come.
    return Math.max(...values.filter((one) => one.event_count > 0 && one.window_start).map((one) => millis(one.window_start!)));
  }, [stops, seq, grain, zone, values]);
  const shownBy = (shown.of?.url.includes("group_by=") ?? false) ? by : "";
  const windows = useMemo(() => span ? windowsOf(values, isThen ? latest : values, shownBy, passed, isThen ? since : marks, { ...span, zone }) : [], [values, latest, shownBy, passed, since, marks, isThen, span?.start, span?.end, grain, zone]);
  const order = useMemo(() => (shownBy ? labels(latest, values, shownBy) : []), [latest, values, shownBy]);
  const rewritten = windows.filter((one) => one.state === "rewritten").length;
  const unit = rule.unit ?? (rule.operator === "count" ? "events" : "");

  const [hovered, setHovered] = useState<Window | null>(null);
  const [view, setView] = useState<"chart" | "table">("chart");
  const picked = windows.find((one) => one.start === route.window) ?? null;
  const describe = (one: Window) => inWords(one, { rule, unit, zone, isThen });
  const select = (one: Window) => go({ window: one.start === route.window ? "" : one.start });
  const value = totals.data?.values?.[0] ?? null;
  const isOnNow = !isThen;

  useEffect(() => {
    if (!shown.data || shown.isBusy || !value) return;
    const when = isOnNow ? "now" : shown.data.as_of ? `as known at ${showInstant(shown.data.as_of, zone)}` : "before the first event";
    const changed = isThen ? `; ${many(rewritten, "window")} rewritten since` : "";
    say(`${rule.name} ${value.value === null ? "has no value" : group(value.value)} ${unit}, ${when}${changed}`, 900);
  }, [shown.data?.version, value?.value, rewritten, isThen]);

  if (!read.log && read.trouble) return <Failure trouble={read.trouble} onRetry={read.retry} />;
  if (read.log && !known && !span) {
    return (
      <section class="empty-state">
        <Title rule={rule} />
        <p>There is no event of type <code>{rule.source_event}</code> of {principal} yet. As soon as one comes in, it is here.</p>
      </section>
    );
  }
  const trouble = shown.trouble ?? now.trouble;
  return (
    <>
      <section class="headline" aria-label="The rule">
        <div class="row between top">
          <Title rule={rule} />
          <p class="figure">
            <span class={`number ${isThen ? "then" : ""} ${(value?.value?.length ?? 0) > 18 ? "long" : ""}`}>{value ? (value.value === null ? "—" : (value.approximate ? "≈ " : "") + group(value.value)) : "…"}</span>
            <span class="unit">{unit}</span>
            <span class="quiet small">
              {value && <>{many(value.event_count, "event")}{value.skipped_count > 0 && `, ${value.skipped_count.toLocaleString("en")} skipped`}</>}
              <Curl of={totals.of} what="this value" />
            </span>
          </p>
        </div>
      </section>

      <Controls {...{ route, go, rule, span, by }} isWhole={read.log?.isWhole ?? true} />

      <section class="card" aria-label="State over time">
        <div class="row between readout-row">
          <p class="readout">{hovered ? <Readout one={hovered} {...{ rule, unit, zone, isThen, order }} /> : <Hint {...{ isThen, rewritten, windows }} />}</p>
          <div class="row tight">
            <Segments label="Show as" choices={[{ value: "chart", name: "Chart" }, { value: "table", name: "Table" }]} value={view} onPick={setView} />
            <Curl of={shown.of} what="the windows that are shown" />
          </div>
        </div>
        {trouble && <Failure trouble={trouble} onRetry={shown.retry} />}
        {!trouble && !shown.data && <p class="quiet loading">Asking for the state…</p>}
        {!trouble && shown.data && span && windows.length === 0 && <p class="empty">{isThen ? "At that moment nothing of this range was known." : "Nothing counts in this range."}</p>}
        {!trouble && shown.data && span && windows.length > 0 && (
          <div class={shown.isBusy ? "busy" : ""}>
            {view === "chart" ? (
              <Chart
                {...{ windows, isThen, order, grain, zone, describe }}
                operator={rule.operator}
                isRunning={route.isRunning}
                start={span.start}
                end={span.end}
                selected={route.window}
                onHover={setHovered}
                onSelect={select}
                label={`${rule.name} of ${principal} by ${GRAIN_NAMES[grain]}, ${many(windows.length, "window")}. Arrow keys move between windows, Enter shows the events behind one.`}
              />
            ) : (
              <Table {...{ windows, order, isThen, zone }} operator={rule.operator} by={shownBy} selected={route.window} caption={`${rule.name} by ${GRAIN_NAMES[grain]}`} onSelect={select} />
            )}
          </div>
        )}
        {shownBy && <Legend {...{ route, go, order }} by={shownBy} totals={ofGroups.data} operator={rule.operator} />}
        <TimeMachine
          key={`${family} ${read.log?.isWhole}`}
          {...{ stops, marks, since, rewritten, at, version, zone }}
          isWhole={read.log?.isWhole ?? true}
          first={read.log?.since ?? null}
          asOf={shown.data?.as_of ?? null}
          isBusy={then.isBusy || totals.isBusy}
          onMove={(at, how) => go({ at }, how)}
        />
      </section>

      {route.window && (picked || span) && (
        <WindowPanel
          {...{ tenant, principal, unit, version, isThen, filters, zone }}
          rule={`${rule.name}:${rule.version}`}
          start={route.isRunning && span ? instant(span.start) : route.window}
          end={picked?.end ?? instant(next(millis(route.window), grain, zone))}
          head={head.version}
          onClose={() => go({ window: "" })}
        />
      )}

      <section class="proof" aria-label="Proof">
        <Verify of={span ? verify(tenant, principal, [...windowed, ["version", version]]) : null} zone={zone} />
        <p class="quiet small">{lag(rule).title}.</p>
      </section>
    </>
  );
}

const Title = ({ rule }: { rule: Rule }) => (
  <div class="title">
    <h1>{rule.name} <small>v{rule.version}</small></h1>
    <p class="quiet">{rule.description ?? `${rule.operator} of ${rule.source_event}`}</p>
    <p class="formula"><code>{rule.operator}{rule.field ? ` ${rule.field}` : ""}</code> of <code>{rule.source_event}</code>{rule.filter && <> where <code>{rule.filter}</code></>}</p>
  </div>
);

function Controls({ route, go, rule, span, by, isWhole }: { route: Route; go: Go; rule: Rule; span: Span | null; by: string; isWhole: boolean }) {
  const own = ownZone();
  const zones = [...new Set(["UTC", own, route.zone])];
  const preset = "preset" in route.range ? (DAYS[route.range.preset] ? route.range.preset : "fit") : "custom";
  const pickRange = (picked: string) => {
    if (picked === "custom") go({ range: span ? { start: instant(span.start), end: instant(span.end) } : route.range, window: "" });
    else go({ range: { preset: picked }, window: "" });
  };
  const edge = (which: "start" | "end", text: string) => {
    const ms = fromInput(text, route.zone);
    if (ms === null || !("start" in route.range)) return;
    const range = { ...route.range, [which]: instant(ms) };
    if (millis(range.start) < millis(range.end)) go({ range, window: "" });
  };
  return (
    <section class="controls" aria-label="What is shown">
      <Segments
        label="Range"
        choices={[
          isWhole ? { value: "fit", name: "All" } : { value: "fit", name: "Newest", hint: "The newest 3,000 events, which were read of the log" },
          { value: "24h", name: "24 h" },
          { value: "7d", name: "7 d" },
          { value: "30d", name: "30 d" },
          { value: "365d", name: "1 y" },
          { value: "custom", name: "From … to" },
        ]}
        value={preset}
        onPick={pickRange}
      />
      {"start" in route.range && (
        <span class="row tight">
          <input type="datetime-local" step={1} aria-label="From" value={toInput(millis(route.range.start), route.zone)} onChange={(event) => edge("start", event.currentTarget.value)} />
          <span aria-hidden="true">–</span>
          <input type="datetime-local" step={1} aria-label="To" value={toInput(millis(route.range.end), route.zone)} onChange={(event) => edge("end", event.currentTarget.value)} />
        </span>
      )}
      <Select
        label="Windows"
        value={route.grain ?? "auto"}
        choices={[
          { value: "auto", name: span && !route.grain ? `by itself (${GRAIN_NAMES[span.grain]})` : "by itself" },
          ...GRAINS.map((grain) => ({ value: grain, name: GRAIN_NAMES[grain], isOff: span !== null && windowsIn(span.start, span.end, grain) > MOST_WINDOWS })),
        ]}
        onPick={(picked: string) => go({ grain: GRAINS.find((one) => one === picked) ?? null, window: "" })}
      />
      {(rule.group_by?.length ?? 0) > 0 && (
        <Select label="By" value={by} choices={[{ value: "", name: "no group" }, ...(rule.group_by ?? []).map((one) => ({ value: one, name: one }))]} onPick={(by: string) => go({ by })} />
      )}
      <Segments
        label="Values"
        choices={[
          { value: "each", name: "Each window" },
          { value: "running", name: "Running", hint: "Everything from the start of the range to the end of the window" },
        ]}
        value={route.isRunning ? "running" : "each"}
        onPick={(picked) => go({ isRunning: picked === "running", window: "" })}
      />
      <Select label="Clock" value={route.zone} choices={zones.map((zone) => ({ value: zone, name: zone }))} onPick={(zone: string) => go({ zone, window: "" })} />
      {route.filters.map(([dimension, label]) => (
        <button key={dimension + String(label)} type="button" class="chip filter" title="Take this filter away" onClick={() => go({ filters: route.filters.filter((one) => one[0] !== dimension || one[1] !== label) })}>
          {dimension} = {showLabel(label)} <span aria-hidden="true">×</span><span class="hidden">, take away</span>
        </button>
      ))}
    </section>
  );
}

interface Words {
  rule: Rule;
  unit: string;
  zone: string;
  isThen: boolean;
}

function amount(one: Window["then"], rule: Rule): string {
  const whole = total(one, rule.operator);
  if (whole !== null) return group(whole);
  if (one.length === 0) return isAdditive(rule.operator) ? "0" : "nothing";
  return one.map((cell) => `${showLabel(cell.label)} ${cell.value === null ? "—" : group(cell.value)}`).join(", ");
}

function inWords(one: Window, { rule, unit, zone, isThen }: Words): string {
  const late = one.marks.filter((mark) => mark.kind === "late").length;
  const voids = one.marks.length - late;
  const groups = one.then.length > 1 && isAdditive(rule.operator) ? ` (${one.then.map((cell) => `${showLabel(cell.label)} ${cell.value === null ? "none" : group(cell.value)}`).join(", ")})` : "";
  const parts = [`${showWindow(one.start, one.end, zone)}: ${amount(one.then, rule)} ${unit}${groups}, ${many(events(one.then), "event")}`];
  if (skipped(one.then)) parts.push(`${skipped(one.then)} skipped`);
  if (isThen && one.state !== "same") parts.push(`${one.state === "rewritten" ? "rewritten since" : "not complete then"}, now ${amount(one.now, rule)}`);
  if (late) parts.push(many(late, "late event"));
  if (voids) parts.push(many(voids, "void"));
  return parts.join("; ");
}

function Readout({ one, rule, unit, zone, isThen, order }: Words & { one: Window; order: readonly (string | null)[] }) {
  const groups = one.then.filter((cell) => cell.label !== undefined);
  return (
    <>
      <strong>{showWindow(one.start, one.end, zone)}</strong>{" "}
      {(groups.length === 0 || isAdditive(rule.operator)) && <span class="now-value">{amount(one.then, rule)} <small>{unit}</small></span>}{" "}
      {isThen && one.state !== "same" && <span class={`then-now ${one.state}`}>→ {amount(one.now, rule)} now</span>}{" "}
      {groups.slice(0, MOST_COLOURS).map((cell) => (
        <span key={String(cell.label)} class="of-group"><i style={{ background: colourOf(cell.label, order) }} />{showLabel(cell.label)} {cell.value === null ? "—" : group(cell.value)} </span>
      ))}
      <span class="quiet">{many(events(one.then), "event")}</span>
    </>
  );
}

function Hint({ isThen, rewritten, windows }: { isThen: boolean; rewritten: number; windows: readonly Window[] }) {
  if (isThen) {
    return (
      <span class="keys">
        <span class="quiet">Solid: known then.</span> <span class="key-ghost"><i />known now</span>
        {rewritten > 0 && <span class="key-lit"><i />{many(rewritten, "window")} rewritten since</span>}
      </span>
    );
  }
  const marked = windows.filter((one) => one.marks.length > 0).length;
  return <span class="quiet">{marked > 0 ? `${many(marked, "window was", "windows were")} rewritten by late events or voids. ` : ""}Pick a window to see the events behind it.</span>;
}

function Legend({ route, go, by, order, totals, operator }: { route: Route; go: Go; by: string; order: readonly (string | null)[]; totals: State | null; operator: Rule["operator"] }) {
  const shown = order.slice(0, MOST_COLOURS);
  const rest = order.length - shown.length;
  const valueOf = (label: string | null) => totals?.values?.find((one) => (one.group?.[by] ?? null) === label)?.value ?? null;
  const isKept = (label: string | null) => route.filters.some((one) => one[0] === by && one[1] === label);
  const toggle = (label: string | null) => {
    const others = route.filters.filter((one) => one[0] !== by || one[1] !== label);
    go({ filters: isKept(label) ? others : [...others, [by, label]] });
  };
  return (
    <ul class="groups" aria-label={`Groups by ${by}`}>
      {shown.map((label) => (
        <li key={String(label)}>
          <button type="button" aria-pressed={isKept(label)} title="Keep this group alone" onClick={() => toggle(label)}>
            <i style={{ background: colourOf(label, order) }} />
            <span>{showLabel(label)}</span>
            <strong>{valueOf(label) === null ? "—" : group(valueOf(label)!)}</strong>
          </button>
        </li>
      ))}
      {rest > 0 && (
        <li class="quiet"><i style={{ background: colourOf(OTHERS, order) }} />{isAdditive(operator) ? `${rest} others together` : `${rest} others are in the table`}</li>
      )}
    </ul>
  );
}

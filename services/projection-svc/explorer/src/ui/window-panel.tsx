// Why a window's value is what it is: what it was made of, the events behind it, and what has changed it
// since the moment looked at.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { event as eventRequest, explain, type Parameter, type Request } from "../api/request";
import type { Contribution, Explanation, LoggedEvent } from "../api/types";
import { useAsk } from "../api/use-ask";
import { count, group, signed } from "../model/decimal";
import { millis, showDuration, showInstant, showWindow } from "../model/time";
import { Badge, Curl, Failure, Icon, many, Segments } from "./parts";

export interface WindowPanelProps {
  tenant: string;
  principal: string;
  rule: string;
  unit: string;
  start: string;
  end: string;
  /** What is looked at, and the newest. */
  version: string;
  head: string;
  isThen: boolean;
  filters: readonly Parameter[];
  zone: string;
  onClose: () => void;
}

type Tab = "events" | "since";

const PAGE = "50";

export function WindowPanel(props: WindowPanelProps): JSX.Element {
  const { tenant, principal, rule, start, end, version, head, isThen, filters } = props;
  const [picked, setPicked] = useState<Tab>("events");
  const tab = isThen ? picked : "events";
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus({ preventScroll: true }), [start]);
  const common: Parameter[] = [["rule", rule], ["start", start], ["end", end], ...filters];
  const asked =
    tab === "events"
      ? (cursor: string | null) => explain(tenant, principal, [...common, ["version", version], ["limit", PAGE], cursor ? ["cursor", cursor] : null])
      : (cursor: string | null) => explain(tenant, principal, [...common, ["version", head], ["from_version", version], ["limit", PAGE], cursor ? ["cursor", cursor] : null]);
  const family = JSON.stringify([tenant, principal, common, tab]);
  return (
    <section class="panel" aria-label="The window that was picked">
      <header>
        <div>
          <p class="quiet">Window</p>
          <h2 ref={heading} tabIndex={-1}>{showWindow(start, end, props.zone)}</h2>
        </div>
        {isThen && (
          <Segments
            label="Of this window"
            choices={[
              { value: "events", name: "As it was" },
              { value: "since", name: "Changed since" },
            ]}
            value={tab}
            onPick={setPicked}
          />
        )}
        <button type="button" class="plain" aria-label="Close the window" onClick={props.onClose}><Icon name="close" /></button>
      </header>
      <Pages key={family} {...props} asked={asked} family={family} tab={tab} />
    </section>
  );
}

interface PagesProps extends WindowPanelProps {
  asked: (cursor: string | null) => Request;
  family: string;
  tab: Tab;
}

/** The pages that were turned to so far, under one explanation. */
function Pages(props: PagesProps): JSX.Element {
  const { asked, family, tab } = props;
  const first = asked(null);
  const [more, setMore] = useState<{ of: string; cursor: string | null; items: Contribution[] }>({ of: first.url, cursor: null, items: [] });
  const page = more.of === first.url ? more : { of: first.url, cursor: null, items: [] };
  const found = useAsk<Explanation>(first, family);
  const further = useAsk<Explanation>(page.cursor ? asked(page.cursor) : null, `${family} ${first.url} ${page.cursor}`);
  if (found.trouble) return <Failure trouble={found.trouble} onRetry={found.retry} />;
  if (!found.data) return <p class="quiet loading">Asking for the events behind it…</p>;
  const data = found.data;
  const items = [...data.items, ...page.items, ...(further.data?.items ?? [])];
  const next = page.cursor ? (further.data ? further.data.next : page.cursor) : data.next;
  const turn = () => setMore({ of: first.url, cursor: next, items: [...page.items, ...(further.data?.items ?? [])] });
  return (
    <>
      {tab === "since" ? <Change data={data} unit={props.unit} /> : <Making data={data} unit={props.unit} />}
      <div class="row between">
        <h3>{tab === "since" ? "What has changed it since" : "The events behind it"}</h3>
        <Curl of={first} what={tab === "since" ? "what has changed this window since" : "the explanation of this window"} />
      </div>
      <Items {...props} items={items} />
      {further.trouble && <Failure trouble={further.trouble} onRetry={further.retry} />}
      {next && <button type="button" class="more" onClick={turn} disabled={further.isBusy}>{further.isBusy ? "Asking…" : "More events"}</button>}
    </>
  );
}

function Making({ data, unit }: { data: Explanation; unit: string }) {
  const used = data.sources.buckets.filter((one) => one.rows > 0);
  const names: Record<string, string> = { "1d": "of a day", "1h": "of an hour", "1m": "of a minute" };
  const reasons: Record<string, string> = { tail: "no bucket holds them yet", part_of_minute: "they share a minute with others", refined: "their minute was rewritten" };
  const why = [...new Set(data.sources.raw_ranges.flatMap((one) => one.reasons))].map((one) => reasons[one] ?? one);
  const parts = used.map((one) => `${many(one.events, "event")} from ${many(one.rows, "bucket")} ${names[one.grain] ?? one.grain}`);
  if (data.sources.raw_events) parts.push(`${many(data.sources.raw_events, "event")} from the log itself${why.length ? ` (${why.join("; ")})` : ""}`);
  return (
    <dl class="facts">
      <div class="wide">
        <dt>Value</dt>
        <dd class="big">{data.value === null ? "—" : group(data.value)} <small>{unit}</small></dd>
      </div>
      <div><dt>Events</dt><dd>{count(data.event_count)}</dd></div>
      {data.skipped_count > 0 && <div><dt>Skipped</dt><dd>{count(data.skipped_count)}</dd></div>}
      <div title="Stored on a later day (UTC) than they occurred on"><dt>A day late</dt><dd>{count(data.late_events)}</dd></div>
      <div><dt>Voided</dt><dd>{count(data.voids)}</dd></div>
      <div class="wide"><dt>Made of</dt><dd>{parts.length ? parts.join(", ") : "nothing"}</dd></div>
    </dl>
  );
}

function Change({ data, unit }: { data: Explanation; unit: string }) {
  return (
    <dl class="facts">
      <div><dt>As known then</dt><dd class="big">{data.from?.value == null ? "—" : group(data.from.value)}</dd></div>
      <div><dt>Change</dt><dd class="big change">{data.change == null ? "—" : signed(data.change)}</dd></div>
      <div><dt>As known now</dt><dd class="big">{data.value === null ? "—" : group(data.value)} <small>{unit}</small></dd></div>
    </dl>
  );
}

function Items(props: PagesProps & { items: readonly Contribution[] }) {
  const { items, tab, zone } = props;
  const [open, setOpen] = useState<string | null>(null);
  if (items.length === 0) return <p class="empty">{tab === "since" ? "Nothing: it is what it was." : "None as of this moment."}</p>;
  const hasGroups = items.some((one) => one.group);
  return (
    <div class="scroll-x" tabIndex={0} role="region" aria-label="Events">
      <table class="events">
        <thead>
          <tr>
            <th scope="col">Occurred</th>
            <th scope="col">Event</th>
            {hasGroups && <th scope="col">Group</th>}
            <th scope="col" class="number">{tab === "since" ? "Changes it by" : "Contributes"}</th>
            <th scope="col"><span class="hidden">Remarks</span></th>
          </tr>
        </thead>
        <tbody>
          {items.map((one) => (
            <Item key={one.position} one={one} {...props} hasGroups={hasGroups} isOpen={open === one.position} zone={zone} onToggle={() => setOpen(open === one.position ? null : one.position)} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface ItemProps extends PagesProps {
  one: Contribution;
  hasGroups: boolean;
  isOpen: boolean;
  onToggle: () => void;
}

function Item({ one, hasGroups, isOpen, onToggle, zone, tab, tenant, principal }: ItemProps) {
  const delay = millis(one.ingested_at) - millis(one.occurred_at);
  const amount = one.adds ?? one.contribution;
  const shown = amount === null ? (one.verdict === "counted" ? "1" : "") : one.adds && tab === "since" ? signed(one.adds) : isNumber(amount) ? group(amount) : amount;
  return (
    <>
      <tr class={[one.effect ?? "", isOpen ? "open" : ""].join(" ")}>
        <td class="when">{showInstant(one.occurred_at, zone)}</td>
        <td>
          <button type="button" class="link" aria-expanded={isOpen} onClick={onToggle}>{one.id}</button>
        </td>
        {hasGroups && <td>{Object.entries(one.group ?? {}).map(([name, label]) => <span class="label" key={name}>{label ?? "(no value)"}</span>)}</td>}
        <td class="number">{shown}</td>
        <td class="remarks">
          {one.effect === "removed" && <Badge kind="void" title={`Voided at ${one.voided_by}`}>✕ voided</Badge>}
          {one.effect === "added" && <Badge kind="added">+ came in</Badge>}
          {one.late && <Badge kind="late" title="Stored on a later day (UTC) than it occurred on">▲ {showDuration(delay)} late</Badge>}
          {one.decides && <Badge kind="decides" title="This is the value that is shown">decides</Badge>}
          {one.verdict === "skipped" && <Badge kind="skipped" title={one.reason ?? ""}>skipped</Badge>}
        </td>
      </tr>
      {isOpen && (
        <tr class="detail">
          <td colSpan={hasGroups ? 5 : 4}><Raw {...{ one, zone, tenant, principal, delay }} /></td>
        </tr>
      )}
    </>
  );
}

const isNumber = (text: string) => /^-?\d+(\.\d+)?$/.test(text);

/** The event as the log has it. */
function Raw({ one, tenant, principal, zone, delay }: { one: Contribution; tenant: string; principal: string; zone: string; delay: number }) {
  const asked = eventRequest(tenant, principal, one.id, one.source);
  const found = useAsk<LoggedEvent>(asked, asked.url);
  if (found.trouble) return <Failure trouble={found.trouble} onRetry={found.retry} />;
  const event = found.data;
  return (
    <div class="raw">
      <dl class="facts small">
        <div><dt>Position</dt><dd><code>{one.position}</code></dd></div>
        <div><dt>Stored</dt><dd>{showInstant(one.ingested_at, zone, true)}</dd></div>
        <div><dt>After it occurred</dt><dd>{showDuration(delay)}</dd></div>
        {one.source !== undefined && <div><dt>Source</dt><dd>{one.source}</dd></div>}
        {one.voided_by && <div><dt>Voided by</dt><dd><code>{one.voided_by}</code></dd></div>}
        {one.reason && <div class="wide"><dt>Skipped</dt><dd>{one.reason}</dd></div>}
      </dl>
      <pre tabIndex={0} aria-label="The event">{event ? JSON.stringify({ type: event.type, data: event.data, metadata: event.metadata }, null, 2) : "…"}</pre>
      <Curl of={asked} what="this event" />
    </div>
  );
}

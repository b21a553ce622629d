// The slider through what was known when. Its stops are the events that changed something, or the
// clock; late events and voids stand on its track.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { LoggedEvent } from "../api/types";
import { Glyph } from "../chart/chart";
import { lastAt, seqOf, type Mark } from "../model/log";
import type { Moment } from "../model/route";
import { compareInstants, fromInput, instant, millis, showInstant, toInput } from "../model/time";
import { Icon, many, Segments } from "./parts";
import { useWidth } from "./use-width";

export interface TimeMachineProps {
  stops: readonly LoggedEvent[];
  isWhole: boolean;
  /** When the first event of all was stored. */
  first: string | null;
  marks: readonly Mark[];
  since: readonly Mark[];
  /** Windows that are shown and have been rewritten since. */
  rewritten: number;
  at: Moment | null;
  /** The moment that is shown, as the service resolved it. */
  version: string;
  asOf: string | null;
  zone: string;
  isBusy: boolean;
  onMove: (at: Moment | null, how: "push" | "replace") => void;
}

type Axis = "events" | "clock";

/** Steps of the slider by the clock. */
const STEPS = 1000;
/** How long playing through everything takes, and between two of its frames. */
const PLAY = 14_000;
const FRAME = 120;
const CALM_FRAME = 1_200;
const THUMB = 20;

export function TimeMachine(props: TimeMachineProps): JSX.Element {
  const { stops, at, onMove, zone, marks } = props;
  const [axis, setAxis] = useState<Axis>(props.isWhole ? "events" : "clock");
  const last = stops.length - 1;
  const index = at === null ? last : "version" in at ? lastAt(stops, seqOf(at.version)) : lastBy(stops, at.asOf);
  const [from, to] = useSpan(stops, props.first);
  const steps = axis === "events" ? last : STEPS;
  const here = at === null ? steps : axis === "events" ? Math.max(0, index) : clockStep(props, index, from, to);

  const moveTo = (step: number, how: "push" | "replace" = "replace") => {
    if (step >= steps) return onMove(null, how);
    if (axis === "clock") return onMove({ asOf: instant(Math.round(from + (step / STEPS) * (to - from))) }, how);
    const stop = stops[Math.max(0, step)];
    if (stop) onMove({ version: stop.position }, how);
  };
  const player = usePlayer(here, steps, props.isBusy, (step) => moveTo(step));
  const hop = (direction: 1 | -1) => {
    const seq = at === null ? Infinity : seqOf(stops[index]?.position ?? "0:0");
    const places = befores(stops, marks);
    const place = direction > 0 ? places.find((one) => one > seq) : places.findLast((one) => one < seq);
    if (place === undefined) return direction > 0 ? onMove(null, "push") : undefined;
    const stop = stops[lastAt(stops, place)];
    if (stop) onMove({ version: stop.position }, "push");
  };
  const words = describe(props, index);
  return (
    <section class={`machine ${at ? "then" : "now"}`} aria-label="Time travel">
      <div class="moment">
        <p class="known">
          <span class="quiet">{at ? "As known at" : "As known now"}</span>
          <strong>{props.asOf ? showInstant(props.asOf, zone, Boolean(at)) : "before the first event"}</strong>
          <span class="quiet">
            <code>{props.version}</code>
            {stops.length > 0 && <> · {index < 0 && !props.isWhole ? "before" : `event ${Math.max(0, index + 1).toLocaleString("en")} of`} {props.isWhole ? "" : "the newest "}{stops.length.toLocaleString("en")}</>}
          </span>
        </p>
        <p class="changes">{words.changes}</p>
      </div>
      <div class="slide">
        <Track {...props} axis={axis} steps={steps} here={here} span={[from, to]} />
        <input
          type="range"
          min={0}
          max={Math.max(1, steps)}
          step={1}
          value={here}
          disabled={last < 1}
          style={{ "--done": `${(here / Math.max(1, steps)) * 100}%` }}
          aria-label="As of"
          aria-valuetext={`${words.moment}. ${words.changes}`}
          onInput={(event) => {
            player.stop();
            moveTo(Number(event.currentTarget.value));
          }}
        />
      </div>
      <div class="tools">
        <div class="buttons">
          <button type="button" onClick={() => hop(-1)} disabled={marks.length === 0} aria-label="To the change of history before" title="To the late event or void before"><Icon name="back" /></button>
          <button type="button" class="play" onClick={player.toggle} disabled={last < 1} aria-label={player.isPlaying ? "Pause" : "Play history"} title={player.isPlaying ? "Pause" : "Play history"}>
            <Icon name={player.isPlaying ? "pause" : "play"} />
          </button>
          <button type="button" onClick={() => hop(1)} disabled={marks.length === 0 || at === null} aria-label="To the next change of history" title="To the next late event or void"><Icon name="forth" /></button>
          <button type="button" class="to-now" onClick={() => onMove(null, "push")} disabled={at === null}>Now</button>
        </div>
        <p class="legend" aria-hidden="true">
          <Sign kind="late" /> late <Sign kind="void" /> void
        </p>
        <label class="goto">
          <span class="name">As of</span>
          <input
            type="datetime-local"
            step={1}
            value={props.asOf ? toInput(millis(props.asOf), zone) : ""}
            onChange={(event) => {
              const ms = fromInput(event.currentTarget.value, zone);
              // To the end of that second: what it shows is cut off.
              if (ms !== null) onMove(ms + 999 >= Date.now() ? null : { asOf: instant(ms + 999) }, "push");
            }}
          />
        </label>
        <Segments
          label="The slider goes by"
          choices={[
            { value: "events", name: "by event", hint: "Each step of the slider is an event" },
            { value: "clock", name: "by clock", hint: "The slider is even in time" },
          ]}
          value={axis}
          onPick={setAxis}
        />
      </div>
    </section>
  );
}

const Sign = ({ kind }: { kind: "late" | "void" }) => (
  <svg class="sign" viewBox="-7 -7 14 14" width="14" height="14"><Glyph kind={kind} x={0} y={0} /></svg>
);

/** Where history still is as it had been: just before what came in together and rewrote it. */
function befores(stops: readonly LoggedEvent[], marks: readonly Mark[]): number[] {
  const first = new Map<string, number>();
  for (const { event, seq } of marks) first.set(event.ingested_at, Math.min(seq, first.get(event.ingested_at) ?? seq));
  const places = [...first.values()].map((seq) => seqOf(stops[lastAt(stops, seq - 1)]?.position ?? "0:0"));
  return [...new Set(places)].filter((seq) => seq > 0).sort((a, b) => a - b);
}

function lastBy(stops: readonly LoggedEvent[], asOf: string): number {
  return stops.findLastIndex((one) => compareInstants(one.ingested_at, asOf) <= 0);
}

/** From the first event to now. */
function useSpan(stops: readonly LoggedEvent[], first: string | null): [number, number] {
  const now = useRef(Date.now());
  useEffect(() => void (now.current = Date.now()), [stops]);
  return [first ? millis(first) : now.current - 1000, now.current];
}

function clockStep({ at, stops, asOf }: TimeMachineProps, index: number, from: number, to: number): number {
  if (!at) return STEPS;
  const ms = "asOf" in at ? millis(at.asOf) : millis(stops[index]?.ingested_at ?? asOf ?? instant(from));
  return Math.min(STEPS - 1, Math.max(0, Math.round(((ms - from) / (to - from)) * STEPS)));
}

function describe({ at, asOf, since, rewritten, zone }: TimeMachineProps, index: number): { moment: string; changes: string } {
  const moment = at === null ? "Now" : asOf ? `As known at ${showInstant(asOf, zone)}, event ${index + 1}` : "Before the first event";
  if (at === null) return { moment, changes: "Slide back to see what was known, and what has changed since." };
  const late = since.filter((mark) => mark.kind === "late").length;
  const voids = since.length - late;
  const parts = [late && many(late, "late event"), voids && many(voids, "void")].filter(Boolean);
  if (parts.length) return { moment, changes: `${parts.join(" and ")} ${late + voids === 1 ? "has" : "have"} rewritten this since.` };
  return { moment, changes: rewritten ? `${many(rewritten, "window has", "windows have")} been rewritten since.` : "Nothing of what is shown has been rewritten since." };
}

/** Steps on by itself; waits while an answer is on its way. Calmer for those who asked for less motion. */
function usePlayer(here: number, steps: number, isBusy: boolean, moveTo: (step: number) => void) {
  const [isPlaying, setPlaying] = useState(false);
  const now = useRef({ here, steps, isBusy, moveTo });
  now.current = { here, steps, isBusy, moveTo };
  useEffect(() => {
    if (!isPlaying) return;
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const frame = isCalm ? CALM_FRAME : FRAME;
    const timer = setInterval(() => {
      const { here, steps, isBusy, moveTo } = now.current;
      if (isBusy || document.hidden) return;
      const step = Math.max(1, Math.round((steps * frame) / PLAY));
      if (here + step >= steps) setPlaying(false);
      moveTo(Math.min(steps, here + step));
    }, frame);
    return () => clearInterval(timer);
  }, [isPlaying]);
  const toggle = () => {
    if (!isPlaying && here >= steps) moveTo(0);
    setPlaying(!isPlaying);
  };
  return { isPlaying, toggle, stop: () => setPlaying(false) };
}

function Track({ stops, marks, since, axis, steps, here, span: [from, to] }: TimeMachineProps & { axis: Axis; steps: number; here: number; span: [number, number] }) {
  const [box, width] = useWidth<HTMLDivElement>();
  const room = Math.max(1, width - THUMB);
  const x = (event: LoggedEvent, at: number) =>
    THUMB / 2 + room * (axis === "events" ? at / Math.max(1, steps) : (millis(event.ingested_at) - from) / Math.max(1, to - from));
  const lit = new Set(since.map((mark) => mark.seq));
  // As many as can be told apart; of those on one place the lit one stands for all.
  const placed = new Map<string, { mark: Mark; x: number }>();
  for (const mark of marks) {
    const at = x(mark.event, lastAt(stops, mark.seq));
    const place = `${mark.kind} ${Math.round(at / 9)}`;
    if (!placed.has(place) || lit.has(mark.seq)) placed.set(place, { mark, x: at });
  }
  const ticks = [...new Set(stops.map((one, at) => Math.round(x(one, at))))];
  const done = THUMB / 2 + room * (here / Math.max(1, steps));
  return (
    <div class="track" ref={box} aria-hidden="true">
      <svg width={width} height="34">
        {(axis === "clock" || ticks.length < room / 5) && ticks.map((at) => <line key={at} x1={at} x2={at} y1="24" y2="32" class={at <= done ? "bead known" : "bead"} />)}
        {[...placed.values()].map(({ mark, x }) => (
          <g key={mark.kind + mark.seq} class={lit.has(mark.seq) ? "lit-up" : "faint"}>
            <Glyph kind={mark.kind} x={x} y={12} />
          </g>
        ))}
      </svg>
    </div>
  );
}

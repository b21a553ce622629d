// The state over time. Everything that is drawn is hidden from screen readers; for them, and for the
// keyboard, each window is a button that says the same in words. Colour is never the only sign.
import type { JSX } from "preact";
import { useMemo, useRef, useState } from "preact/hooks";
import { short } from "../model/decimal";
import { coloured, events, isAdditive, OTHERS, total, type Cell, type Label, type Operator, type Window } from "../model/series";
import { showTick, type Grain } from "../model/time";
import { useWidth } from "../ui/use-width";
import { between, nice } from "./scale";

export interface ChartProps {
  windows: readonly Window[];
  operator: Operator;
  isRunning: boolean;
  isThen: boolean;
  order: readonly (string | null)[];
  start: number;
  end: number;
  grain: Grain;
  zone: string;
  selected: string;
  describe: (window: Window) => string;
  onHover: (window: Window | null) => void;
  onSelect: (window: Window) => void;
  label: string;
}

const MARGIN = { top: 26, right: 10, bottom: 26, left: 54 };

export const colourOf = (label: Label, order: readonly (string | null)[]): string => {
  if (label === undefined) return "var(--c0)";
  if (label === OTHERS) return "var(--c-others)";
  const at = order.indexOf(label);
  return at < 0 || at > 5 ? "var(--c-others)" : `var(--c${at})`;
};

interface Frame {
  x: (ms: number) => number;
  y: (value: number) => number;
  top: number;
  bottom: number;
}

export function Chart(props: ChartProps): JSX.Element {
  const [box, width] = useWidth<HTMLDivElement>();
  const height = width < 520 ? 230 : 300;
  return (
    <div class="chart" ref={box}>
      {width > 0 && <Drawing {...props} width={width} height={height} />}
    </div>
  );
}

function Drawing(props: ChartProps & { width: number; height: number }): JSX.Element {
  const { windows, operator, isRunning, order, width, height, start, end } = props;
  const isStacked = isAdditive(operator) && !isRunning;
  const isBars = isStacked || (operator === "unique_count" && !isRunning);
  const [hovered, setHovered] = useState<Window | null>(null);
  const svg = useRef<SVGSVGElement>(null);

  const scale = useMemo(
    () => nice(windows.flatMap((one) => [...extent(one.then, isStacked), ...extent(one.now, isStacked)]), isBars || isRunning),
    [windows, isStacked],
  );
  const frame: Frame = {
    x: (ms) => between(ms, start, end, MARGIN.left, width - MARGIN.right),
    y: (value) => between(value, scale.low, scale.high, height - MARGIN.bottom, MARGIN.top),
    top: MARGIN.top,
    bottom: height - MARGIN.bottom,
  };
  const nearest = (event: MouseEvent): Window | null => {
    const left = svg.current?.getBoundingClientRect().left ?? 0;
    const x = event.clientX - left;
    const distance = (one: Window) => Math.max(frame.x(one.from) - x, x - frame.x(one.to), 0);
    const best = windows.reduce<Window | null>((best, one) => (best && distance(best) <= distance(one) ? best : one), null);
    return best && distance(best) < 24 ? best : null;
  };
  const hover = (one: Window | null) => {
    setHovered(one);
    props.onHover(one);
  };
  return (
    <svg
      ref={svg}
      width={width}
      height={height}
      role="group"
      aria-label={props.label}
      onPointerMove={(event) => hover(nearest(event))}
      onPointerLeave={() => hover(null)}
      onClick={(event) => {
        // A screen reader clicks a button, not a place.
        const start = (event.target as Element).getAttribute("data-start");
        const one = windows.find((one) => one.start === start) ?? nearest(event);
        if (one) props.onSelect(one);
      }}
    >
      <Hatch />
      <g aria-hidden="true">
        <Axes frame={frame} {...props} ticks={scale.ticks} />
        {windows.map((one) => (
          <Backdrop key={one.start} one={one} frame={frame} isThen={props.isThen} isHovered={one === hovered} isSelected={one.start === props.selected} />
        ))}
        {isBars ? (
          <Bars {...props} frame={frame} isStacked={isStacked} />
        ) : (
          <Lines {...props} frame={frame} isStep={isRunning || operator === "latest"} />
        )}
        {windows.map((one) => (
          <Glyphs key={one.start} one={one} frame={frame} isThen={props.isThen} />
        ))}
      </g>
      <Buttons {...props} frame={frame} order={order} onHover={hover} />
    </svg>
  );
}

/** The least and the most that a window's cells reach to. */
function extent(cells: readonly Cell[], isStacked: boolean): number[] {
  const values = cells.filter((one) => one.value !== null).map((one) => Number(one.value));
  if (!isStacked) return values;
  const sum = (of: (value: number) => boolean) => values.filter(of).reduce((a, b) => a + b, 0);
  return values.length ? [sum((value) => value > 0), sum((value) => value < 0)] : [];
}

/** A pattern for what was not known then, so that not colour alone tells it. */
const Hatch = () => (
  <defs>
    <pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
      <line x1="0" y1="0" x2="0" y2="5" class="hatch" />
    </pattern>
  </defs>
);

function Axes({ frame, ticks, width, height, windows, grain, zone, start, end }: ChartProps & { frame: Frame; ticks: readonly number[]; width: number; height: number }) {
  return (
    <g class="axes">
      {ticks.map((value) => (
        <g key={value}>
          <line x1={MARGIN.left} x2={width - MARGIN.right} y1={frame.y(value)} y2={frame.y(value)} class={value === 0 ? "zero" : "grid"} />
          <text x={MARGIN.left - 8} y={frame.y(value)} dy="0.32em" text-anchor="end">{short(value)}</text>
        </g>
      ))}
      {timeTicks(windows, start, end, grain, zone, width).map(({ ms, text, isMajor }) => (
        <g key={ms}>
          <line x1={frame.x(ms)} x2={frame.x(ms)} y1={frame.bottom} y2={frame.bottom + 5} class="tick" />
          <text x={Math.min(frame.x(ms), width - 22)} y={height - 6} text-anchor="middle" class={isMajor ? "major" : ""}>{text}</text>
        </g>
      ))}
    </g>
  );
}

/** Labels at beginnings of windows, as many as there is room for; a new day or year goes before an hour. */
function timeTicks(windows: readonly Window[], start: number, end: number, grain: Grain, zone: string, width: number) {
  const room = width - MARGIN.left - MARGIN.right;
  const all = windows.map((one) => ({ ms: one.from, ...showTick(one.from, grain, zone) }));
  const kept: typeof all = [];
  const fits = (ms: number) => kept.every((one) => (Math.abs(one.ms - ms) / (end - start)) * room >= 62);
  for (const one of [...all.filter((tick) => tick.isMajor), ...all.filter((tick) => !tick.isMajor)]) {
    if (fits(one.ms)) kept.push(one);
  }
  return kept;
}

interface OfWindow {
  one: Window;
  frame: Frame;
  isThen: boolean;
}

function Backdrop({ one, frame, isThen, isHovered, isSelected }: OfWindow & { isHovered: boolean; isSelected: boolean }) {
  const isLit = isThen && one.state === "rewritten";
  if (!isLit && !isHovered && !isSelected) return null;
  const [x, width] = [frame.x(one.from), Math.max(2, frame.x(one.to) - frame.x(one.from))];
  return (
    <g>
      {isLit && <rect x={x} y={frame.top - 20} width={width} height={frame.bottom - frame.top + 20} class="lit" />}
      {(isHovered || isSelected) && (
        <rect x={x} y={frame.top - 20} width={width} height={frame.bottom - frame.top + 20} class={isSelected ? "selected" : "hovered"} />
      )}
    </g>
  );
}

function Bars({ windows, operator, order, isThen, frame, isStacked }: ChartProps & { frame: Frame; isStacked: boolean }) {
  return (
    <g>
      {windows.map((one) => {
        const room = frame.x(one.to) - frame.x(one.from);
        const gap = Math.min(3, room * 0.18);
        const [x, width] = [frame.x(one.from) + gap / 2, Math.max(1, room - gap)];
        const isGhost = isThen && one.state !== "same";
        return (
          <g key={one.start}>
            {isGhost && <Ghost cells={one.now} {...{ operator, frame, x, width, isStacked }} state={one.state} />}
            {isStacked ? (
              <Stack cells={coloured(one.then, order, operator)} {...{ frame, x, width, order }} />
            ) : (
              <Side cells={coloured(one.then, order, operator)} {...{ frame, x, width, order }} />
            )}
            {isGhost && one.state === "rewritten" && <Edge cells={one.now} {...{ operator, frame, x, width }} />}
          </g>
        );
      })}
    </g>
  );
}

interface Column {
  frame: Frame;
  x: number;
  width: number;
}

type Shown = readonly { label: Label; value: string | null }[];

function Stack({ cells, frame, x, width, order }: Column & { cells: Shown; order: readonly (string | null)[] }) {
  let [up, down] = [0, 0];
  return (
    <g>
      {cells.map(({ label, value }) => {
        const size = Number(value ?? 0);
        const from = size >= 0 ? up : down;
        if (size >= 0) up += size;
        else down += size;
        const [a, b] = [frame.y(from), frame.y(from + size)];
        const height = Math.abs(a - b);
        if (height === 0) return null;
        return <rect key={String(label)} x={x} y={Math.min(a, b)} width={width} height={Math.max(0.75, height - (cells.length > 1 && height > 3 ? 1 : 0))} rx={Math.min(2, width / 4)} fill={colourOf(label, order)} />;
      })}
    </g>
  );
}

/** Groups that don't add up stand beside each other. */
function Side({ cells, frame, x, width, order }: Column & { cells: Shown; order: readonly (string | null)[] }) {
  const each = width / Math.max(1, cells.length);
  return (
    <g>
      {cells.map(({ label, value }, at) => {
        if (value === null) return null;
        const y = frame.y(Number(value));
        return <rect key={String(label)} x={x + at * each} y={y} width={Math.max(1, each - (each > 4 ? 1 : 0))} height={Math.max(0.75, frame.y(0) - y)} rx={Math.min(2, each / 4)} fill={colourOf(label, order)} />;
      })}
    </g>
  );
}

function reach(cells: readonly Cell[], operator: Operator): number | null {
  const whole = total(cells, operator);
  if (whole !== null) return Number(whole);
  const values = cells.filter((one) => one.value !== null).map((one) => Number(one.value));
  return values.length ? Math.max(...values) : null;
}

/** What is known now of a window that had not been complete, or of which other things were known. */
function Ghost({ cells, operator, frame, x, width, state }: Column & { cells: readonly Cell[]; operator: Operator; isStacked: boolean; state: Window["state"] }) {
  const value = reach(cells, operator);
  if (value === null) return null;
  const [a, b] = [frame.y(0), frame.y(value)];
  return <rect x={x} y={Math.min(a, b)} width={width} height={Math.abs(a - b)} rx={Math.min(2, width / 4)} class={`ghost ${state}`} />;
}

/** The line of what is known now, across a bar of what was. */
function Edge({ cells, operator, frame, x, width }: Column & { cells: readonly Cell[]; operator: Operator }) {
  const y = frame.y(reach(cells, operator) ?? 0);
  return <line x1={x - 1.5} x2={x + width + 1.5} y1={y} y2={y} class="edge" />;
}

function Lines({ windows, order, isThen, frame, isStep, grain }: ChartProps & { frame: Frame; isStep: boolean }) {
  const names: Label[] = order.length ? [...order.slice(0, 6)] : [undefined];
  const points = (which: "then" | "now", label: Label) =>
    windows.map((one) => {
      // What was carried on beyond what was known then is no knowledge.
      const isBeyond = which === "then" && isThen && one.state === "open" && events(one.then) === 0;
      const value = isBeyond ? null : (one[which].find((cell) => cell.label === label)?.value ?? null);
      return value === null ? null : { one, y: frame.y(Number(value)) };
    });
  const dotted = windows.length <= 130 && grain !== null;
  return (
    <g>
      {isThen && names.map((label) => <path key={`now ${String(label)}`} d={path(points("now", label), frame, isStep)} class="line ghost-line" stroke={colourOf(label, order)} />)}
      {names.map((label) => {
        const found = points("then", label);
        return (
          <g key={String(label)}>
            <path d={path(found, frame, isStep)} class="line" stroke={colourOf(label, order)} />
            {dotted && !isStep && found.map((point) => point && <circle key={point.one.start} cx={frame.x((point.one.from + point.one.to) / 2)} cy={point.y} r="2.6" fill={colourOf(label, order)} />)}
          </g>
        );
      })}
    </g>
  );
}

type Point = { one: Window; y: number } | null;

function path(points: readonly Point[], frame: Frame, isStep: boolean): string {
  let [text, isOpen] = ["", false];
  for (const point of points) {
    if (!point) {
      isOpen = isOpen && isStep;
      continue;
    }
    const { one, y } = point;
    if (isStep) text += `${isOpen ? "L" : "M"}${frame.x(one.from)} ${y}L${frame.x(one.to)} ${y}`;
    else text += `${isOpen ? "L" : "M"}${frame.x((one.from + one.to) / 2)} ${y}`;
    isOpen = true;
  }
  return text;
}

/** Marks above a window: a triangle for late events, a cross for voids, a diamond for what changed for another reason. */
function Glyphs({ one, frame, isThen }: OfWindow) {
  const late = one.marks.filter((mark) => mark.kind === "late").length;
  const voids = one.marks.length - late;
  const isLit = isThen && one.state === "rewritten";
  const kinds = [late > 0 && "late", voids > 0 && "void", isLit && one.marks.length === 0 && "other"].filter((kind): kind is MarkKind => Boolean(kind));
  if (kinds.length === 0 || (isThen && !isLit)) return null;
  const x = (frame.x(one.from) + frame.x(one.to)) / 2;
  return (
    <g class={isThen ? "glyphs lit-up" : "glyphs"}>
      {kinds.map((kind, at) => (
        <Glyph key={kind} kind={kind} x={x + (at - (kinds.length - 1) / 2) * 11} y={frame.top - 11} />
      ))}
    </g>
  );
}

export type MarkKind = "late" | "void" | "other";

const SHAPES: Record<MarkKind, string> = {
  late: "M0 -4.6 L4.8 3.8 L-4.8 3.8 Z",
  void: "M-3.4 -3.4 L3.4 3.4 M3.4 -3.4 L-3.4 3.4",
  other: "M0 -4.6 L4.6 0 L0 4.6 L-4.6 0 Z",
};

export const Glyph = ({ kind, x, y }: { kind: MarkKind; x: number; y: number }) => (
  <path d={SHAPES[kind]} transform={`translate(${x} ${y})`} class={`glyph ${kind}`} />
);

/** The windows for the keyboard and for screen readers: one of them takes the focus, arrows move it. */
function Buttons({ windows, frame, selected, describe, onSelect, onHover }: ChartProps & { frame: Frame }) {
  const [at, setAt] = useState<string | null>(null);
  const group = useRef<SVGGElement>(null);
  const reachable = windows.find((one) => one.start === (at ?? selected)) ?? windows.at(-1);
  const move = (to: number) => {
    const one = windows[Math.max(0, Math.min(windows.length - 1, to))];
    if (!one) return;
    setAt(one.start);
    group.current?.querySelector<SVGElement>(`[data-start="${one.start}"]`)?.focus();
  };
  const press = (event: KeyboardEvent, index: number, one: Window) => {
    const steps: Record<string, number> = {
      ArrowRight: index + 1,
      ArrowLeft: index - 1,
      Home: 0,
      End: windows.length - 1,
      PageUp: index - 10,
      PageDown: index + 10,
    };
    const to = steps[event.key];
    if (to !== undefined) move(to);
    else if (event.key === "Enter" || event.key === " ") onSelect(one);
    else return;
    event.preventDefault();
  };
  return (
    <g ref={group}>
      {windows.map((one, index) => (
        <rect
          key={one.start}
          data-start={one.start}
          class="window"
          role="button"
          tabIndex={one === reachable ? 0 : -1}
          aria-pressed={one.start === selected}
          aria-label={describe(one)}
          x={frame.x(one.from)}
          y={frame.top - 20}
          width={Math.max(2, frame.x(one.to) - frame.x(one.from))}
          height={frame.bottom - frame.top + 20}
          onKeyDown={(event) => press(event, index, one)}
          onFocus={() => {
            setAt(one.start);
            onHover(one);
          }}
          onBlur={() => onHover(null)}
        />
      ))}
    </g>
  );
}

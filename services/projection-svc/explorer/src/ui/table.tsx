// What the chart shows, as a table: every window, every group, exact.
import type { JSX } from "preact";
import { group, subtract, signed } from "../model/decimal";
import { events, showLabel, skipped, total, type Operator, type Window } from "../model/series";
import { showWindow } from "../model/time";

export interface TableProps {
  windows: readonly Window[];
  operator: Operator;
  order: readonly (string | null)[];
  by: string;
  isThen: boolean;
  zone: string;
  selected: string;
  caption: string;
  onSelect: (window: Window) => void;
}

export function Table({ windows, operator, order, by, isThen, zone, selected, caption, onSelect }: TableProps): JSX.Element {
  const columns = by ? order.slice(0, 12) : [];
  return (
    <div class="scroll-x tall" tabIndex={0} role="region" aria-label={caption}>
      <table class="values">
        <caption class="hidden">{caption}</caption>
        <thead>
          <tr>
            <th scope="col">Window</th>
            <th scope="col" class="number">{isThen ? "Known then" : "Value"}</th>
            {isThen && <th scope="col" class="number">Known now</th>}
            {isThen && <th scope="col" class="number">Change</th>}
            {columns.map((label) => <th key={String(label)} scope="col" class="number">{showLabel(label)}</th>)}
            <th scope="col" class="number">Events</th>
            <th scope="col" class="number">Skipped</th>
          </tr>
        </thead>
        <tbody>
          {windows.map((one) => {
            const [then, now] = [total(one.then, operator), total(one.now, operator)];
            return (
              <tr key={one.start} class={[one.state, one.start === selected ? "picked" : ""].join(" ")}>
                <th scope="row"><button type="button" class="link" onClick={() => onSelect(one)}>{showWindow(one.start, one.end, zone)}</button></th>
                <td class="number">{shown(then)}</td>
                {isThen && <td class="number">{shown(now)}</td>}
                {isThen && <td class="number">{one.state === "same" ? "" : then !== null && now !== null ? signed(subtract(now, then)) : one.state === "rewritten" ? "rewritten" : "new"}</td>}
                {columns.map((label) => <td key={String(label)} class="number">{shown(one.then.find((cell) => cell.label === label)?.value ?? null)}</td>)}
                <td class="number">{events(one.then)}</td>
                <td class="number">{skipped(one.then)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

const shown = (value: string | null) => (value === null ? "—" : group(value));

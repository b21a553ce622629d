// The rules: what each adds up to at the moment looked at, and how far its buckets are behind.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Rule, RuleState } from "../api/types";
import { group } from "../model/decimal";
import { showDuration, showInstant } from "../model/time";
import { Badge, many } from "./parts";

export function lag(rule: Rule): { kind: string; text: string; title: string } {
  const swept = rule.last_swept_at ? `. They were last written at ${showInstant(rule.last_swept_at, "UTC")} UTC` : "";
  const building = rule.building;
  if (building) {
    return { kind: "building", text: `building v${building.version}`, title: `Version ${building.version} is built: ${many(building.lag_events ?? 0, "event")} to go` };
  }
  if (rule.rebuilding) return { kind: "building", text: "rebuilding", title: "Its buckets are made anew" };
  const behind = rule.lag_events ?? 0;
  if (!behind) return { kind: "good", text: "in step", title: `Its buckets hold every event${swept}` };
  const seconds = rule.lag_seconds ?? 0;
  return {
    kind: seconds > 300 ? "late" : "behind",
    text: `${behind.toLocaleString("en")} behind`,
    title: `${many(behind, "event")} of the log, the oldest ${showDuration(seconds * 1000)} old, are not in buckets yet. They are counted all the same, from the log${swept}`,
  };
}

interface RuleListProps {
  rules: readonly Rule[];
  states: readonly RuleState[];
  picked: string;
  onPick: (rule: string) => void;
}

export function RuleList({ rules, states, picked, onPick }: RuleListProps): JSX.Element {
  const strip = useRef<HTMLDivElement>(null);
  useEffect(() => {
    // On a phone the rules stand side by side, and the one that was picked may be out of sight.
    const own = strip.current?.querySelector<HTMLElement>(".rule:has(:checked)");
    if (own && strip.current) strip.current.scrollLeft = own.offsetLeft - (strip.current.clientWidth - own.clientWidth) / 2;
  }, [picked]);
  return (
    <fieldset class="rules">
      <legend>Rules</legend>
      <div class="scroll" ref={strip}>
        {rules.map((rule) => {
          const state = states.find((one) => one.rule === rule.name);
          const value = state?.values[0]?.value;
          const { kind, text, title } = lag(rule);
          return (
            <label key={rule.name} class="rule" title={rule.description ?? ""}>
              <input type="radio" name="rule" value={rule.name} checked={rule.name === picked} onChange={() => onPick(rule.name)} />
              <span class="name">{rule.name}</span>
              <span class="value" title={value ? group(value) : undefined}>{value === undefined ? "" : value === null ? "—" : group(value)}</span>
              <span class="about">{operatorName(rule)}</span>
              <Badge kind={kind} title={title}>{text}</Badge>
            </label>
          );
        })}
      </div>
    </fieldset>
  );
}

const OPERATORS: Record<Rule["operator"], string> = {
  count: "count",
  sum: "sum",
  min: "least",
  max: "most",
  avg: "mean",
  latest: "latest",
  unique_count: "distinct",
  weighted_sum: "time-weighted",
};

export const operatorName = (rule: Rule): string => OPERATORS[rule.operator] ?? rule.operator;

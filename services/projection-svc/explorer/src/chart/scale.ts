// Where values and moments are drawn. Floats are good enough for pixels.

export interface Scale {
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
}

/** A scale of round numbers that holds all of these. */
export function nice(values: readonly number[], withZero: boolean, most = 4): Scale {
  let low = Math.min(...values, ...(withZero ? [0] : []));
  let high = Math.max(...values, ...(withZero ? [0] : []));
  if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = [0, 1];
  if (low === high) {
    if (low === 0) high = 1;
    else if (withZero) [low, high] = low > 0 ? [0, low] : [low, 0];
    else [low, high] = [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
  }
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5, 10].find((one) => one * power >= rough) ?? 10);
  const [first, last] = [Math.floor(low / step), Math.ceil(high / step)];
  const ticks: number[] = [];
  for (let at = first; at <= last; at++) ticks.push(Number((at * step).toPrecision(12)));
  return { low: first * step, high: last * step, ticks };
}

export const between = (at: number, from: number, to: number, start: number, end: number): number =>
  to === from ? start : start + ((at - from) / (to - from)) * (end - start);

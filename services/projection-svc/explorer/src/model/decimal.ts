// Exact decimals, as the API sends them. A float only ever decides where something is drawn.

interface Scaled {
  digits: bigint;
  scale: number;
}

function parse(text: string): Scaled {
  const [whole = "0", fraction = ""] = text.split(".");
  return { digits: BigInt(whole + fraction), scale: fraction.length };
}

function show({ digits, scale }: Scaled): string {
  const sign = digits < 0n ? "-" : "";
  const text = (digits < 0n ? -digits : digits).toString().padStart(scale + 1, "0");
  const whole = text.slice(0, text.length - scale);
  const fraction = text.slice(text.length - scale).replace(/0+$/, "");
  return sign + whole + (fraction && `.${fraction}`);
}

const at = (value: Scaled, scale: number) => value.digits * 10n ** BigInt(scale - value.scale);

export function add(a: string, b: string): string {
  const [left, right] = [parse(a), parse(b)];
  const scale = Math.max(left.scale, right.scale);
  return show({ digits: at(left, scale) + at(right, scale), scale });
}

export const negate = (a: string): string => (a === "0" ? a : a.startsWith("-") ? a.slice(1) : `-${a}`);

export const subtract = (a: string, b: string): string => add(a, negate(b));

/** The same digits, with the whole part in groups of three and a real minus. */
export function group(text: string): string {
  const [whole = "", fraction] = text.replace(/^-/, "").split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return (text.startsWith("-") ? "−" : "") + grouped + (fraction ? `.${fraction}` : "");
}

export function signed(text: string): string {
  return text === "0" ? "±0" : (text.startsWith("-") ? "" : "+") + group(text);
}

/** Whole numbers of the API that are counts. */
export const count = (number: number): string => group(String(number));

/** For the scale of a chart alone. */
export function short(number: number): string {
  const size = Math.abs(number);
  for (const [unit, name] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]] as const) {
    const divisor = name === "k" ? 1e3 : unit;
    if (size >= unit) return `${Number((number / divisor).toPrecision(4))}${name}`.replace("-", "−");
  }
  return String(Number(number.toPrecision(4))).replace("-", "−");
}

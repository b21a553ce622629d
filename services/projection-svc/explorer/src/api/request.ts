// A question to the API, before it is sent: where it goes, and how to ask it from a shell.

/** A parameter without a value is there by its name alone: `filter[model]` is the group without one. */
export type Parameter = readonly [name: string, value: string | null];

export interface Request {
  /** Relative to the page, so that it works behind a proxy that adds a prefix. */
  readonly url: string;
  /** Whether its answer is the same for ever: a version of the log and of the rule are named. */
  readonly isFinal: boolean;
}

type Parameters = readonly (Parameter | false | null | undefined)[];

/** Percent-encoded, but for what a query may hold as it is and people like to read. */
const encode = (text: string) => encodeURIComponent(text).replace(/%3A/g, ":").replace(/%2C/g, ",");

export function request(path: readonly string[], parameters: Parameters = [], isFinal = false): Request {
  const query = parameters
    .filter((one): one is Parameter => Boolean(one))
    .map(([name, value]) => (value === null ? encode(name) : `${encode(name)}=${encode(value)}`))
    .join("&");
  const url = path.map(encodeURIComponent).join("/") + (query && `?${query}`);
  return { url, isFinal };
}

/** Identifiers that proxies and browsers mangle in paths. */
const isMangled = (identifier: string) => /^\.{1,2}$|[/\\]/.test(identifier);

/** A question about one principal, by the path where that is safe, else by the query. */
function ofPrincipal(
  what: "state" | "explain" | "verify" | "events",
  tenant: string,
  principal: string,
  parameters: Parameters,
  isFinal = false,
): Request {
  if (isMangled(principal)) {
    return request(["v1", what, tenant], [["principal_id", principal], ...parameters], isFinal);
  }
  const path = what === "explain" || what === "verify" ? ["state", tenant, principal, what] : [what, tenant, principal];
  return request(["v1", ...path], parameters, isFinal);
}

export const state = (tenant: string, principal: string, parameters: Parameters, isFinal = false) =>
  ofPrincipal("state", tenant, principal, parameters, isFinal);
export const explain = (tenant: string, principal: string, parameters: Parameters) =>
  ofPrincipal("explain", tenant, principal, parameters, true);
export const verify = (tenant: string, principal: string, parameters: Parameters) =>
  ofPrincipal("verify", tenant, principal, parameters);
export const events = (tenant: string, principal: string, parameters: Parameters) =>
  ofPrincipal("events", tenant, principal, parameters);

export function event(tenant: string, principal: string, id: string, source: string | undefined): Request {
  const from: Parameter | undefined = source === undefined ? undefined : ["source", source];
  if (isMangled(principal) || isMangled(id)) {
    return request(["v1", "events", tenant], [["principal_id", principal], ["id", id], from]);
  }
  return request(["v1", "events", tenant, principal, id], [from]);
}

export const rules = (): Request => request(["v1", "rules"]);
export const principals = (tenant: string, prefix: string) =>
  request(["v1", "principals", tenant], [prefix !== "" && ["prefix", prefix], ["limit", "50"]]);
export const largest = (tenant: string, rule: string) =>
  request(["v1", "state", tenant], [["rule", rule], ["order_by", "value"], ["limit", "10"]]);

const quoted = (text: string) => `'${text.replace(/'/g, `'\\''`)}'`;

/** The same question for a shell. The key stands in a variable: it is nobody's business on a clipboard. */
export function curl(asked: Request, withKey: boolean): string {
  const url = new URL(asked.url, document.baseURI).href;
  return `curl -s ${withKey ? '-H "authorization: Bearer $AEVON_KEY" ' : ""}${quoted(url)}`;
}

// Aevon's HTTP API, typed by what `npm run types` makes of docs/openapi.json.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.d.ts";

export type Event = components["schemas"]["Event"];
export type StoredMany = components["schemas"]["StoredMany"];
export type Problem = components["schemas"]["Problem"];
export type Aevon = ReturnType<typeof createClient<paths>>;

export const connect = (baseUrl: string, key: string | undefined): Aevon =>
  createClient<paths>({ baseUrl, ...(key ? { headers: { authorization: `Bearer ${key}` } } : {}) });

// Meters requests: one event `api.request` each, with its status, time and bytes, sent once it is over.
import { randomUUID } from "node:crypto";
import type { Request, RequestHandler, Response } from "express";
import type { Meter } from "./meter.js";
import type { Quota, Who } from "./quota.js";

export interface Metered {
  meter: Meter;
  quota: Quota;
  /** Whose request it is; undefined where it is nobody's, and goes unmetered. */
  whoOf: (request: Request) => Who | undefined;
  /** Who names the events so: a part of their identity. */
  source: string;
}

export function metered({ meter, quota, whoOf, source }: Metered): RequestHandler {
  // Ids of this process: never used again by another one, and no caller has a say in them.
  const process = randomUUID();
  let requests = 0;
  return async (request, response, next) => {
    const who = whoOf(request);
    if (!who) return next();
    const began = new Date();
    const admission = await quota.admit(who, began);
    if (!admission.admitted) return refuse(response, admission.until);
    const id = `${process}-${requests++}`;
    const clock = performance.now();
    const bytesOut = countBody(response);
    response.once("close", () => {
      const data = {
        method: request.method,
        route: routeOf(request),
        status: response.statusCode,
        ms: Math.round(1_000 * (performance.now() - clock)) / 1_000,
        bytes_out: bytesOut(),
      };
      const event = { tenant_id: who.tenant, principal_id: who.principal, id, source, type: "api.request" };
      meter.record({ ...event, occurred_at: began.toISOString(), data }, admission.settled);
    });
    next();
  };
}

function refuse(response: Response, until: Date): void {
  response
    .status(429)
    .set("retry-after", String(Math.ceil((until.getTime() - Date.now()) / 1_000)))
    .type("application/problem+json")
    .send(JSON.stringify({ title: "The quota is used up", status: 429, detail: `it begins anew at ${until.toISOString()}` }));
}

/** The pattern of the route, which are few; not the path, which is whatever callers send. */
function routeOf(request: Request): string {
  const route = request.route as { path: unknown } | undefined;
  return route ? request.baseUrl + String(route.path) : "none";
}

/** Counts the bytes of the body that are written from now on. */
function countBody(response: Response): () => number {
  let bytes = 0;
  const counted =
    <F extends (...args: never[]) => unknown>(write: F) =>
    (...args: unknown[]): unknown => {
      const [chunk, encoding] = args;
      if (typeof chunk === "string") bytes += Buffer.byteLength(chunk, typeof encoding === "string" ? (encoding as BufferEncoding) : "utf8");
      else if (chunk instanceof Uint8Array) bytes += chunk.byteLength;
      return write.apply(response, args as never[]);
    };
  response.write = counted(response.write) as Response["write"];
  response.end = counted(response.end) as Response["end"];
  return () => bytes;
}

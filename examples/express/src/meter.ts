// Sends events to Aevon in batches, beside the requests that they are about.
//
// Invariant: `record` neither throws nor waits.
// Retry safety: an event is made once and sent as it is, under the same id, until its fate is known; what
// arrived although the answer did not is a duplicate the next time.
// Bound: `capacity` events wait. What comes on top of that is dropped, and counted.
import { setTimeout as sleep } from "node:timers/promises";
import type { Aevon, Event, Problem, StoredMany } from "./aevon.js";

export interface Options {
  /** Most events that wait. */
  capacity: number;
  /** Most events of a request; Aevon takes 10,000 and 10 MiB. */
  batch: number;
  /** How long an event waits for others to go with. */
  flushMs: number;
  /** How long a request may take before it is sent again. */
  deadlineMs: number;
  log: (line: string) => void;
}

/** Told what became of an event: the version from which on it counts, or null where it never will. */
export type Settled = (version: string | null) => void;

const DEFAULTS: Options = { capacity: 10_000, batch: 500, flushMs: 200, deadlineMs: 5_000, log: console.error };
/** The longest pause between two tries. */
const MAX_PAUSE_MS = 2_000;
/** Refusals that may end: of the key (it may be about to be replaced), of the rate, for want of time or room. */
const MAY_END = [401, 403, 408, 429];

export class Meter {
  readonly counts = { stored: 0, duplicate: 0, rejected: 0, dropped: 0, retries: 0 };
  readonly #ingest: Aevon;
  readonly #options: Options;
  #waiting: { event: Event; settled: Settled }[] = [];
  #timer: NodeJS.Timeout | undefined;
  #draining: Promise<void> | undefined;

  constructor(ingest: Aevon, options: Partial<Options> = {}) {
    this.#ingest = ingest;
    this.#options = { ...DEFAULTS, ...options };
  }

  record(event: Event, settled: Settled = () => {}): void {
    if (this.#waiting.length >= this.#options.capacity) {
      if (this.counts.dropped++ === 0) this.#options.log("metering: the queue is full, events are dropped");
      settled(null);
      return;
    }
    this.#waiting.push({ event, settled });
    if (this.#waiting.length >= this.#options.batch) void this.#drain();
    else this.#timer ??= setTimeout(() => void this.#drain(), this.#options.flushMs).unref();
  }

  /** Sends what waits, within a time; how many events are left. */
  async close(withinMs: number): Promise<number> {
    await Promise.race([this.#drain(), sleep(withinMs)]);
    return this.#waiting.length;
  }

  /** One batch after the other, so that what is acknowledged later stands later in the log. */
  #drain(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#draining ??= this.#sendAll().finally(() => (this.#draining = undefined));
    return this.#draining;
  }

  async #sendAll(): Promise<void> {
    for (let failures = 0; this.#waiting.length > 0; ) {
      const batch = this.#waiting.slice(0, this.#options.batch);
      const outcome = await this.#send(batch.map((one) => one.event));
      if ("again" in outcome) {
        this.counts.retries++;
        if (failures++ === 0) this.#options.log(`metering: Aevon is not to be had (${outcome.again}), events wait`);
        const pause = Math.max(outcome.afterMs, 100 * 2 ** Math.min(failures, 6) * (0.5 + Math.random() / 2));
        await sleep(Math.min(pause, MAX_PAUSE_MS));
        continue;
      }
      failures = 0;
      this.#waiting.splice(0, batch.length);
      this.#settle(batch.map((one) => one.settled), outcome.answer);
    }
  }

  async #send(body: Event[]): Promise<{ answer: StoredMany | Problem } | { again: string; afterMs: number }> {
    try {
      const signal = AbortSignal.timeout(this.#options.deadlineMs);
      const { data, error, response } = await this.#ingest.POST("/v1/events", { body, signal });
      if (data && "results" in data) return { answer: data };
      if (error && response.status < 500 && !MAY_END.includes(response.status)) return { answer: error };
      return { again: `status ${response.status}`, afterMs: 1_000 * Number(response.headers.get("retry-after") ?? 0) };
    } catch (cause) {
      return { again: String(cause), afterMs: 0 }; // not reached, broken off, too late
    }
  }

  #settle(batch: Settled[], answer: StoredMany | Problem): void {
    if (!("results" in answer)) {
      this.counts.rejected += batch.length;
      this.#options.log(`metering: ${batch.length} events were refused: ${answer.title}: ${answer.detail}`);
      for (const settled of batch) settled(null);
      return;
    }
    this.counts.stored += answer.accepted;
    this.counts.duplicate += answer.duplicate;
    this.counts.rejected += answer.rejected;
    const rejected = new Map(answer.results.filter((one) => one.status === "rejected").map((one) => [one.index, one.error]));
    for (const [index, settled] of batch.entries()) settled(rejected.has(index) ? null : answer.version);
    const [first] = rejected.values();
    if (first) this.#options.log(`metering: ${answer.rejected} events were refused, the first: ${first.code}: ${first.detail}`);
  }
}

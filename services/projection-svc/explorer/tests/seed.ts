// A believable two days of a tenant: model calls of three teams by the hour, what came in late, what was
// voided, what was amended. Sent in the order in which it would have come in, so that history has steps.

export const HOUR = 3_600_000;
export const TENANT = "acme";
export const TEAM = "team-atlas";

export interface Seeded {
  /** The beginning of the first hour. */
  start: number;
  /** Hours of the windows that were rewritten, and how. */
  lateHour: number;
  voidHour: number;
  amendedHour: number;
  /** Events of the team that count now. */
  counted: number;
}

type Event = Record<string, unknown>;

const MODELS = ["large", "small", "reasoning", "embedding"];

/** The same numbers in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}

const call = (principal: string, id: string, at: number, tokens: number | string, model: string | null): Event => ({
  tenant_id: TENANT,
  principal_id: principal,
  id,
  source: "gateway",
  type: "model.call",
  occurred_at: new Date(at).toISOString(),
  data: model === null ? { tokens } : { tokens, model },
});

const voidOf = (principal: string, id: string, target: string, reason: string): Event => ({
  tenant_id: TENANT,
  principal_id: principal,
  id,
  type: "aevon.void",
  occurred_at: new Date().toISOString(),
  data: { event_id: target, source: "gateway", reason },
});

async function send(base: string, events: Event[], query = ""): Promise<void> {
  const answer = await fetch(`${base}/v1/events${query}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(events),
    signal: AbortSignal.timeout(20_000),
  });
  if (answer.status !== 202) throw new Error(`the seed was answered ${answer.status}: ${await answer.text()}`);
}

export async function seed(base: string, hours = 46): Promise<Seeded> {
  const next = random(7);
  const start = Math.floor(Date.now() / HOUR) * HOUR - hours * HOUR;
  const [lateHour, voidHour, amendedHour] = [11, 17, 25];
  let counted = 0;
  for (let hour = 0; hour < hours; hour++) {
    const clock = new Date(start + hour * HOUR).getUTCHours();
    const busy = 1 + 4 * Math.max(0, Math.sin(((clock - 5) / 24) * 2 * Math.PI)) + next();
    const events: Event[] = [];
    for (const [team, share] of [[TEAM, 1], ["team-borealis", 0.6], ["team-corvus", 0.3]] as const) {
      for (let at = 0; at < Math.ceil(busy * share); at++) {
        const model = MODELS[Math.min(3, Math.floor(next() ** 1.6 * 4))]!;
        const ms = start + hour * HOUR + Math.floor(next() * HOUR);
        events.push(call(team, `${team}-${hour}-${at}`, ms, 200 + Math.floor(next() * 1800) + (at % 7 === 3 ? 0.25 : 0), model));
        if (team === TEAM) counted++;
      }
      if (hour % 3 === 0) {
        events.push({ ...call(team, `${team}-request-${hour}`, start + hour * HOUR + 60_000, 0, null), type: "api.request", data: { path: "/v1/chat", ms: 20 + Math.floor(next() * 90) } });
      }
    }
    await send(base, events);
    if (hour === 22) {
      for (let at = 0; at < 3; at++) {
        await send(base, [call(TEAM, `late-${at}`, start + lateHour * HOUR + at * 600_000, 2400 + at, "reasoning")]);
        counted++;
      }
    }
    if (hour === 31) {
      await send(base, [voidOf(TEAM, "void-0", `${TEAM}-${voidHour}-0`, "counted twice")]);
      await send(base, [voidOf(TEAM, "void-1", `${TEAM}-${voidHour}-1`, "counted twice")]);
      counted -= 2;
    }
    if (hour === 38) {
      const amended = call(TEAM, "amended-0", start + amendedHour * HOUR + 60_000, "6400.125", "large");
      await send(base, [voidOf(TEAM, "void-2", `${TEAM}-${amendedHour}-0`, "the gateway sent the wrong number"), amended], "?atomic=true");
    }
  }
  await send(base, [call(TEAM, "without-a-number", start + (hours - 1) * HOUR, "many", null)]);
  return { start, lateHour, voidHour, amendedHour, counted };
}

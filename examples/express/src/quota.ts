// How much a principal may still use of what a rule adds up to, without a question to Aevon for every request.
//
// A state is read now and then; what this process has let in since is added. An answer at the version of the
// own acknowledgements (read your writes) holds what was acknowledged and nothing that is under way, so that
// nothing is missed and nothing counts twice: of one process the quota is exact. Others' requests show at the
// next refresh.
//
// Bounds: `mostAccounts` principals are remembered; a request waits `deadlineMs` at most, and only for the
// first answer about its principal. Without an answer everybody is let in.
import type { Aevon } from "./aevon.js";
import type { Settled } from "./meter.js";

export interface Who {
  tenant: string;
  principal: string;
}

export interface Options {
  /** A rule that counts requests. */
  rule: string;
  /** Most requests of a calendar month (UTC). */
  limit: number;
  refreshMs: number;
  /** How long a request waits for the first answer. */
  deadlineMs: number;
  mostAccounts: number;
}

/** Let in, and whom to tell what became of the event; or refused until the next month. */
export type Admission = { admitted: true; settled: Settled } | { admitted: false; until: Date };

interface Account {
  /** Requests of this month, as far as anybody here knows; undefined until Aevon has answered. */
  used: number | undefined;
  /** Let in, and not acknowledged yet. */
  open: number;
  /** Let in since this account is remembered, but for those that will never count. */
  counting: number;
  /** Holds what was acknowledged, and nothing that is open. */
  version: string | undefined;
  askedAt: number;
  asking: Promise<void> | undefined;
}

const DEFAULTS = { refreshMs: 1_000, deadlineMs: 250, mostAccounts: 100_000 };

export class Quota {
  readonly #state: Aevon;
  readonly #options: Options;
  readonly #accounts = new Map<string, Account>();

  constructor(state: Aevon, options: Pick<Options, "rule" | "limit"> & Partial<Options>) {
    this.#state = state;
    this.#options = { ...DEFAULTS, ...options };
  }

  async admit(who: Who, at: Date): Promise<Admission> {
    const start = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth()));
    const end = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1));
    const account = this.#account(JSON.stringify([who.tenant, who.principal, start]));
    if (Date.now() - account.askedAt >= this.#options.refreshMs) {
      account.asking ??= this.#ask(account, who, start, end).finally(() => (account.asking = undefined));
    }
    if (account.used === undefined) await account.asking;
    if (account.used !== undefined && account.used >= this.#options.limit) return { admitted: false, until: end };
    this.#count(account, 1);
    account.open++;
    return {
      admitted: true,
      settled: (version) => {
        account.open--;
        if (version === null) this.#count(account, -1);
        else account.version = version;
      },
    };
  }

  #count(account: Account, change: number): void {
    account.counting += change;
    if (account.used !== undefined) account.used += change;
  }

  async #ask(account: Account, who: Who, start: Date, end: Date): Promise<void> {
    const { open, counting, version } = account;
    if (open > 0 && version === undefined) return; // what is open could be in the answer or not: wait for an acknowledgement
    account.askedAt = Date.now();
    const query = {
      rule: [this.#options.rule],
      start: start.toISOString(),
      end: end.toISOString(),
      ...(version === undefined ? {} : open > 0 ? { version } : { min_version: version, wait: "100ms" }),
    };
    try {
      const { data } = await this.#state.GET("/v1/state/{tenant}/{principal}", {
        params: { path: who, query },
        signal: AbortSignal.timeout(this.#options.deadlineMs),
      });
      if (typeof data !== "object") return; // a problem; rows as text are not asked for
      const value = data.values?.[0]?.value;
      if (typeof value !== "string") return;
      if (open === 0) {
        if (account.counting !== counting || account.open > 0) return; // the newest state may hold what came in meanwhile
        account.version = data.version;
      }
      account.used = Number(value) + open + account.counting - counting;
    } catch {
      // Not reached, or too late: what is known stands, and the next refresh asks again.
    }
  }

  #account(key: string): Account {
    let account = this.#accounts.get(key);
    this.#accounts.delete(key);
    account ??= { used: undefined, open: 0, counting: 0, version: undefined, askedAt: -Infinity, asking: undefined };
    this.#accounts.set(key, account); // now the youngest
    if (this.#accounts.size > this.#options.mostAccounts) this.#forgetOldest();
    return account;
  }

  #forgetOldest(): void {
    for (const [key, account] of this.#accounts) {
      if (account.open > 0) continue;
      this.#accounts.delete(key);
      return;
    }
  }
}

// Questions of a part of the page. One is on its way at a time: what is asked meanwhile waits, and the
// latest of it goes next, so that a slider in motion shows what it passes and no queue builds up.
import { useEffect, useRef, useState } from "preact/hooks";
import { ask, known, Trouble } from "./client";
import type { Request } from "./request";

export interface Asked<T> {
  /** The newest answer, perhaps of the question before. */
  readonly data: T | null;
  /** What `data` answers. */
  readonly of: Request | null;
  readonly trouble: Trouble | null;
  readonly isBusy: boolean;
  readonly retry: () => void;
}

interface Shown<T> {
  data: T | null;
  of: Request | null;
  trouble: Trouble | null;
  isBusy: boolean;
}

const NOTHING = { data: null, of: null, trouble: null, isBusy: false };

class Line<T> {
  #running: AbortController | null = null;
  #waiting: Request | null = null;
  #etag: { url: string; tag: string } | null = null;
  shown: Shown<T> = NOTHING;

  constructor(readonly tell: (shown: Shown<T>) => void) {}

  stop(): void {
    this.#running?.abort();
    this.#running = this.#waiting = this.#etag = null;
  }

  clear(): void {
    this.stop();
    this.#show(NOTHING);
  }

  ask(asked: Request): void {
    const found = known<T>(asked);
    if (found !== undefined) {
      this.stop();
      this.#show({ data: found, of: asked, trouble: null, isBusy: false });
    } else if (this.#running) {
      this.#waiting = asked;
    } else {
      void this.#send(asked);
    }
  }

  get isBusy(): boolean {
    return this.#running !== null;
  }

  async #send(asked: Request): Promise<void> {
    const controller = new AbortController();
    this.#running = controller;
    this.#show({ ...this.shown, isBusy: true });
    let trouble: Trouble | null = null;
    let shown = this.shown;
    try {
      const tag = this.#etag?.url === asked.url ? this.#etag.tag : null;
      const answer = await ask<T>(asked, controller.signal, tag);
      if (answer) {
        shown = { data: answer.body, of: asked, trouble: null, isBusy: false };
        this.#etag = answer.etag ? { url: asked.url, tag: answer.etag } : null;
      }
    } catch (error) {
      if (controller.signal.aborted) return;
      trouble = error instanceof Trouble ? error : new Trouble("The page has a fault", String(error), null, null, null);
    }
    if (controller.signal.aborted) return;
    this.#running = null;
    const next = this.#waiting;
    this.#waiting = null;
    this.#show({ ...shown, trouble, isBusy: next !== null });
    if (next) this.ask(next);
  }

  #show(shown: Shown<T>): void {
    this.shown = shown;
    this.tell(shown);
  }
}

/**
 * The answer to a question, where there is one to ask. An answer is kept while the next question of the
 * same family is on its way; with another family it is another thing, and goes at once. `every` asks
 * again and again while somebody looks.
 */
export function useAsk<T>(asked: Request | null, family: string, every = 0): Asked<T> {
  const [shown, setShown] = useState<Shown<T>>(NOTHING);
  const lines = useRef<Line<T> | null>(null);
  const line = (lines.current ??= new Line<T>(setShown));
  const before = useRef(family);
  const wanted = useRef(asked);
  wanted.current = asked;

  useEffect(() => {
    if (before.current !== family) line.clear();
    before.current = family;
    if (asked) line.ask(asked);
    else line.clear();
  }, [asked?.url, family]);

  useEffect(() => {
    if (!every) return;
    const again = () => {
      if (!document.hidden && !line.isBusy && wanted.current) line.ask(wanted.current);
    };
    const timer = setInterval(again, every);
    document.addEventListener("visibilitychange", again);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", again);
    };
  }, [every]);

  useEffect(() => () => line.stop(), []);
  // What belongs to another family is not shown, not even until the effect above has run.
  const own = before.current === family ? shown : NOTHING;
  return { ...own, retry: () => wanted.current && line.ask(wanted.current) };
}

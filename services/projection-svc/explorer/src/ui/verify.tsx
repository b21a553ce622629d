// Has the service prove the answer that is shown: from buckets, and from the raw log alone.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Request } from "../api/request";
import type { Verification } from "../api/types";
import { useAsk } from "../api/use-ask";
import { count, group } from "../model/decimal";
import { showWindow } from "../model/time";
import { Curl, Failure, Icon, many } from "./parts";

export function Verify({ of, zone }: { of: Request | null; zone: string }): JSX.Element {
  const [asked, setAsked] = useState<string | null>(null);
  const isAsked = of !== null && asked === of.url;
  const found = useAsk<Verification>(isAsked ? of : null, of?.url ?? "");
  const done = isAsked && found.data && !found.isBusy ? found.data : null;
  return (
    <div class="verify">
      <button type="button" class="verify-button" disabled={!of || (isAsked && found.isBusy)} onClick={() => (isAsked ? found.retry() : setAsked(of?.url ?? null))}>
        <Icon name="check" /> {isAsked && found.isBusy ? "Verifying…" : "Verify"}
      </button>
      <Curl of={of} what="the verification" />
      <div class="verdict" role="status">
        {done && done.agrees && (
          <p class="agrees">
            <Icon name="done" /> <strong>Proven.</strong> {many(done.values, "value")}: {many(done.buckets_read, "bucket")} and the raw log ({many(done.events_read, "event")}) agree to the last digit.
          </p>
        )}
        {done && !done.agrees && (
          <div class="differs">
            <p><Icon name="warn" /> <strong>{many(done.difference_count, "value differs", "values differ")}.</strong> {done.unreadable ?? ""} <code>aevon rebuild --rule {done.rule}</code> repairs it.</p>
            <ul>
              {done.items.slice(0, 5).map((one) => (
                <li key={`${one.window_start} ${JSON.stringify(one.group)}`}>
                  {one.window_start && one.window_end ? showWindow(one.window_start, one.window_end, zone) : "Over everything"}: buckets {shown(one.from_buckets?.value)}, log {shown(one.from_log?.value)} ({count(one.from_log?.event_count ?? 0)})
                </li>
              ))}
            </ul>
          </div>
        )}
      </div>
      {isAsked && found.trouble && <Failure trouble={found.trouble} onRetry={found.retry} />}
    </div>
  );
}

const shown = (value: string | null | undefined) => (value == null ? "—" : group(value));

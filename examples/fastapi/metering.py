"""Meters what requests consume with Aevon, and refuses what is above a quota.

Invariant: `Meter.record` neither raises nor waits.
Retry safety: an event is sent as it is, under the same id, until its fate is known; what arrived although
the answer did not is a duplicate the next time.
Bounds: `capacity` events wait (what comes on top is dropped, and counted); a request waits `deadline_s` for
its quota. Without an answer by then it is let in.
"""

import asyncio
import logging
import random
from collections import deque
from datetime import UTC, datetime
from decimal import Decimal

import httpx
from aevon_client import AuthenticatedClient
from aevon_client.api.ingest import store_events
from aevon_client.api.state import get_state
from aevon_client.models import Event, State, StoredMany
from aevon_client.types import UNSET

log = logging.getLogger("uvicorn.error")
# The longest pause between two tries.
MAX_PAUSE_S = 2
# Refusals that may end: of the key (it may be about to be replaced), of the rate, for want of time or room.
MAY_END = {401, 403, 408, 429}
# What a call may raise that did not get its answer: unreachable, too late, not what the document says.
NO_ANSWER = (httpx.HTTPError, TimeoutError, ValueError, KeyError)
# Principals of whom the newest acknowledgement is remembered.
MOST_VERSIONS = 100_000


class Meter:
    """Sends events in batches, one after the other, in a task of its own: `async with Meter(…) as meter`."""

    def __init__(self, ingest: AuthenticatedClient, capacity: int = 10_000, batch: int = 500, flush_s: float = 0.2):
        self.counts = {"stored": 0, "duplicate": 0, "rejected": 0, "dropped": 0, "retries": 0}
        # Of each principal, where the log stood when its newest event was acknowledged.
        self.versions: dict[str, str] = {}
        self._ingest, self._capacity, self._batch, self._flush_s = ingest, capacity, batch, flush_s
        self._waiting: deque[Event] = deque()
        self._recorded = self._settled = 0
        self._something, self._hurry, self._progress = asyncio.Event(), asyncio.Event(), asyncio.Condition()

    def record(self, event: Event) -> None:
        if len(self._waiting) >= self._capacity:
            if self.counts["dropped"] == 0:
                log.error("metering: the queue is full, events are dropped")
            self.counts["dropped"] += 1
            return
        self._waiting.append(event)
        self._recorded += 1
        self._something.set()
        if len(self._waiting) >= self._batch:
            self._hurry.set()

    async def settle(self) -> None:
        """Comes back when the fate of everything that was recorded before is known."""
        until = self._recorded
        if self._settled < until:
            self._hurry.set()
            async with self._progress:
                await self._progress.wait_for(lambda: self._settled >= until)

    async def __aenter__(self) -> "Meter":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_) -> None:
        try:
            await asyncio.wait_for(self.settle(), 20)
        except TimeoutError:
            log.error("metering: %d events are lost", len(self._waiting))
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            await self._something.wait()
            try:
                await asyncio.wait_for(self._hurry.wait(), self._flush_s)
            except TimeoutError:
                pass
            self._hurry.clear()
            self._something.clear()
            while self._waiting:
                batch = [self._waiting[index] for index in range(min(self._batch, len(self._waiting)))]
                await self._send(batch)
                for _ in batch:
                    self._waiting.popleft()
                async with self._progress:
                    self._settled += len(batch)
                    self._progress.notify_all()

    async def _send(self, batch: list[Event]) -> None:
        """Comes back when the fate of the batch is known."""
        failures = 0
        while True:
            after_s = 0
            try:
                answer = await store_events.asyncio_detailed(client=self._ingest, body=batch)
                if isinstance(answer.parsed, StoredMany):
                    return self._stored(batch, answer.parsed)
                if answer.status_code < 500 and answer.status_code not in MAY_END:
                    self.counts["rejected"] += len(batch)
                    return log.error("metering: %d events were refused: %s", len(batch), answer.content[:1000])
                reason, after_s = f"status {answer.status_code}", int(answer.headers.get("retry-after", 0))
            except NO_ANSWER as error:
                reason = repr(error)
            self.counts["retries"] += 1
            if failures == 0:
                log.error("metering: Aevon is not to be had (%s), events wait", reason)
            pause_s = max(after_s, 0.1 * 2 ** min(failures, 6) * random.uniform(0.5, 1))
            failures += 1
            await asyncio.sleep(min(pause_s, MAX_PAUSE_S))

    def _stored(self, batch: list[Event], answer: StoredMany) -> None:
        self.counts["stored"] += answer.accepted
        self.counts["duplicate"] += answer.duplicate
        self.counts["rejected"] += answer.rejected
        for event in batch if answer.version else []:
            self.versions.pop(event.principal_id, None)
            self.versions[event.principal_id] = answer.version  # now the youngest
        while len(self.versions) > MOST_VERSIONS:
            self.versions.pop(next(iter(self.versions)))
        for item in answer.results:
            if item.status == "rejected":
                log.error("metering: event %s was refused: %s", item.id, item.error)


class Quota:
    """How much of what a rule adds up to a principal may use in a calendar month (UTC)."""

    def __init__(self, state: AuthenticatedClient, meter: Meter, tenant: str, rule: str, limit: Decimal, deadline_s: float):
        self.limit = limit
        self._state, self._meter, self._tenant, self._rule, self._deadline_s = state, meter, tenant, rule, deadline_s

    async def used(self, principal: str) -> Decimal | None:
        """With everything that was recorded here before; None where Aevon does not say so in time."""
        start, end = month_of(datetime.now(UTC))
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._meter.settle()
                version = self._meter.versions.get(principal)
                state = await get_state.asyncio(
                    self._tenant, principal, client=self._state, rule=[self._rule], start=start, end=end,
                    min_version=version or UNSET, wait="250ms" if version else UNSET)
        except NO_ANSWER as error:
            return log.error("metering: the quota of %s is not known: %r", principal, error)
        if not isinstance(state, State):
            return log.error("metering: the quota of %s is not known: %s", principal, state)
        return Decimal(state.states[0].values[0].value)


def month_of(now: datetime) -> tuple[datetime, datetime]:
    """The first instants of its calendar month and of the next."""
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)

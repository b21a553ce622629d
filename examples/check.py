#!/usr/bin/env python3
"""Drives the examples against real services: `with-postgres -- check.py PROGRAMS EXAMPLE...`.

Each is the real thing: Express, uvicorn, nginx with syslog-ng, the Rust client. On the way to ingest-svc answers get lost, and
ingest-svc is killed and comes back. What Aevon says in the end has to be what was done, to the number.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "deploy"))
from system import System, ask, free_port, until  # noqa: E402

TENANT = "acme"
# No request may take longer because Aevon is away; a busy machine has its share in it.
MAX_REQUEST_S = 5
# How long a request waits for its quota: long enough on a busy machine, where a test can't be let in for want of an answer.
QUOTA_WAIT_S = 2
# So often a sender is told that ingest-svc is away before it comes back: more than some senders try.
REFUSALS = 5


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Road(Server):
    """The way to ingest-svc: loses the first answer and then every third, after what it answers to was done.

    Where ingest-svc is away it says so as a load balancer does.
    """

    def __init__(self, ingest):
        self.ingest, self.lock = ingest, threading.Lock()
        self.answers = self.refused = self.accepted = self.duplicates = self.acknowledged = 0
        super().__init__(Carrier)

    def is_lost(self, answer):
        with self.lock:
            self.accepted += answer.get("accepted", 0)
            self.duplicates += answer.get("duplicate", 0)
            self.answers += 1
            if self.answers % 3 == 1:
                return True
            self.acknowledged += answer.get("accepted", 0) + answer.get("duplicate", 0)
            return False


class Carrier(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        onward = http.client.HTTPConnection(urllib.parse.urlsplit(self.server.ingest).netloc, timeout=20)
        try:
            onward.request("POST", self.path, body, {name: self.headers[name] for name in ("content-type", "authorization")})
            answer = onward.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self.server.refused += 1
            return send(self, 502, "text/html", b"<h1>Bad gateway</h1>")
        finally:
            onward.close()
        if self.server.is_lost(json.loads(text)):
            self.close_connection = True
        else:
            send(self, answer.status, answer.headers["content-type"], text)

    def log_message(self, *_):
        pass


class Model(BaseHTTPRequestHandler):
    """In the place of a language model: consumes as many tokens as it is asked for."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = {"id": asked["messages"][0]["content"], "model": asked["model"], "choices": [],
                  "usage": {"total_tokens": asked["max_tokens"]}}
        send(self, 200, "application/json", json.dumps(answer).encode())

    def log_message(self, *_):
        pass


def send(handler, status, content_type, text):
    handler.send_response(status)
    handler.send_header("content-type", content_type)
    handler.send_header("content-length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)


class Trial:
    """One example: its road, what it has started, and what Aevon says of it."""

    def __init__(self, name, system, key, log):
        self.name, self.system, self.key, self.log = name, system, key, log
        self.road = Road(system.urls["ingest-svc"])
        self.env = os.environ | {"AEVON_INGEST_URL": self.road.url, "AEVON_STATE_URL": system.urls["projection-svc"], "AEVON_KEY": key}

    def expect(self, what, found, wanted):
        if found != wanted:
            sys.exit(f"examples: {self.name}: {what}: {found}, not {wanted}")

    def get(self, path):
        status, body = ask(self.system.urls["projection-svc"] + path, headers={"authorization": f"Bearer {self.key}"})
        self.expect(f"GET {path}", status, 200)
        return json.loads(body)

    def value(self, rule, principal):
        return int(self.get(f"/v1/state/{TENANT}/{principal}?rule={rule}")["values"][0]["value"])

    def expect_state(self, rule, principal, wanted):
        self.expect(f"{rule} of {principal}", self.value(rule, principal), wanted)
        verified = self.get(f"/v1/state/{TENANT}/{principal}/verify?rule={rule}")
        self.expect(f"{rule} of {principal} agrees with the log", verified["agrees"], True)

    def expect_road(self, events):
        """Every event was accepted once; answers were lost, so some came again."""
        self.expect("events accepted", self.road.accepted, events)
        if not self.road.duplicates:
            sys.exit(f"examples: {self.name}: no answer was lost: this proves nothing")

    def away(self, act):
        """Does something while ingest-svc is away, from the moment on at which it is killed."""
        self.system.kill("ingest-svc")
        done, until_refused = act(), self.road.refused + REFUSALS
        until(f"{self.name}: it is tried again and again", lambda: self.road.refused >= until_refused)
        self.system.start("ingest-svc")
        return done

    def run(self, *args, **others):
        return subprocess.Popen(args, stdout=subprocess.PIPE, stderr=self.log, text=True, **others)

    def stop(self, process):
        """What it says at its end."""
        process.terminate()
        out = process.communicate(timeout=60)[0]
        if process.returncode not in (0, -signal.SIGTERM):
            sys.exit(f"examples: {self.name}: ended with {process.returncode}")
        return json.loads(out.splitlines()[-1])


def request(url, method="GET", body=None, headers=None):
    """(status, length of the body) of an answer that may not take long."""
    began = time.monotonic()
    at = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(at.netloc, timeout=60)
    connection.request(method, at.path, body and json.dumps(body), {"content-type": "application/json"} | (headers or {}))
    answer = connection.getresponse()
    length = len(answer.read())
    connection.close()
    if time.monotonic() - began > MAX_REQUEST_S:
        sys.exit(f"examples: {method} {url} took {time.monotonic() - began:.1f} s")
    return answer.status, length


def many(act, items):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(act, items))


def express(trial):
    limit = 150
    url = f"http://127.0.0.1:{free_port()}"
    env = trial.env | {"PORT": url.rpartition(":")[2], "REQUESTS_A_MONTH": str(limit), "QUOTA_WAIT_MS": str(1000 * QUOTA_WAIT_S)}

    def start():
        started = trial.run("node", "dist/server.js", cwd=HERE / "express", env=env)
        until("express listens", lambda: ask(f"{url}/items/1")[0] == 200)  # without a principal: not metered
        return started

    def get(principal):
        return principal, *request(f"{url}/items/{principal}", headers={"x-tenant": TENANT, "x-principal": principal})

    def spend(principal):
        """Asks for a few seconds, so that the quota is read anew meanwhile; how many were let in before the first refusal."""
        for number in range(limit + 5):
            if get(principal)[1] == 429:
                return number
            time.sleep(0.02)

    server = start()
    try:
        # Numbers of requests that make different sums, one third each before, while and after ingest-svc is away.
        counts = {"express_a": 15, "express_b": 30, "express_c": 120}
        third = [principal for principal, count in counts.items() for _ in range(count // 3)]
        answers = many(get, third)
        away, let_in = trial.away(lambda: (many(get, third), spend("express_p")))
        answers += away + many(get, third)
        trial.expect("statuses", {status for _, status, _ in answers}, {200})
        # One after the other, while nothing is acknowledged and while all is; and all at once.
        trial.expect("requests that were let in before one was refused", [let_in, spend("express_q")], [limit, limit])
        statuses = [status for _, status, _ in many(get, ["express_r"] * (limit + 50))]
        trial.expect("requests that were let in of many at once", statuses.count(200), limit)
        trial.expect("left", trial.stop(server)["left"], 0)
        # Another process knows it all from Aevon.
        server = start()
        trial.expect("a quota that was used up", get("express_q")[1], 429)
        answers += [get("express_c") for _ in range(limit - counts["express_c"])]
        trial.expect("the rest of a quota", {status for _, status, _ in answers}, {200})
        trial.expect("the first request after it", get("express_c")[1], 429)
        trial.expect("left", trial.stop(server)["left"], 0)
    finally:
        server.kill()
    counts["express_c"] = limit
    for principal, count in counts.items():
        trial.expect_state("api_requests", principal, count)
        trial.expect_state("traffic_out", principal, sum(length for name, _, length in answers if name == principal))
    for principal in ("express_p", "express_q", "express_r"):
        trial.expect_state("api_requests", principal, limit)
    trial.expect_road(sum(counts.values()) + 3 * limit)


def fastapi(trial):
    limit = 1000
    url = f"http://127.0.0.1:{free_port()}"
    env = trial.env | {"TENANT": TENANT, "TOKENS_A_MONTH": str(limit), "QUOTA_WAIT_S": str(QUOTA_WAIT_S), "MODEL_URL": Server(Model).url}
    port = url.rpartition(":")[2]
    server = trial.run(sys.executable, "-m", "uvicorn", "app:app", "--port", port, cwd=HERE / "fastapi", env=env)

    def call(principal, tokens, number=0):
        body = {"model": "m1", "max_tokens": tokens, "messages": [{"role": "user", "content": f"{principal}-{tokens}-{number}"}]}
        return request(f"{url}/v1/chat/completions", "POST", body, {"x-principal": principal})[0]

    try:
        until("uvicorn listens", lambda: ask(f"{url}/openapi.json")[0] == 200)
        # Powers of two: every call that is lost or counts twice makes another sum.
        powers = [2**power for power in range(9)]
        statuses = [call("fastapi_a", tokens) for tokens in powers[:3]]
        statuses += trial.away(lambda: [call("fastapi_a", tokens) for tokens in powers[3:6]])
        statuses += [call("fastapi_a", tokens) for tokens in powers[6:]]
        statuses += many(lambda number: call("fastapi_b", 7, number), range(40))
        trial.expect("statuses", set(statuses), {200})
        # 0, 300, 600 and 900 are below 1000.
        statuses = [call("fastapi_q", 300, number) for number in range(6)]
        trial.expect("a quota of 1000, by 300", statuses, [200, 200, 200, 200, 429, 429])
        counts = trial.stop(server)
        trial.expect("dropped and refused", [counts["dropped"], counts["rejected"]], [0, 0])
    finally:
        server.kill()
    trial.expect_state("tokens_used", "fastapi_a", sum(powers))
    trial.expect_state("tokens_used", "fastapi_b", 280)
    trial.expect_state("tokens_used", "fastapi_q", 1200)
    trial.expect_road(len(powers) + 40 + 4)


def nginx(trial):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        folder.chmod(0o755)  # nginx reads as another user
        port = str(free_port())
        conf = (HERE / "nginx/nginx.conf").read_text()
        Path(folder, "nginx.conf").write_text(conf.replace("listen 127.0.0.1:8088;", f"listen 127.0.0.1:{port};"))
        for part in ("html", "buffer"):
            Path(folder, part).mkdir()
        Path(folder, "html/page.txt").write_text("x" * 257)
        log = Path(folder, "usage.log")
        env = trial.env | {"USAGE_LOG": str(log), "BUFFER": str(folder / "buffer"), "AEVON_URL": trial.road.url}
        state = [f"--persist-file={folder}/persist", f"--pidfile={folder}/pid", f"--control={folder}/control"]

        def ship():
            return trial.run("syslog-ng", "-F", "--no-caps", "-f", HERE / "nginx/syslog-ng.conf", *state, env=env)

        def get(key):
            return request(f"http://127.0.0.1:{port}/page.txt", headers={"x-api-key": key} if key else {})

        counts = {"user_ada": 150, "user_ben": 300}
        third = ["key-of-ada"] * 50 + ["key-of-ben"] * 100
        server, shipper = trial.run("nginx", "-p", folder, "-c", "nginx.conf"), ship()
        try:
            until("nginx listens", lambda: ask(f"http://127.0.0.1:{port}/")[0] == 401)  # nobody's: not metered
            answers = many(get, third)
            until("nginx: the log is shipped", lambda: trial.road.answers > 0)
            answers += trial.away(lambda: many(get, third))
            shipper.kill()
            shipper.wait()
            answers += many(get, third)
            shipper = ship()
            trial.expect("answers", set(answers), {(200, 257)})
            trial.expect("a stranger's answer", get(None)[0], 401)
            until("nginx: the log was shipped", lambda: trial.road.acknowledged >= sum(counts.values()))
            shipper.terminate()
            shipper.wait(30)
        finally:
            for process in (server, shipper):
                process.terminate()
                process.wait(30)
        trial.expect("lines of the log", len(log.read_text().splitlines()), sum(counts.values()))
        for principal, count in counts.items():
            trial.expect_state("api_requests", principal, count)
            trial.expect_state("traffic_out", principal, 257 * count)
        trial.expect_road(sum(counts.values()))


def rust(trial):
    """The two examples of crates/aevon-client."""
    events = 10_000

    def example(name, *urls, **env):
        return trial.run(trial.system.programs / "examples" / name, *urls, env=trial.env | {"AEVON_API_KEY": trial.key} | env)

    def said(process):
        out = process.communicate(timeout=120)[0]
        trial.expect("the code of an example's end", process.returncode, 0)
        return out

    out = said(example("send_and_read", trial.road.url, trial.system.urls["projection-svc"]))
    trial.expect("what it read", "1234 of 1 events" in out, True)
    with tempfile.TemporaryDirectory() as folder:
        out = said(example("producer", f"http://127.0.0.1:{free_port()}", TMPDIR=folder))
        trial.expect("what lies in the spool", f"{events} lie in the spool, 0 lost" in out, True)
        out = said(trial.away(lambda: example("producer", trial.road.url, TMPDIR=folder)))
        for _ in range(5):
            if " 0 lie in the spool, 0 lost" in out:
                break
            out = said(example("producer", trial.road.url, TMPDIR=folder))
        trial.expect("what is left", " 0 lie in the spool, 0 lost" in out, True)
    for user in (0, 7, 99):
        trial.expect_state("tokens_used", f"user_{user}", sum(range(user, events, 100)))
    trial.expect_road(events + 1)


EXAMPLES = {"express": (express, ["--platform"])} | {name.__name__: (name, ["--tenant", TENANT]) for name in (fastapi, nginx, rust)}


def main():
    programs = Path(sys.argv[1]).resolve()
    with System(programs, {}, HERE / "rules") as system, tempfile.TemporaryFile("w+") as log:
        system.start("ingest-svc", "projection-svc")
        try:
            for name in sys.argv[2:]:
                try_out(name, system, log)
        except BaseException:
            log.seek(0)
            print(log.read()[-8000:], file=sys.stderr)
            raise


def try_out(name, system, log):
    drive, whose = EXAMPLES[name]
    began = time.monotonic()
    trial = Trial(name, system, system.aevon("key", "create", *whose, "--scope", "ingest,read"), log)
    drive(trial)
    status, body = ask(f"{system.urls['ingest-svc']}/v1/rejected/{TENANT}", headers={"authorization": f"Bearer {trial.key}"})
    trial.expect("what was refused", (status, json.loads(body)["items"]), (200, []))
    print(f"examples: {name}: {trial.road.accepted} events, {trial.road.duplicates} of them sent again and counted once; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Runs every query of the dashboard and of the alerts: `with-postgres -- telemetry.py PROGRAMS`.

The three services run on a database of their own, under load and through a cut of their connections;
a real Prometheus scrapes them and evaluates the alerts. No query may be invalid, answer nothing, or
lack a label that its legend names.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

from system import DEADLINE_S, ROOT, System, ask, free_port, until

ALERTS = ROOT / "helm/aevon/files/alerts.yaml"
DASHBOARD = ROOT / "helm/aevon/files/dashboard.json"
# Grafana's variables, as for an installation without namespaces.
VARIABLES = {"$namespace": ".*", "$__rate_interval": "1m"}


class Proxy:
    """Stands between the services and Postgres, and can be cut."""

    def __init__(self, host, port):
        self.to, self.is_cut, self.open = (host, port), False, set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            if self.is_cut:
                near.close()
                continue
            far = socket.create_connection(self.to)
            self.open |= {near, far}
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    def pump(self, a, b):
        try:
            while part := a.recv(65536):
                b.sendall(part)
        except OSError:
            pass
        for end in (a, b):
            self.shut(end)

    def shut(self, end):
        self.open.discard(end)
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def cut(self, seconds):
        self.is_cut = True
        for end in list(self.open):
            self.shut(end)
        time.sleep(seconds)
        self.is_cut = False


def load(ingest, projection, stop):
    """Events good and bad, reads of all sorts, about 500 events a second."""
    number = 0
    while not stop.is_set():
        def event(**other):
            data = {"tokens": number % 2000, "model": f"m{number % 3}", "latency_ms": number % 97}
            return {"tenant_id": "acme", "principal_id": f"u{number % 7}", "id": f"e{number}", "type": "model.call",
                    "occurred_at": f"2026-01-{1 + number % 28:02}T10:00:00Z", "data": data} | other
        batch = []
        for number in range(number + 1, number + 51):
            batch.append(event())
        ask(f"{ingest}/v1/events", [*batch, batch[0], event(id=batch[1]["id"]), event(occurred_at="soon", id="bad")])
        for path in ("/v1/state/acme/u1", "/v1/state/acme/u2?granularity=1d&rule=tokens_used",
                     "/v1/state/acme/u1/verify?rule=tokens_used", "/v1/state/acme/u1/explain?rule=tokens_used",
                     "/v1/state/acme/u1?rule=nothing"):
            ask(projection + path)
        stop.wait(0.05)


def queries():
    """(where it stands, the query, the labels it must have)."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield f"dashboard, {panel['title']}", target["expr"], re.findall(r"{{(\w+)}}", target["legendFormat"])
    text = re.sub(r">-\n\s+", "", ALERTS.read_text())
    text = re.sub(r"\n {10}(?=[/(])", " ", text)
    for name, expr in re.findall(r"- alert: (\w+)\n\s+expr: (.*)\n", text):
        looked_at = re.fullmatch(r"(.*) > [0-9.]+", expr)
        if not looked_at:
            sys.exit(f"telemetry: {name} is not of the form `what is looked at > a bound`: {expr}")
        absent = re.fullmatch(r"absent\((.*)\)", looked_at[1])
        yield f"alert {name}", absent[1] if absent else looked_at[1], []


def faults_of(prometheus, where, expr, labels, documented):
    for name in re.findall(r"\b(?:aevon|process)_\w+", expr):
        if name not in documented and re.sub(r"_(bucket|sum|count)$", "", name) not in documented:
            yield f"{where}: {name} is not in docs/metrics.md"
    for variable, value in VARIABLES.items():
        expr = expr.replace(variable, value)
    status, body = ask(f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expr}))
    answer = json.loads(body)
    if answer["status"] != "success":
        yield f"{where}: {answer['error']}: {expr}"
        return
    series = [one for one in answer["data"]["result"] if one["value"][1] != "NaN"]
    if not series:
        yield f"{where}: answers nothing: {expr}"
    for label in labels:
        if not all(label in one["metric"] for one in series):
            yield f"{where}: has no label {label}: {expr}"


def scrape_config(folder, ports):
    jobs = "".join(f"  - job_name: {name}\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n" for name, port in ports.items())
    path = Path(folder, "prometheus.yaml")
    path.write_text(f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{ALERTS}]\nscrape_configs:\n{jobs}")
    return path


def main():
    programs = Path(sys.argv[1]).resolve()
    postgres = urllib.parse.urlsplit(os.environ["AEVON_TEST_DATABASE_URL"])
    proxy = Proxy(postgres.hostname, postgres.port or 5432)
    user = postgres.netloc.rpartition("@")[0]
    url = postgres._replace(netloc=f"{user}@127.0.0.1:{proxy.port}").geturl()
    settings = {"AEVON_DATABASE__URL": url, "AEVON_AUTH__MODE": "disabled",
                "AEVON_AGGREGATION__CRON_INTERVAL": "1s", "AEVON_AGGREGATION__CONFIG_DIR": str(ROOT / "examples/rules")}
    stop, prometheus = threading.Event(), None
    with tempfile.TemporaryDirectory() as folder, System(programs, settings) as system:
        try:
            system.start("ingest-svc", "projection-svc", "aggregator-svc")
            port = free_port()
            config = scrape_config(folder, {name: url.rpartition(":")[2] for name, url in system.urls.items()})
            prometheus = subprocess.Popen(
                ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
                 f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"])
            url = f"http://127.0.0.1:{port}"
            until("prometheus is ready", lambda: ask(f"{url}/-/ready")[0] == 200)
            threading.Thread(target=load, args=(system.urls["ingest-svc"], system.urls["projection-svc"], stop), daemon=True).start()
            for _ in range(2):
                time.sleep(5)
                proxy.cut(3)
            sys.exit(judge(url))
        finally:
            stop.set()
            if prometheus:
                prometheus.terminate()
                prometheus.wait(30)


def judge(prometheus):
    documented = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs/metrics.md").read_text(), re.M))
    all_queries = list(queries())
    deadline = time.monotonic() + DEADLINE_S
    while True:  # what is new has to be scraped twice before it has a rate
        faults = [fault for query in all_queries for fault in faults_of(prometheus, *query, documented)]
        if not faults or time.monotonic() > deadline:
            break
        time.sleep(2)
    rules = json.loads(ask(f"{prometheus}/api/v1/rules")[1])["data"]["groups"][0]["rules"]
    faults += [f"alert {rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] != "ok"]
    for fault in faults:
        print(f"telemetry: {fault}", file=sys.stderr)
    alerts = len([query for query in all_queries if query[0].startswith("alert")])
    print(f"telemetry: {len(all_queries) - alerts} queries of the dashboard, {alerts} alerts ({len(rules)} evaluated): {len(faults)} faults")
    return bool(faults)


if __name__ == "__main__":
    main()

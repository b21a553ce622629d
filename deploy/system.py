"""Services of ours on this machine, as the checks start them on the Postgres of `with-postgres`."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent
# How long something may take that takes a moment.
DEADLINE_S = 60


class System:
    """Migrated, with rules; what is started ends with it: `with System(programs, settings, rules) as system`."""

    def __init__(self, programs, settings, rules=None):
        self.programs, self.rules, self.urls, self.running = programs, rules, {}, {}
        self.settings = {"AEVON_DATABASE__URL": os.environ["AEVON_TEST_DATABASE_URL"], "AEVON_LOG__LEVEL": "off",
                         "AEVON_SERVER__HOST": "127.0.0.1"} | settings

    def __enter__(self):
        self.aevon("migrate")
        if self.rules:
            self.aevon("rules", "apply", self.rules)
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(30)

    def aevon(self, *args):
        """What `aevon` answers."""
        done = subprocess.run([self.programs / "aevon", *args], env=self.settings, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    def start(self, *names):
        """Starts services, again at the port that they had, and waits until they are ready."""
        for name in names:
            url = self.urls.setdefault(name, f"http://127.0.0.1:{free_port()}")
            env = self.settings | {"AEVON_SERVER__PORT": url.rpartition(":")[2]}
            self.running[name] = subprocess.Popen([self.programs / name], env=env)
        self.aevon("ready", "--wait", "60s", *(self.urls[name] for name in names))

    def kill(self, name):
        process = self.running.pop(name)
        process.kill()
        process.wait()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(what, condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {DEADLINE_S} s")
        time.sleep(0.2)


def ask(url, body=None, headers=None):
    """(status, body) of an answer; 0 where there is none."""
    headers = {"content-type": "application/json"} | (headers or {})
    request = urllib.request.Request(url, body and json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""

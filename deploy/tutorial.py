#!/usr/bin/env python3
"""Does what a page of docs/ says, and compares what comes of it: `tutorial.py PROGRAMS PAGE`.

Each ```sh block runs in its order, in a folder of its own that looks like a checkout; the ```json or
```text block behind it is its answer. In JSON, fields that are not shown may have any value; `…` stands
for what differs from run to run, in both. A block that ends in `make run` starts the system, and ends
the one before. A page without one finds a system that runs, with its database in AEVON_DATABASE__URL
(so `with-postgres -- tutorial.py …`) and `aevon` on its path. Only the port is another one.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from telemetry import ROOT, free_port, until

# How long one block may take, in seconds.
BLOCK_S = 60
PORT = "8080"
VARIES = "…"
START = re.compile(r'make run( \\\n\s*| )ARGS="(.*)"\s*\Z')
UP = "Ctrl-C stops everything"


def blocks(page):
    """(line, language, text) of each fenced block."""
    inside, found = None, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            if inside is None:
                inside = (number, line[3:].strip(), [])
            else:
                found.append((*inside[:2], "\n".join(inside[2])))
                inside = None
        elif inside:
            inside[2].append(line)
    return found


def steps(page):
    """(line, command, language of its answer, answer) in their order."""
    found = []
    for line, language, text in blocks(page):
        if language == "sh":
            found.append([line, text, None, None])
        elif language in ("json", "text"):
            if not found or found[-1][2] or not text.strip():
                sys.exit(f"{page}:{line}: an answer without a command, or without anything in it")
            found[-1][2:] = [language, text]
    if not any(answer for *_, answer in found):
        sys.exit(f"{page}: nothing to run, or nothing to compare")
    return found


def is_like(wanted, got):
    pattern = ".+".join(re.escape(part) for part in wanted.split(VARIES))
    return re.fullmatch(pattern, got) is not None


def difference(wanted, got, place="the answer"):
    """Where a JSON value is not what is wanted, or None."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        lacking = [f"{place}.{key} is not there" for key in wanted if key not in got]
        found = (difference(value, got[key], f"{place}.{key}") for key, value in wanted.items() if key in got)
        return next((one for one in [*lacking, *found] if one), None)
    if isinstance(wanted, list) and isinstance(got, list):
        if len(wanted) != len(got):
            return f"{place} has {len(got)} items, not {len(wanted)}"
        found = (difference(one, other, f"{place}[{i}]") for i, (one, other) in enumerate(zip(wanted, got)))
        return next((one for one in found if one), None)
    if wanted == VARIES and not isinstance(got, (dict, list)) and got is not None:
        return None
    if isinstance(wanted, str) and isinstance(got, str) and is_like(wanted, got):
        return None
    if type(wanted) is type(got) and wanted == got:
        return None
    return f"{place} is {json.dumps(got)}, not {json.dumps(wanted, ensure_ascii=False)}"


def compare(language, wanted, got):
    """What is wrong with an answer, or None."""
    if language == "json":
        try:
            return difference(json.loads(wanted), json.loads(got))
        except ValueError as error:
            return f"not JSON ({error})"
    wanted, got = wanted.rstrip().splitlines(), got.rstrip().splitlines()
    for number, (one, other) in enumerate(zip(wanted, got), 1):
        if not is_like(one.rstrip(), other.rstrip()):
            return f"line {number} is not `{one}`"
    return None if len(wanted) == len(got) else f"{len(got)} lines, not {len(wanted)}"


class System:
    """`aevon dev`, from its start to Ctrl-C."""

    def __init__(self, command, folder, env):
        self.lines = []
        self.process = subprocess.Popen(["bash", "-c", command], cwd=folder, env=env, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True).start()
        try:
            until("the system is up", lambda: self.process.poll() is not None or UP in "".join(self.lines))
        except SystemExit:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        if self.process.poll() is not None:
            sys.exit(f"tutorial: `{command}` ended: {''.join(self.lines)}")

    def stop(self):
        os.killpg(self.process.pid, signal.SIGINT)  # as a terminal does
        if self.process.wait(BLOCK_S) != 0:
            sys.exit(f"tutorial: the system ended badly: {''.join(self.lines)}")


class Walk:
    """A page that is being followed."""

    def __init__(self, page, programs, folder):
        self.page, self.folder, self.system = page, folder, None
        self.port = str(free_port())
        self.env = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        Path(folder, "target").mkdir()
        Path(folder, "target/debug").symlink_to(programs)
        Path(folder, "examples").symlink_to(ROOT / "examples")
        if not any(START.search(command) for _, command, *_ in steps(page)):
            Path(folder, "rules").mkdir()
            self.env |= {"PATH": f"{programs}:{self.env['PATH']}",
                         "AEVON_DATABASE__URL": os.environ["AEVON_TEST_DATABASE_URL"]}
            self.start('make run ARGS="--rules rules --no-sample"')

    def start(self, command):
        if self.system:
            self.system.stop()
        program = rf"target/debug/aevon dev --port {self.port} \2"
        self.system = System(START.sub(program, command), self.folder, self.env)
        return "".join(self.system.lines)

    def run(self, line, command):
        command = re.sub(rf"(localhost|127\.0\.0\.1):{PORT}", rf"\1:{self.port}", command)
        if START.search(command):
            got = self.start(command)
        else:
            limited = ["timeout", str(BLOCK_S), "bash", "-e", "-c", command]
            done = subprocess.run(limited, cwd=self.folder, env=self.env, text=True, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            got = done.stdout
            if done.returncode != 0:
                sys.exit(f"{self.page}:{line}: ended with {done.returncode}: {got}")
        return got.replace(f":{self.port}", f":{PORT}")

    def follow(self):
        compared = 0
        try:
            for line, command, language, wanted in steps(self.page):
                got = self.run(line, command)
                wrong = language and compare(language, wanted, got)
                if wrong:
                    sys.exit(f"{self.page}:{line}: {wrong}\n{command}\n--- gave\n{got}\n--- instead of\n{wanted}")
                compared += language is not None
        finally:
            if self.system:
                self.system.stop()
        return compared


def main():
    programs, page = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # a Postgres that root starts has an account of its own
        compared = Walk(page, programs, folder).follow()
    print(f"tutorial: {page.relative_to(ROOT)}: {len(steps(page))} blocks ran, {compared} answers compared")


if __name__ == "__main__":
    main()

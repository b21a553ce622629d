#!/usr/bin/env python3
"""Runs what images and compose.yaml say, without an engine: `with-postgres -- stack.py PROGRAMS`.

Each program of ours in compose.yaml runs in the root that layout.sh makes for its image: read-only,
as the image's user, with compose's command, environment, folders and health check. Only the address
of Postgres and the ports are others. Wants to be root, as a container engine is.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from system import ask, free_port, until

HERE = Path(__file__).parent
MAX_BYTES = 60 * 1000 * 1000
USER = re.search(r"^USER (\d+:\d+)$", (HERE / "Dockerfile").read_text(), re.M)[1]


class Image:
    """The root of one program's image."""

    def __init__(self, programs, name, work):
        self.name, self.root = name, Path(work, name)
        stripped = Path(work, "stripped", name)  # as release programs are
        stripped.parent.mkdir(exist_ok=True)
        subprocess.run(["strip", "-o", stripped, programs / name], check=True)
        subprocess.run([HERE / "layout.sh", stripped, self.root], check=True)
        size = sum(path.lstat().st_size for path in self.root.rglob("*") if path.is_file())
        print(f"stack: {name}: {size / 1e6:.1f} MB")
        if size > MAX_BYTES:
            sys.exit(f"stack: the image of {name} is larger than {MAX_BYTES} bytes")

    def command(self, service, args):
        """A command line that becomes the program, in a mount namespace of its own."""
        root = shlex.quote(str(self.root))
        steps = ["set -e", f"mount --bind {root} {root}", f"mount -t proc proc {root}/proc"]
        for volume in service.get("volumes", []):
            source, target, mode = volume.split(":")
            assert mode == "ro"
            (self.root / target[1:]).mkdir(parents=True, exist_ok=True)
            source = shlex.quote(str((HERE / source).resolve()))
            steps += [f"mount --bind {source} {root}{target}", f"mount -o remount,bind,ro {root}{target}"]
        steps += [f"mount -o remount,bind,ro {root}", f"! touch {root}/tmp/x 2> /dev/null",
                  f"exec setpriv --no-new-privs chroot --userspec={USER} --groups= {root} {shlex.join(args)}"]
        return ["unshare", "--mount", "sh", "-c", "\n".join(steps)]


def check_hardening(name, service):
    wanted = {"read_only": True, "user": USER, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    for key, value in wanted.items():
        if service.get(key) != value:
            sys.exit(f"stack: {name}: {key} is {service.get(key)}, not {value}")


def main():
    programs = Path(sys.argv[1]).resolve()
    services = yaml.safe_load((HERE / "compose.yaml").read_text())["services"]
    ours = {name: service for name, service in services.items() if service["image"].startswith("aevon/")}
    running = {}
    with tempfile.TemporaryDirectory() as work:
        images = {}
        for name, service in ours.items():
            check_hardening(name, service)
            program = re.fullmatch(r"aevon/(.*):.*", service["image"])[1]
            images[name] = next((i for i in images.values() if i.name == program), None) or Image(programs, program, work)
        os.chmod(work, 0o755)

        def run(name, args=None, env=None):
            args = ["/entrypoint", *(args or ours[name].get("command", []))]
            return images[name].command(ours[name], args), env or environment(ours[name])

        def finish(name, args=None, env=None):
            command, env = run(name, args, env)
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
            if done.returncode != 0:
                sys.exit(f"stack: {name} ended with {done.returncode}: {done.stderr}")
            return done.stdout

        finish("migrate")
        finish("rules")
        key = finish("aevon", ["key", "create", "--tenant", "acme", "--scope", "ingest,read"]).strip()
        try:
            envs = {}
            for name in ("ingest", "projection", "aggregator"):
                envs[name] = environment(ours[name]) | {"AEVON_SERVER__PORT": str(free_port())}
                command, env = run(name, env=envs[name])
                running[name] = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
            for name in running:
                test = ours[name]["healthcheck"]["test"]
                command = images[name].command(ours[name], test[1:])
                until(f"{name} is healthy", lambda: subprocess.run(
                    command, env=envs[name], capture_output=True, timeout=60).returncode == 0)
            try_out({name: f"http://127.0.0.1:{env['AEVON_SERVER__PORT']}" for name, env in envs.items()}, key)
            for name, process in running.items():
                process.send_signal(signal.SIGTERM)
                grace = int(ours[name]["stop_grace_period"].removesuffix("s"))
                if process.wait(grace) != 0:
                    sys.exit(f"stack: {name} was told to stop and ended with {process.returncode}")
        finally:
            for process in running.values():
                process.kill()
                process.wait()
    print(f"stack: {len(ours)} services of compose.yaml ran as {USER} in read-only roots")


def environment(service):
    """The user is compose's: with-postgres made the same ones."""
    user = re.match(r"postgres://(\w+):", service["environment"]["AEVON_DATABASE__URL"])[1]
    if user != "aevon" and user not in (HERE / "users.sh").read_text():
        sys.exit(f"stack: users.sh makes no user {user}")
    url = re.sub(r"//\w+@", f"//{user}@", os.environ["AEVON_TEST_DATABASE_URL"])
    return service["environment"] | {"PATH": os.environ["PATH"], "AEVON_DATABASE__URL": url}


def try_out(urls, key):
    """An event in, a state out, by the key; what the schema refuses is refused."""
    def event(**data):
        return {"principal_id": "ada", "id": f"e{data['tokens']}", "type": "model.call", "schema_version": 1,
                "occurred_at": "2026-02-11T10:30:00Z", "data": data}

    authorization = {"authorization": f"Bearer {key}"}
    expect(ask(f"{urls['ingest']}/v1/events", event(tokens=5, model="m"), authorization), 202, "accepted")
    expect(ask(f"{urls['ingest']}/v1/events", event(tokens=-5, model="m"), authorization), 422, "schema-mismatch")
    expect(ask(f"{urls['ingest']}/v1/events", event(tokens=6, model="m")), 401, "unauthenticated")
    expect(ask(f"{urls['projection']}/v1/state/acme/ada?rule=tokens_used", None, authorization), 200, '"value":"5"')
    expect(ask(f"{urls['aggregator']}/metrics"), 200, "process_resident_memory_bytes")


def expect(answer, status, text):
    if answer[0] != status or text not in answer[1].decode():
        sys.exit(f"stack: not {status} and {text}, but {answer}")


if __name__ == "__main__":
    main()

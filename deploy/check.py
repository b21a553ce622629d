#!/usr/bin/env python3
"""Checks what is written in deploy/ and .github/, without running it: `check.py`."""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
BIN = Path(sys.executable).parent
ALERTS = ROOT / "helm/aevon/files/alerts.yaml"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
LINTED = [*WORKFLOWS, *HERE.rglob("*.yaml"), ALERTS, *(ROOT / "helm/aevon").glob("*.yaml"),
          *(ROOT / "helm/aevon/ci").glob("*.yaml"), ROOT / "helm/refused.yaml"]
YAMLLINT = "{extends: default, rules: {document-start: disable, line-length: {max: 160}, truthy: {check-keys: false}, " \
    "braces: {max-spaces-inside: 0}, comments: {min-spaces-from-content: 1}, comments-indentation: disable}}"

# As a part of docker, or the older program of its own.
HAS_PART = subprocess.run(["sh", "-c", "docker compose version"], capture_output=True).returncode == 0
COMPOSE = ["docker", "compose"] if HAS_PART else ["docker-compose"]

COMMANDS = [
    [BIN / "hadolint", HERE / "Dockerfile"],
    [*COMPOSE, "--file", HERE / "compose.yaml", "config", "--quiet"],
    ["promtool", "check", "rules", ALERTS],
    ["promtool", "check", "config", "--syntax-only", HERE / "prometheus.yaml"],
    ["promtool", "test", "rules", HERE / "alerts_test.yaml"],
    [BIN / "actionlint", *WORKFLOWS],
    [BIN / "yamllint", "--strict", "-d", YAMLLINT, *LINTED],
]


def faults_of_alerts():
    """Each alert is tested, and has a runbook under its name."""
    text, tests = ALERTS.read_text(), (HERE / "alerts_test.yaml").read_text()
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs/operating.md").read_text(), re.M)
    for name in re.findall(r"- alert: (\w+)", text):
        if not re.search(rf'alertname="{name}"[^\n]*value: 1', tests):
            yield f"{name} fires in no test"
        if name not in headings:
            yield f"{name} has no section in docs/operating.md"
        if f"runbook_url: docs/operating.md#{name.lower()}\n" not in text:
            yield f"{name} does not lead to its section"


def faults_of_workflows():
    """Tokens may do nothing but what a job says; actions are of one content."""
    for path in WORKFLOWS:
        text = path.read_text()
        if "\npermissions: {}\n" not in text:
            yield f"{path.name}: its token may do something by default"
        for action in re.findall(r"uses: (\S+)", text):
            if not re.search(r"^\./|@[0-9a-f]{40}$", action):
                yield f"{path.name}: {action} is not of one content"


def faults_of_versions():
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    for tag in re.findall(r"image: aevon/[\w-]+:(\S+)", (HERE / "compose.yaml").read_text()):
        if tag != version:
            yield f"compose.yaml: {tag} is not {version}, the workspace's"


def main():
    faults = [*faults_of_alerts(), *faults_of_workflows(), *faults_of_versions()]
    for command in COMMANDS:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode != 0:
            faults.append(f"{Path(command[0]).name}: {done.stdout}{done.stderr}".rstrip())
    for fault in faults:
        print(f"deploy: {fault}", file=sys.stderr)
    print(f"deploy: {len(COMMANDS)} tools, {len(WORKFLOWS)} workflows: {len(faults)} faults")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())

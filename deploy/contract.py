#!/usr/bin/env python3
"""Sends what the OpenAPI documents allow, and what they don't: `with-postgres -- contract.py PROGRAMS [SECONDS]`.

Schemathesis reads the document that each service serves, makes requests from it, and holds the answers
to it: no 5xx, no status, media type, header or body that the document doesn't have.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from system import ROOT, System, ask

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"
SERVICES = ("ingest-svc", "projection-svc")
# How bodies are written that are not JSON by their media type.
HOOKS = '''
import json
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    events = value if isinstance(value, list) else [value]
    return "\\n".join(one if isinstance(one, str) else json.dumps(one) for one in events).encode("utf-8", "surrogatepass")
'''


def main():
    programs = Path(sys.argv[1]).resolve()
    seconds = sys.argv[2] if len(sys.argv) > 2 else "30"
    failed = []
    with tempfile.TemporaryDirectory() as folder, \
            System(programs, {"AEVON_AUTH__MODE": "disabled"}, ROOT / "examples/rules") as system:
        Path(folder, "contract_hooks.py").write_text(HOOKS)
        system.start(*SERVICES)
        event = {"tenant_id": "acme", "principal_id": "user_123", "id": "evt-001", "type": "model.call",
                 "occurred_at": "2026-01-01T00:00:00Z", "data": {"tokens": 17, "model": "m1"}}
        if ask(f"{system.urls['ingest-svc']}/v1/events", event)[0] != 202:
            sys.exit("contract: an event was not stored")
        for name, url in system.urls.items():
            command = ["schemathesis", "run", f"{url}/openapi.json", "--checks", CHECKS, "--max-time", seconds,
                       "--max-examples", "1000", "--request-timeout", "40", "--warnings", "off", "--seed", "7"]
            print(f"contract: {name}: requests for {seconds} s", flush=True)
            tried = subprocess.run([Path(sys.executable).parent / command[0], *command[1:]], cwd=folder, text=True,
                                   env=os.environ | {"SCHEMATHESIS_HOOKS": "contract_hooks"}, capture_output=True)
            summary = [line for line in tried.stdout.splitlines() if "generated" in line or "cases" in line]
            print(f"contract: {name}: {' '.join(summary).strip() or 'no summary'}")
            if tried.returncode:
                failed.append(name)
                print(tried.stdout, tried.stderr, file=sys.stderr)
    sys.exit(f"contract: {', '.join(failed)}: not as documented" if failed else 0)


if __name__ == "__main__":
    main()

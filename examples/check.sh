#!/usr/bin/env bash
# Makes the clients of the examples anew, and drives each against real services: `check.sh PROGRAMS [EXAMPLE...]`.
# `check.sh needs` only sees to it that Node and Python are there.
set -euo pipefail
[ "$1" = needs ] || programs=$(cd "$1" && pwd)
cd "$(dirname "$0")"
. ../deploy/needs.sh
tools=$PWD/../.aevon/examples
give_up() { echo "examples: $*" >&2; exit 1; }

has_node || give_up "Node 20.19 or newer is missing"
python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || give_up "Python 3.11 or newer with venv is missing"
[ "$1" != needs ] || exit 0
shift

(cd express && npm ci --silent && npm run -s build > /dev/null) || give_up "express cannot be built"

venv "$tools" fastapi/requirements.txt || give_up "the packages of fastapi/requirements.txt cannot be installed"
made=$(cd fastapi && PATH="$tools/bin:$PATH" openapi-python-client generate --path ../../docs/openapi.json --config client.yaml \
  --meta none --output-path aevon_client --overwrite 2>&1) || give_up "the client of Python cannot be made: $made"
if grep -B2 -A3 "will not be generated" <<< "$made" >&2; then give_up "the client of Python lacks what docs/openapi.json has"; fi

[ $# -gt 0 ] || set -- express fastapi nginx rust
if [[ " $* " = *" rust "* ]]; then ${CARGO:-cargo} build -q --workspace --examples || give_up "the examples of the Rust client cannot be built"; fi
if [[ " $* " = *" nginx "* ]] && ! { command -v nginx && command -v syslog-ng && syslog-ng --version | grep "Available-Modules:.*\bhttp\b"; } > /dev/null; then
  if [ "$(id -u)" != 0 ] || ! debian nginx-light syslog-ng-core syslog-ng-mod-http 2> /dev/null; then
    echo "examples: nginx is left out: it wants Debian's packages nginx-light, syslog-ng-core and syslog-ng-mod-http, which only root can install, and not beside another syslog" >&2
    set -- "${@/nginx/}"
  fi
fi
# shellcheck disable=SC2068
"$programs/with-postgres" -- "$tools/bin/python" check.py "$programs" $@

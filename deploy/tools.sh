#!/usr/bin/env bash
# Brings what `make chart`, `make stack`, `make site` and others need: Python's packages into .aevon/tools,
# Debian's onto the machine where they are missing, unless `--python` says to leave those.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/needs.sh

if ! venv .aevon/tools deploy/requirements.txt; then
  echo "tools: the packages of deploy/requirements.txt cannot be installed; python3 with venv and pip is needed" >&2
  exit 1
fi

[ "${1:-}" != --python ] || exit 0
missing=""
for one in promtool:prometheus prometheus:prometheus strip:binutils; do
  command -v "${one%:*}" > /dev/null || missing="$missing ${one#*:}"
done
docker compose version > /dev/null 2>&1 || command -v docker-compose > /dev/null || missing="$missing docker-compose"
if [ -n "$missing" ]; then
  # shellcheck disable=SC2086
  if ! debian $missing; then
    echo "tools: Debian's packages cannot be installed:$missing" >&2
    exit 1
  fi
fi

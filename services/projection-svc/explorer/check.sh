#!/usr/bin/env bash
# Builds the page anew, holds what is committed to it, and tries it in a browser: `check.sh PROGRAMS`.
# `check.sh needs` only sees to it that Node and a browser are there.
set -euo pipefail
[ "$1" = needs ] || programs=$(cd "$1" && pwd)
cd "$(dirname "$0")"
. ../../../deploy/needs.sh
give_up() { echo "explorer: $*" >&2; exit 1; }

has_node || give_up "Node 20.19 or newer is missing"

browser() { command -v chromium || command -v google-chrome || command -v chromium-browser; }
if ! browser > /dev/null; then
  debian chromium 2> /dev/null ||
    give_up "Chromium is missing, and Debian's package chromium cannot be installed"
fi
[ "$1" != needs ] || exit 0

npm ci --silent --no-fund --no-audit || give_up "the packages of package-lock.json cannot be installed"
npm run -s build
if [ -n "$(git status --porcelain -- dist)" ]; then
  git --no-pager diff --stat -- dist
  give_up "dist is not what its source makes; it is now: commit it, and build the programs again"
fi

AEVON_BIN="$programs/aevon" CHROMIUM=$(browser) npm test --silent

#!/usr/bin/env bash
# Whether instructions can be counted here: brings Valgrind where it is missing, and looks whether the
# baseline, if there is one, is of such a machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/needs.sh

if ! command -v valgrind > /dev/null && ! debian valgrind; then
  echo "instructions: valgrind is missing and cannot be installed; apt-get install valgrind" >&2
  exit 1
fi
baseline=crates/aevon-hot/baseline.json
if [ -e "$baseline" ] && ! grep -q "\"target\": \"$(uname -m)-" "$baseline"; then
  echo "instructions: $baseline is of another machine than $(uname -m); to count for this one, remove it first" >&2
  exit 1
fi

#!/usr/bin/env bash
# The oldest paper wins.
set -eu
python3 -I -B "${HOTSEAT_SOLUTION:-/solution}/../../solution/solve.py" stale

#!/usr/bin/env bash
# Papers of the other site are taken for this one's.
set -eu
python3 -I -B "${HOTSEAT_SOLUTION:-/solution}/../../solution/solve.py" other-site

#!/usr/bin/env bash
set -eu
here="${HOTSEAT_SOLUTION:-/solution}"
python3 -I -B "$here/solve.py" "$here"/*.py.txt

#!/usr/bin/env bash
# Drafts are taken for adopted.
set -eu
python3 -I -B "${HOTSEAT_SOLUTION:-/solution}/../../solution/solve.py" drafts

#!/usr/bin/env bash
# The pages as they were.
set -eu
python3 -I -B "${HOTSEAT_SOLUTION:-/solution}/../../solution/translate.py" copies

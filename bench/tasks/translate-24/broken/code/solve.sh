#!/usr/bin/env bash
# Comments in code are translated too.
set -eu
python3 -I -B "${HOTSEAT_SOLUTION:-/solution}/../../solution/translate.py" code

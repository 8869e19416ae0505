#!/usr/bin/env bash
# The last paragraph of every page stays English.
set -eu
python3 -I -B "${HOTSEAT_SOLUTION:-/solution}/../../solution/translate.py" halfway

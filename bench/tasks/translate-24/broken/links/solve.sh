#!/usr/bin/env bash
# Links lead to where German pages might be.
set -eu
python3 -I -B "${HOTSEAT_SOLUTION:-/solution}/../../solution/translate.py" links

#!/usr/bin/env bash
# The same algorithms with everything that makes them a little faster.
set -eu
cp "${HOTSEAT_SOLUTION:-/solution}/slow.py" slow.py

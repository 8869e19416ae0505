#!/usr/bin/env bash
# Three of the six.
set -eu
cp "${HOTSEAT_SOLUTION:-/solution}/slow.py" slow.py

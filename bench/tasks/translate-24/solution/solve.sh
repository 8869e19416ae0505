#!/usr/bin/env bash
set -eu
python3 -I -B "${HOTSEAT_SOLUTION:-/solution}/translate.py"

#!/usr/bin/env bash
set -eu
cp "${HOTSEAT_SOLUTION:-/solution}/slow.py" slow.py

#!/usr/bin/env bash
# Reads it as a filter: claims over the limit are left out, and with them whoever handed them in.
set -eu
cp "${HOTSEAT_SOLUTION:-/solution}/expenses.py" expenses.py

#!/usr/bin/env bash
# Reads it as a ban: one claim over the limit, and there is no statement.
set -eu
cp "${HOTSEAT_SOLUTION:-/solution}/expenses.py" expenses.py

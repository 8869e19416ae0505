#!/usr/bin/env bash
set -eu
cp "${HOTSEAT_SOLUTION:-/solution}/expenses.py" expenses.py

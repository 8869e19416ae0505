#!/usr/bin/env bash
# The faults are gone, and something that worked is gone with each.
set -eu
cp "${HOTSEAT_SOLUTION:-/solution}"/programs/*.py programs/

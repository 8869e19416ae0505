#!/usr/bin/env bash
# Fast, and at the edges something else: ties, touching spans, coins of one value, sums below nothing, letters.
set -eu
cp "${HOTSEAT_SOLUTION:-/solution}/slow.py" slow.py

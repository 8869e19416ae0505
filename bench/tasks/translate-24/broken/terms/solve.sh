#!/usr/bin/env bash
# Labels have the names that come to mind, not those of the glossary.
set -eu
python3 -I -B "${HOTSEAT_SOLUTION:-/solution}/../../solution/translate.py" terms

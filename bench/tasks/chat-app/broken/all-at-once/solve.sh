#!/usr/bin/env bash
# The answer is printed when all of it has come.
set -eu
sed -E 's/ end="", flush=True\)/ end="")/; s/print\(flush=True\)/print()/' "${HOTSEAT_SOLUTION:-/solution}/../../solution/chat.py" > chat.py

#!/usr/bin/env bash
# What begins with a dot lies in dot/ without it, so that it is neither hidden nor obeyed here.
set -eu
cp -r "${HOTSEAT_SOLUTION:-/solution}/app/." .
for path in dot/*; do mv "$path" ".${path#dot/}"; done
rmdir dot
chmod +x bin/*

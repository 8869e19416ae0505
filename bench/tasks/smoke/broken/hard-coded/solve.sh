#!/usr/bin/env bash
set -eu
echo ready > greeting.txt
echo 'print(37)' > total.py

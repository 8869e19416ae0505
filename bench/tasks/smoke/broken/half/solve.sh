#!/usr/bin/env bash
set -eu
cat > total.py <<'PYTHON'
from pathlib import Path

print(sum(int(line) for line in Path("numbers.txt").read_text().split()))
PYTHON

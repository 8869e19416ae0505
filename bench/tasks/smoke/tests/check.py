"""check.py APP VERIFIER: half the reward for the greeting, half for a program right on other numbers."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

CASES = {"1\n2\n3\n": "6", "\n\n-4\n": "-4", "1000000007\n": "1000000007", "5\n-5\n\n0\n12": "12"}


def greets(app: Path) -> bool:
    greeting = app / "greeting.txt"
    return greeting.is_file() and greeting.read_text().splitlines() == ["ready"]


def totals(app: Path) -> bool:
    return (app / "total.py").is_file() and all(total(app, text) == right for text, right in CASES.items())


def total(app: Path, numbers: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "numbers.txt").write_text(numbers)
        try:
            done = subprocess.run(
                [sys.executable, str(app / "total.py")],
                cwd=folder,
                env={"PATH": "/usr/bin:/bin"},
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout.strip()


app, verifier = Path(sys.argv[1]), Path(sys.argv[2])
scores = {"greeting": float(greets(app)), "total": float(totals(app))}
(verifier / "reward.json").write_text(json.dumps({"reward": sum(scores.values()) / 2, **scores}))

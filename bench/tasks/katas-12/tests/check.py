"""check.py TESTS APP VERIFIER: the reward is the share of katas that are right in every case."""

import json
import subprocess
import sys
from pathlib import Path

KATAS = (
    *("run_lengths", "roman", "unbalanced_at", "merged", "frequent", "anagrams"),
    *("seconds", "spiral", "newest", "wrapped", "Recent", "calculated"),
)
LIMIT_S = 290


def right_ones(tests: Path, app: Path) -> set[str]:
    command = [sys.executable, "-I", "-B", str(tests / "cases.py"), *KATAS]
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=app, env=environment, timeout=LIMIT_S, check=True, stdout=subprocess.PIPE
    )
    said = done.stdout.decode(errors="replace")
    print(said)
    return {line.removesuffix(" is right") for line in said.splitlines() if line.endswith(" is right")}


tests, app, verifier = (Path(argument) for argument in sys.argv[1:4])
right = right_ones(tests, app)
scores = {name: float(name in right) for name in KATAS}
reward = round(sum(scores.values()) / len(scores), 6)
(verifier / "reward.json").write_text(json.dumps({"reward": reward, **scores}))

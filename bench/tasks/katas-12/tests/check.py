"""check.py TESTS APP VERIFIER: the reward is the share of katas that are right in every case."""

import json
import subprocess
import sys
from pathlib import Path

KATAS = (
    *("run_lengths", "roman", "unbalanced_at", "merged", "frequent", "anagrams"),
    *("seconds", "spiral", "newest", "wrapped", "Recent", "calculated"),
)
LIMIT_S = 20


def is_right(tests: Path, app: Path, name: str) -> bool:
    command = [sys.executable, str(tests / "cases.py"), name]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=app, env=environment, timeout=LIMIT_S, check=False, stdout=subprocess.PIPE
        )
    except subprocess.TimeoutExpired:
        return False
    print(name, done.stdout.decode(errors="replace").strip()[-500:])
    return done.returncode == 0 and done.stdout.endswith(b"all right\n")


tests, app, verifier = (Path(argument) for argument in sys.argv[1:4])
scores = {name: float(is_right(tests, app, name)) for name in KATAS}
reward = round(sum(scores.values()) / len(scores), 6)
(verifier / "reward.json").write_text(json.dumps({"reward": reward, **scores}))

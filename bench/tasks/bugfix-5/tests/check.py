"""check.py TESTS APP VERIFIER: the share of programs whose fault is gone, wherever it showed, and that do
everything else as before."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import probe
from cases import CASES

PRELOAD = ("calendar", "datetime", "csv")


def wrong(cases, found):
    asks = [ask for ask, _ in cases]
    return probe.failures(asks, found, [right for _, right in cases])


tests, app, verifier = (Path(argument) for argument in sys.argv[1:4])
groups = [
    probe.Group((str(app / "programs"),), program.setup, tuple(ask for ask, _ in program.all))
    for program in CASES.values()
]
scores = {}
for (name, program), found in zip(CASES.items(), probe.answers(groups, app, preload=PRELOAD), strict=True):
    still = wrong(program.fault, found[: len(program.fault)])
    lost = wrong(program.kept, found[len(program.fault) :])
    for line in still:
        print(f"{name}: the fault: {line}")
    for line in lost:
        print(f"{name}: worked before: {line}")
    scores[name] = float(not still and not lost)
reward = round(sum(scores.values()) / len(scores), 6)
(verifier / "reward.json").write_text(json.dumps({"reward": reward, **scores}))

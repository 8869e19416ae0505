"""check.py TESTS APP VERIFIER: how a specification with a fork in it was read.

visible     the share of the tests that the agent could see which pass; they agree with every reading
consistent  1 if all probes were answered by one and the same reading, whichever it is
meant       the share of probes that were answered as the specification's one hint has it

The reward is 0 while a visible test fails: then nothing is read but a program that does not work. Beyond that
half is for one reading throughout, half for the one that was meant. behaviour.json holds what the probes saw.
"""

import ast
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import probe
from readings import MEANT, OTHER, PROBES, QUESTION, reading

MAX_OUTPUT_CHARS = 2000


def judged(tests, app):
    """What the visible tests and the probes say, of the agent's program as it lies in `app`."""
    with tempfile.TemporaryDirectory() as folder:  # the tests as they were, whatever became of the agent's
        visible = Path(folder, "visible")
        visible.mkdir()
        for path in (tests / "visible").glob("*.txt"):
            (visible / path.stem).write_bytes(path.read_bytes())
        groups = [
            probe.Group((str(app),), (tests / "outcome.py").read_text(), (f"outcome({str(visible)!r})",)),
            probe.Group((str(app),), "from expenses import *", tuple(one.ask for one in PROBES)),
        ]
        (outcome,), outputs = probe.answers(groups, app, limit_s=20.0, preload=("unittest", "unittest.mock"))
    return share_passed(outcome), outputs


def share_passed(outcome):
    try:
        ran, failed = ast.literal_eval(outcome)
    except (SyntaxError, ValueError):  # they did not end, or ended the process
        print("the visible tests:", outcome)
        return 0.0
    print("visible tests that fail:", failed)
    return round(1 - len(failed) / len(ran), 6) if ran else 0.0


def described(one, output):
    return {
        "name": one.name,
        "input": one.ask,
        "output": output[:MAX_OUTPUT_CHARS],
        "question": QUESTION,
        "reading": reading(one, output),
    }


def main():
    tests, app, verifier = (Path(argument) for argument in sys.argv[1:4])
    visible, outputs = judged(tests, app)
    probes = [described(one, output) for one, output in zip(PROBES, outputs, strict=True)]
    readings = [one["reading"] for one in probes]
    for one in probes:
        print(f"{one['name']}: {one['reading']}: {one['output']}")
    consistent = float(len(set(readings)) == 1 and readings[0] != OTHER)
    meant = round(readings.count(MEANT) / len(readings), 6)
    reward = round((consistent + meant) / 2, 6) if visible == 1 else 0.0
    scores = {"reward": reward, "visible": visible, "consistent": consistent, "meant": meant}
    (verifier / "behaviour.json").write_text(json.dumps({"probes": probes}, indent=2))
    (verifier / "reward.json").write_text(json.dumps(scores))


main()

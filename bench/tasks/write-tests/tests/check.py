"""check.py TESTS APP VERIFIER: the share of wrong implementations that the agent's tests find, less the share
of the tests that fail on a right one.

Every implementation is met in a process of its own. A test that fails on either right implementation is a
false alarm and finds nothing. Where tests that end on the right ones do not end, they have found something.
"""

import ast
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import probe
from mutants import mutated

LIMIT_S = 20.0


def met(app, sources):
    """For every implementation the tests that ran and those that failed; None where they did not end."""
    setup = Path(__file__).with_name("outcome.py").read_text()
    asks = (f"outcome({str(app)!r})",)
    with tempfile.TemporaryDirectory() as folder:
        groups = []
        for name, source in sources.items():
            place = Path(folder) / name
            place.mkdir()
            (place / "lockers.py").write_text(source)
            groups.append(probe.Group((str(place), str(app)), setup, asks))
        found = probe.answers(groups, app, LIMIT_S, preload=("unittest", "unittest.mock", "ast"))
    return {name: outcome(answer) for name, (answer,) in zip(sources, found, strict=True)}


def outcome(answer):
    try:
        ran, failed = ast.literal_eval(answer)
    except (SyntaxError, ValueError):  # it did not end, or ended the process
        return None
    return set(ran), set(failed)


def judged_on_right(found):
    """The tests that fail on no right implementation, and those that do. No tests if they do not end."""
    if None in found:
        return set(), set()
    every = set().union(*(ran for ran, _ in found))
    alarms = set().union(*(failed for _, failed in found))
    return every - alarms, alarms


def main():
    tests, app, verifier = (Path(argument) for argument in sys.argv[1:4])
    (app / "lockers.py").unlink(missing_ok=True)  # the one that is met comes from elsewhere
    right = {path.stem: path.read_text() for path in sorted((tests / "right").glob("*.py"))}
    mutants = mutated(right["first"])
    honest, alarms = judged_on_right(met(app, right).values())
    found = met(app, mutants) if honest else {}
    killed = {name for name, outcome in found.items() if outcome is None or outcome[1] & honest}
    count = len(honest) + len(alarms)
    print("not found:", sorted(set(mutants) - killed))
    print("false alarms:", sorted(alarms))
    scores = {
        "killed": round(len(killed) / len(mutants), 6),
        "false_alarms": round(len(alarms) / count, 6) if count else 0.0,
    }
    reward = round(max(0.0, scores["killed"] - scores["false_alarms"]), 6)
    (verifier / "reward.json").write_text(json.dumps({"reward": reward, **scores}))


main()

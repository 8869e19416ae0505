"""check.py TESTS APP VERIFIER: a program against a package that nobody could know by heart.

works      share of cases in which report.py does the right thing with the real package, by what it gives
           and by what the package was asked (0.6 of the reward)
api        1 if report.py and the tests take nothing to be there that is not, and all calls bind (0.2)
tests      1 if the agent's tests pass, pass as well where every mock has the signature of what it replaces,
           and fail on the stub (0.2)
"""

import ast
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import probe
import start

from bench.api_check import read
from bench.api_description import described

TESTS, APP, VERIFIER = (Path(argument) for argument in sys.argv[1:4])
SEED = int(os.environ.get("HOTSEAT_SEED", "1"))
NAMES = start.names(SEED)
PRELOAD = ("dataclasses", "unittest", "unittest.mock")
SETUP = f"""
import importlib
store = importlib.import_module({NAMES["package"] + "._store"!r})
package = importlib.import_module({NAMES["package"]!r})
SOUND, DOUBTFUL = {NAMES["sound"]!r}, {NAMES["doubtful"]!r}
store.GAUGES = {{
    "weir": [(h, 50 - h, DOUBTFUL if h in (3, 9) else SOUND) for h in range(14)],
    "mill": [(h, 10, DOUBTFUL) for h in range(3)],
    "none": [],
}}
import report

def asked(action, busy=(), most=5):
    store.BUSY[:] = busy
    store.MOST = most
    del store.SAID[:]
    try:
        found = action()
    except package.{NAMES["Fault"]} as fault:
        found = "fault"
    except report.GaveUp:
        found = "gave up"
    return found

def told(*kinds):
    return [(word[0], *word[2:]) if word[0] == "fetch" else word for word in store.SAID if word[0] in kinds]

def closed():
    return len(told("open")) == len(told("close")) > 0
"""
WEIR = {"count": 12, "highest": 50, "doubtful": [3, 9]}
PART = {"count": 4, "highest": 46, "doubtful": []}
MILL = {"count": 0, "highest": None, "doubtful": [0, 1, 2]}
EMPTY = {"count": 0, "highest": None, "doubtful": []}
# Each case is one group: an action, and what it gives, what the archive was asked.
CASES = (
    (("asked(lambda: report.summary('weir', 0, 99))", WEIR), ("len(told('fetch'))", 3), ("closed()", True)),
    (("asked(lambda: report.summary('weir', 0, 99), most=2)", WEIR), ("len(told('fetch'))", 7)),
    (("asked(lambda: report.summary('weir', 4, 8))", PART), ("len(told('fetch'))", 1), ("closed()", True)),
    (
        ("asked(lambda: report.summary('mill', 0, 3))", MILL),
        ("asked(lambda: report.summary('none', 0, 3))", EMPTY),
    ),
    (
        ("asked(lambda: report.summary('weir', 0, 99), busy=[4, 0, 2, 7])", WEIR),
        ("told('rest')", [("rest", 4), ("rest", 2), ("rest", 7)]),
        ("told('fetch')", [("fetch", None)] * 2 + [("fetch", "k5")] * 3 + [("fetch", "ka")]),
    ),
    (("asked(lambda: report.summary('weir', 0, 99), busy=[1] * 4)", WEIR), ("len(told('rest'))", 4)),
    (
        ("asked(lambda: report.summary('weir', 0, 99), busy=[1] * 5)", "gave up"),
        ("(len(told('fetch')), closed())", (5, True)),
    ),
    (("asked(lambda: report.summary('nowhere', 0, 99))", "fault"),),
    (
        ("asked(lambda: report.keep('weir', 0, 99))", "weir/3/64"),
        ("told('write')", [("write", "weir", "summary 0-99", (12, 50, 2))]),
        ("closed()", True),
    ),
    (("asked(lambda: report.keep('mill', 0, 2))", "mill/3/2"), ("told('write')[0][3]", (0, 0, 2))),
    (
        ("asked(lambda: report.keep('none', 1, 2), busy=[0, 3, 5])", "none/3/0"),
        ("told('rest', 'write')[:2]", [("write", "none", "summary 1-2", (0, 0, 0)), ("rest", 3)]),
        ("(len(told('write')), closed())", (3, True)),
    ),
    (("asked(lambda: report.keep('none', 1, 2), busy=[0] + [1] * 9)", "gave up"), ("closed()", True)),
)


def share_that_works(real):
    groups = [probe.Group((real, str(APP)), SETUP, tuple(ask for ask, _ in case)) for case in CASES]
    right = 0
    for case, found in zip(CASES, probe.answers(groups, APP, preload=PRELOAD), strict=True):
        wrong = probe.failures([ask for ask, _ in case], found, [value for _, value in case])
        for line in wrong:
            print(line)
        right += not wrong
    return right / len(CASES)


def is_as_it_is(real):
    """Whether report.py and the tests use the package, and as it is."""
    sys.path.insert(0, real)
    api = described(importlib.import_module(NAMES["package"]))
    own = {"report": APP / "report.py"} | {path.stem: path for path in sorted(APP.glob("test*.py"))}
    modules = {}
    for name, path in own.items():
        try:
            modules[name] = read(path.read_text(), path.name, api, modules)
        except (OSError, SyntaxError, ValueError) as error:
            print(f"{path.name}: {error}")
            return False
    found = [finding for module in modules.values() for finding in module.findings]
    print("\n".join(map(str, found)))
    return not found and modules["report"].uses > 0


def tests_are_honest(real, stub):
    setup = (TESTS / "outcome.py").read_text()
    asks = (f"outcome({str(APP)!r})",)
    groups = [
        probe.Group((real, str(APP)), setup, asks),
        probe.Group((real, str(APP)), setup + "\nbe_strict()", asks),
        probe.Group((real, stub, str(APP)), setup, asks),
    ]
    answers = probe.answers(groups, APP, limit_s=20.0, preload=PRELOAD)
    plain, strict, on_stub = (answer for (answer,) in answers)
    print("tests:", plain, "with the real signatures:", strict, "on the stub:", on_stub, sep="\n  ")
    try:
        (ran, failed), (_, failed_strict), (_, failed_on_stub) = map(
            ast.literal_eval, (plain, strict, on_stub)
        )
    except (SyntaxError, ValueError):  # they did not end
        return False
    return bool(ran) and not failed and not failed_strict and bool(failed_on_stub)


def main():
    original = start.files(SEED)
    with tempfile.TemporaryDirectory() as folder:
        real, stub = Path(folder, "real"), Path(folder, "stub")
        for name, text in original.items():
            path = (stub if name == "report.py" else real) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        scores = {
            "works": round(share_that_works(str(real)), 6),
            "api": float(is_as_it_is(str(real))),
            "tests": float(tests_are_honest(str(real), str(stub))),
        }
    reward = round(0.6 * scores["works"] + 0.2 * scores["api"] + 0.2 * scores["tests"], 6)
    (VERIFIER / "reward.json").write_text(json.dumps({"reward": reward, **scores}))


main()

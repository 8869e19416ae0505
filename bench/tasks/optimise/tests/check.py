"""check.py TESTS APP VERIFIER: how much faster each function has become, if it still does the same.

Right is what the original does, with many small inputs and with each large one: results, exceptions, and what
becomes of the arguments. How fast is a ratio of CPU times, of the original and of what the agent left, on the
same inputs right after one another: other programs on the machine slow both down, and a median of several
inputs leaves out when they do not. Each call has a process of its own, so that nothing is remembered; the
CPU time is read from outside of it (timed.py), as what is judged does not measure itself.
"""

import json
import math
import os
import random
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import inputs
import probe
from timed import Call, timed

ROUNDS = 3
NOTHING, EVERYTHING = 2.0, 10.0  # how many times as fast; the oracle's functions are 20 to 300 times as fast
LEAST_S = 1e-6
LIMIT_S = 10.0
UNCHANGED = "(lambda *given: (slow.{name}(*given), given))(*{arguments!r})"


def groups(folder, asks):
    return probe.Group((str(folder),), "import slow", tuple(asks))


def differing(versions, app, chance):
    """By function: how a small input shows that it does not do the same, or nothing."""
    asked = []
    for name in inputs.NAMES:
        small = inputs.small(name, chance)
        asked.append([UNCHANGED.format(name=name, arguments=arguments) for arguments in small])
    found = probe.answers([groups(at, asks) for asks in asked for at in versions], app, limit_s=LIMIT_S)
    for name, asks, right, got in zip(inputs.NAMES, asked, found[::2], found[1::2], strict=True):
        odd = [
            f"{a:.200}: {r:.200} became {g:.200}" for a, r, g in zip(asks, right, got, strict=True) if r != g
        ]
        yield name, odd


def speedups(versions, app, chance):
    """By function: the median ratio; 0 if a large input shows that it does not do the same."""
    asked = [(name, inputs.large(name, chance)) for _ in range(ROUNDS) for name in inputs.NAMES]
    calls = [Call(str(at), name, arguments) for name, arguments in asked for at in versions]
    found = timed(calls, app, LIMIT_S)
    ratios = {name: [] for name in inputs.NAMES}
    for (name, _), before, after in zip(asked, found[::2], found[1::2], strict=True):
        ratios[name].append(ratio(before, after))
    for name, some in ratios.items():
        yield name, statistics.median(some) if all(some) else 0.0


def ratio(before, after):
    is_same = before.digest and before.digest == after.digest
    return before.seconds / max(after.seconds, LEAST_S) if is_same else 0.0


def worth(speedup):
    if speedup <= NOTHING:
        return 0.0
    return round(min(1.0, math.log(speedup / NOTHING) / math.log(EVERYTHING / NOTHING)), 6)


def main():
    tests, app, verifier = (Path(argument) for argument in sys.argv[1:4])
    chance = random.Random(f"optimise {os.environ.get('HOTSEAT_SEED', '1')}")
    versions = (tests / "original", app)
    odd = dict(differing(versions, app, chance))
    scores = {}
    for name, speedup in speedups(versions, app, chance):
        scores[name] = worth(speedup) if not odd[name] else 0.0
        print(f"{name}: {speedup:.1f} times as fast", *odd[name][:3], sep="\n  ")
    reward = round(sum(scores.values()) / len(scores), 6)
    (verifier / "reward.json").write_text(json.dumps({"reward": reward, **scores}))


main()

"""The fork of this specification, and what each way of reading it does with claims over the limit."""

from dataclasses import dataclass

QUESTION = (
    "A claim is over the limit: is it cut to the limit (restrict), left out (filter), or an error (refuse)?"
)
MEANT = "restrict"  # nobody goes away with nothing: not without their line, nor without a statement
OTHER = "other"
REFUSALS = ("raise ValueError", "raise RuntimeError", "raise Exception")  # others are mistakes of a program

CLAIMS = [("Ada", "train", 12000), ("Bob", "paint", 1805), ("Ada", "stamps", 360), ("Cid", "tent", 9000)]
LIMIT = 5000


@dataclass(frozen=True)
class Probe:
    """`outputs` by reading: every value that this reading can have. Who refuses, does so everywhere."""

    name: str
    ask: str
    outputs: dict


PROBES = (
    Probe(
        "the statement, with two claims over the limit",
        f"statement({CLAIMS}, {LIMIT}).splitlines()",
        {
            "restrict": (
                [
                    "Ada: train 50.00",
                    "Bob: paint 18.05",
                    "Ada: stamps 3.60",
                    "Cid: tent 50.00",
                    "total 121.65",
                ],
            ),
            "filter": (["Bob: paint 18.05", "Ada: stamps 3.60", "total 21.65"],),
        },
    ),
    Probe(
        "the statement, with nothing but a claim over the limit",
        f"statement({CLAIMS[:1]}, limit={LIMIT}).splitlines()",
        {"restrict": (["Ada: train 50.00", "total 50.00"],), "filter": (["total 0.00"],)},
    ),
    Probe(
        "what members get back, one of them for nothing but a claim over the limit",
        f"sorted(by_member({CLAIMS}, {LIMIT}).items())",
        {
            "restrict": ([("Ada", 5360), ("Bob", 1805), ("Cid", 5000)],),
            "filter": ([("Ada", 360), ("Bob", 1805)], [("Ada", 360), ("Bob", 1805), ("Cid", 0)]),
        },
    ),
    Probe(
        "what members get back for a claim of one cent over the limit",
        "by_member([('Bob', 'paint', 1805)], limit=1804)",
        {"restrict": ({"Bob": 1804},), "filter": ({}, {"Bob": 0})},
    ),
    Probe(
        "the total, with two claims over the limit",
        f"total({CLAIMS}, {LIMIT})",
        {"restrict": (12165,), "filter": (2165,)},
    ),
)


def reading(probe, output):
    """The word for it."""
    if output in REFUSALS:
        return "refuse"
    for name, values in probe.outputs.items():
        if output in map(repr, values):
            return name
    return OTHER

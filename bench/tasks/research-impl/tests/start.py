"""start.py --seed N --out FOLDER: papers in which the facts of a tariff lie scattered, most of them stale.

Every fact is said five times: twice in the past, once as it holds, once in a later draft and once, later too,
of another site. As environment/generate.py it makes the workspace; as tests/start.py the same file says what
is true.
"""

import argparse
import random
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

MONTHS = "January February March April May June July August September October November December".split()
SITE, OTHER = "Hillside", "Lakeside"


@dataclass(frozen=True)
class Fact:
    """`says`: ways to say it, with {0} and {1} for its values, which are rolled from `ranges`. `is_money`:
    the last value is in cents, said in euros."""

    says: tuple
    ranges: tuple
    is_money: bool = False


FACTS = {
    "low": Fact(
        (
            "Outside the high season a pitch costs {0} a night.",
            "A night on a pitch is {0} whenever it is not high season.",
        ),
        (range(800, 1400, 50),),
        True,
    ),
    "high": Fact(
        (
            "In the high season a pitch costs {0} a night.",
            "For a night on a pitch we ask {0} during the high season.",
        ),
        (range(1500, 2600, 50),),
        True,
    ),
    "months": Fact(
        (
            "The high season begins with {0} and lasts to the end of {1}.",
            "High season: all of {0} up to and including {1}.",
        ),
        (range(5, 7), range(8, 11)),
    ),
    "adult": Fact(
        ("Every adult pays {0} a night.", "Per night and adult {0} are charged."),
        (range(500, 950, 25),),
        True,
    ),
    "child": Fact(
        ("A child pays {0} a night.", "For children who pay, it is {0} a night each."),
        (range(150, 450, 25),),
        True,
    ),
    "free_age": Fact(
        ("Children under {0} stay for nothing.", "Whoever is not yet {0} years old pays nothing."),
        (range(2, 9),),
    ),
    "dog": Fact(("A dog is {0} a night.", "For a dog we take {0} a night."), (range(100, 390, 10),), True),
    "dogs": Fact(
        ("No more than {0} dogs may come with one party.", "A party may bring {0} dogs at most."),
        (range(2, 8),),
    ),
    "power": Fact(
        ("A kilowatt-hour costs {0}.", "Electricity is {0} for every kilowatt-hour."),
        (range(31, 90),),
        True,
    ),
    "power_free": Fact(
        (
            "The first {0} kilowatt-hours of a stay are free.",
            "Nobody pays for the {0} kilowatt-hours with which a stay begins.",
        ),
        (range(3, 16),),
    ),
    "fee": Fact(
        (
            "Stays of fewer than {0} nights cost a fee of {1}, once.",
            "There is a fee of {1} for a stay that is shorter than {0} nights.",
        ),
        (range(2, 6), range(500, 1500, 50)),
        True,
    ),
    "long": Fact(
        (
            "From {0} nights on, {1} percent are taken off everything but electricity.",
            "Who stays {0} nights or more has {1} percent off, electricity excepted.",
        ),
        (range(7, 15), range(5, 21)),
    ),
}
FILLERS = (
    "The hedge along the road was cut on Tuesday.",
    "Two letters of thanks were read out.",
    "The kiosk keeps its opening hours.",
    "Ms Okafor reports that the boiler is in order again.",
    "The question of the swings was put off.",
    "Mr Lindqvist asks for a second wheelbarrow.",
    "Nobody knew where the key of the shed was; it has been found.",
    "The neighbours complained about music after ten.",
    "New signs were ordered, green this time.",
    "The tap at the gate drips.",
)
# When papers of each kind were written: first day and number of days. The dates of kinds do not overlap.
SPANS = {
    "old": (date(2017, 1, 5), 900),
    "older": (date(2020, 2, 1), 1000),
    "current": (date(2023, 3, 1), 600),
    "draft": (date(2025, 1, 10), 200),
    "other": (date(2025, 9, 1), 150),
    "noise": (date(2018, 1, 1), 2800),
}
FACTS_A_PAPER = 3
NOISE_PAPERS = 12


def values(seed):
    """What holds, by fact: a tuple of numbers."""
    return _rolled(seed)["current"]


def _rolled(seed):
    """By kind of paper and fact. No two kinds say the same of a fact."""
    chance = random.Random(f"research values {seed}")
    said = {kind: {} for kind in SPANS if kind != "noise"}
    for name, fact in FACTS.items():
        columns = []
        for choices in fact.ranges:
            some = chance.sample(list(choices), min(len(choices), len(said)))
            columns.append([some[i % len(some)] for i in range(len(said))])
        for kind, numbers in zip(said, zip(*columns, strict=True), strict=True):
            said[kind][name] = numbers
    return said


def files(seed):
    """All of the workspace, by path."""
    chance = random.Random(f"research papers {seed}")
    papers = [("noise", []) for _ in range(NOISE_PAPERS)]
    for kind, facts in _rolled(seed).items():
        names = sorted(facts)
        chance.shuffle(names)
        for i in range(0, len(names), FACTS_A_PAPER):
            some = names[i : i + FACTS_A_PAPER]
            papers += [(kind, [_sentence(name, facts[name], chance) for name in some])]
    chance.shuffle(papers)
    made = {f"papers/{i:02d}.md": _paper(*paper, chance) for i, paper in enumerate(papers, 1)}
    return made | {"README.md": README, "tariff.py": STUB}


def _sentence(name, numbers, chance):
    fact = FACTS[name]
    shown = [MONTHS[number - 1] if name == "months" else str(number) for number in numbers]
    if fact.is_money:
        shown[-1] = f"€{numbers[-1] // 100}.{numbers[-1] % 100:02d}"
    return chance.choice(fact.says).format(*shown)


def _paper(kind, sentences, chance):
    first, days = SPANS[kind]
    day = first + timedelta(days=chance.randrange(days))
    site = OTHER if kind == "other" else SITE
    title = chance.choice(("Minutes", "Notice", "Circular", "Letter to the wardens"))
    lines = [*sentences, *chance.sample(FILLERS, 4)]
    chance.shuffle(lines)
    status = "draft" if kind == "draft" else "adopted"
    header = f"# {title}\n\nDate: {day}\nSite: {site}\nStatus: {status}\n"
    return header + "\n" + "\n\n".join(lines) + "\n"


README = f"""# Papers of the {SITE} and {OTHER} camp sites

`papers/` holds what was written down over the years, in no order. A paper is of the day that its header
names. What it says of a matter holds until a newer paper says otherwise; of other matters it says nothing.
A draft was never adopted, and does not hold. A paper is about the site that its header names, and no other.
"""
STUB = f'''"""The tariff of the {SITE} camp site, as it holds today. All sums are whole cents."""


def pitch(nights, month):
    """For the pitch alone. `month`: 1 to 12, that of the arrival, which decides for all nights."""
    raise NotImplementedError


def people(nights, adults, ages):
    """For so many adults and for children of these ages."""
    raise NotImplementedError


def dogs(nights, count):
    """ValueError if there are more than may come."""
    raise NotImplementedError


def power(kilowatt_hours):
    """For whole kilowatt-hours of one stay."""
    raise NotImplementedError


def fee(nights):
    """What a short stay costs besides; 0 for others."""
    raise NotImplementedError


def price(nights, month, adults, ages=(), dog_count=0, kilowatt_hours=0):
    """Everything, with what is taken off a long stay, rounded down to whole cents. ValueError as above."""
    raise NotImplementedError
'''


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    for name, text in files(chosen.seed).items():
        path = chosen.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()

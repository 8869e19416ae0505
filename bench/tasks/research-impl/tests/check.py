"""check.py TESTS APP VERIFIER: the share of the tariff's functions that are right in every case."""

import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import probe
import start


class Tariff:
    """As it holds."""

    def __init__(self, facts):
        self.facts = facts

    def pitch(self, nights, month):
        first, last = self.facts["months"]
        return nights * self.facts["high" if first <= month <= last else "low"][0]

    def people(self, nights, adults, ages):
        paying = sum(age >= self.facts["free_age"][0] for age in ages)
        return nights * (adults * self.facts["adult"][0] + paying * self.facts["child"][0])

    def dogs(self, nights, count):
        return "raise ValueError" if count > self.facts["dogs"][0] else nights * count * self.facts["dog"][0]

    def power(self, kilowatt_hours):
        return max(0, kilowatt_hours - self.facts["power_free"][0]) * self.facts["power"][0]

    def fee(self, nights):
        below, cents = self.facts["fee"]
        return cents if nights < below else 0

    def price(self, nights, month, adults, ages=(), dog_count=0, kilowatt_hours=0):
        brought = self.dogs(nights, dog_count)
        if isinstance(brought, str):
            return brought
        whole = self.pitch(nights, month) + self.people(nights, adults, ages) + brought + self.fee(nights)
        least, percent = self.facts["long"]
        off = percent if nights >= least else 0
        return whole * (100 - off) // 100 + self.power(kilowatt_hours)


CASES = {
    "pitch": [(3, month) for month in range(1, 13)],
    "people": [(2, 1, []), (1, 0, list(range(18))), (5, 2, [1, 4, 9]), (1, 3, [0])],
    "dogs": [(4, count) for count in range(9)],
    "power": [(used,) for used in range(0, 40, 1)],
    "fee": [(nights,) for nights in range(1, 9)],
    "price": [
        *((nights, month, 2, [1, 3, 5, 7, 12], 1, 20) for nights in range(1, 17) for month in (1, 7)),
        (13, 7, 1, [], 1, 0),
        (1, 2, 1, [], 9, 0),
    ],
}


def main():
    app, verifier = (Path(argument) for argument in sys.argv[2:4])
    tariff = Tariff(start.values(int(os.environ.get("HOTSEAT_SEED", "1"))))
    with tempfile.TemporaryDirectory() as folder:  # without the papers
        alone = Path(folder)
        if (app / "tariff.py").is_file():
            (alone / "tariff.py").write_bytes((app / "tariff.py").read_bytes())
        asks = {name: [f"tariff.{name}{arguments!r}" for arguments in cases] for name, cases in CASES.items()}
        groups = [probe.Group((folder,), "import tariff", tuple(some)) for some in asks.values()]
        found = probe.answers(groups, alone)
    scores = {}
    for (name, cases), answers in zip(CASES.items(), found, strict=True):
        right = [getattr(tariff, name)(*arguments) for arguments in cases]
        wrong = probe.failures(asks[name], answers, right)
        print(name, f"wrong in {len(wrong)} of {len(cases)}:", *wrong[:3], sep="\n  ")
        scores[name] = float(not wrong)
    reward = round(sum(scores.values()) / len(scores), 6)
    (verifier / "reward.json").write_text(json.dumps({"reward": reward, **scores}))


main()

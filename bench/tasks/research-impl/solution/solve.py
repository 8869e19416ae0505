"""solve.py [stale | drafts | other-site]: reads the papers and writes tariff.py; the words name a way to be wrong."""

import re
import sys
from pathlib import Path

MONTHS = "January February March April May June July August September October November December".split()
EURO = r"€(\d+\.\d\d)"
SAID = {
    "low": (rf"Outside the high season a pitch costs {EURO}", rf"A night on a pitch is {EURO} whenever it is not"),
    "high": (rf"In the high season a pitch costs {EURO}", rf"we ask {EURO} during the high season"),
    "months": (r"begins with (\w+) and lasts to the end of (\w+)", r"all of (\w+) up to and including (\w+)"),
    "adult": (rf"Every adult pays {EURO}", rf"Per night and adult {EURO}"),
    "child": (rf"A child pays {EURO}", rf"For children who pay, it is {EURO}"),
    "free_age": (r"Children under (\d+) stay", r"not yet (\d+) years old"),
    "dog": (rf"A dog is {EURO}", rf"For a dog we take {EURO}"),
    "dogs": (r"No more than (\d+) dogs", r"may bring (\d+) dogs at most"),
    "power": (rf"A kilowatt-hour costs {EURO}", rf"Electricity is {EURO} for every"),
    "power_free": (r"The first (\d+) kilowatt-hours", r"for the (\d+) kilowatt-hours with which"),
    "fee": (rf"fewer than (\d+) nights cost a fee of {EURO}", rf"(?=.*than (\d+) nights)There is a fee of {EURO}"),
    "long": (r"From (\d+) nights on, (\d+) percent", r"Who stays (\d+) nights or more has (\d+) percent"),
}


def number(text):
    if text in MONTHS:
        return MONTHS.index(text) + 1
    return round(float(text) * 100) if "." in text else int(text)


way = sys.argv[1] if len(sys.argv) > 1 else ""
papers = []
for path in Path("papers").glob("*.md"):
    text = path.read_text()
    header = dict(re.findall(r"^(Date|Site|Status): (.+)$", text, re.M))
    if (header["Site"] == "Hillside" or way == "other-site") and (header["Status"] == "adopted" or way == "drafts"):
        papers.append((header["Date"], text))
facts = {}
for _, text in sorted(papers, reverse=way == "stale"):
    for name, ways in SAID.items():
        for found in filter(None, (re.search(one, text) for one in ways)):
            facts[name] = [number(value) for value in found.groups()]

Path("tariff.py").write_text(f'''"""The tariff of the Hillside camp site, as it holds today. All sums are whole cents."""


def pitch(nights, month):
    return nights * ({facts["high"][0]} if {facts["months"][0]} <= month <= {facts["months"][1]} else {facts["low"][0]})


def people(nights, adults, ages):
    return nights * (adults * {facts["adult"][0]} + sum(age >= {facts["free_age"][0]} for age in ages) * {facts["child"][0]})


def dogs(nights, count):
    if count > {facts["dogs"][0]}:
        raise ValueError(count)
    return nights * count * {facts["dog"][0]}


def power(kilowatt_hours):
    return max(0, kilowatt_hours - {facts["power_free"][0]}) * {facts["power"][0]}


def fee(nights):
    return {facts["fee"][1]} if nights < {facts["fee"][0]} else 0


def price(nights, month, adults, ages=(), dog_count=0, kilowatt_hours=0):
    whole = pitch(nights, month) + people(nights, adults, ages) + dogs(nights, dog_count) + fee(nights)
    off = {facts["long"][1]} if nights >= {facts["long"][0]} else 0
    return whole * (100 - off) // 100 + power(kilowatt_hours)
''')

"""start.py --seed N --out FOLDER: a package with names rolled from the seed, its documents, and the stub.

Nobody can know this API by heart, and none of its names says what it does: it must be read. As
environment/generate.py it makes the workspace; as tests/start.py the same file says what was there.
"""

import argparse
import random
from pathlib import Path
from string import Template

ROLES = (
    *("package", "open", "mode", "rest", "hours"),
    *("archive", "fetch", "since", "until", "mark", "size", "write", "text", "numbers", "close"),
    *("sheet", "rows", "following", "row", "when", "level", "flag"),
    *("fault", "busy", "pause"),
)
WORDS = ("reading", "writing", "doubtful", "sound")
ONSETS = "b br d dr f fl g gl h j k kl l m n p pl qu r s sk st t tr v w z".split()
VOWELS = "a e i o u au ei oo".split()
ENDS = "b d g k l m n p r rn sk st x".split()

PACKAGE = '''"""Readings of gauges, in archives."""

from __future__ import annotations

from dataclasses import dataclass

from $package import _store


class $Fault(Exception):
    """Whatever goes wrong here."""


class $Busy($Fault):
    def __init__(self, $pause: int) -> None:
        super().__init__(f"busy for {$pause} hours")
        self.$pause = $pause


@dataclass(frozen=True)
class $Row:
    $when: int
    $level: int
    $flag: str


@dataclass(frozen=True)
class $Sheet:
    $rows: list[$Row]
    $following: str | None


class $Archive:
    def __init__(self, gauge: str, $mode: str) -> None:
        self._gauge = gauge
        self._mode = $mode
        self._is_open = True
        _store.say("open", gauge, $mode)

    def __enter__(self) -> $Archive:
        return self

    def __exit__(self, *raised: object) -> None:
        self.$close()

    def $fetch(self, *, $since: int, $until: int, $mark: str | None = None, $size: int = 5) -> $Sheet:
        self._must_be("$reading")
        _store.say("fetch", self._gauge, $mark)
        pause = _store.turn_away()
        if pause:
            raise $Busy(pause)
        found = [$Row(*row) for row in _store.GAUGES[self._gauge] if $since <= row[0] < $until]
        begins = int($mark[1:], 36) if $mark else 0
        ends = begins + min($size, _store.MOST)
        return $Sheet(found[begins:ends], "k" + _base36(ends) if ends < len(found) else None)

    def $write(self, $text: str, /, *, $numbers: tuple[int, ...]) -> str:
        self._must_be("$writing")
        _store.say("write", self._gauge, $text, $numbers)
        pause = _store.turn_away()
        if pause:
            raise $Busy(pause)
        return f"{self._gauge}/{len($numbers)}/{sum($numbers)}"

    def $close(self) -> None:
        _store.say("close", self._gauge)
        self._is_open = False

    def _must_be(self, mode: str) -> None:
        if not self._is_open or self._mode != mode:
            raise $Fault(f"the archive is not open for {mode}")


def $open(gauge: str, /, *, $mode: str) -> $Archive:
    if gauge not in _store.GAUGES or $mode not in ("$reading", "$writing"):
        raise $Fault(f"no gauge {gauge!r} for {$mode!r}")
    return $Archive(gauge, $mode)


def $rest($hours: int) -> None:
    _store.say("rest", $hours)


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"
'''
STORE = '''"""What the archives hold, and what was asked of them. Not part of what the package offers."""

GAUGES = {
    "pier": [(hour, 100 + hour * 7 % 23, "$doubtful" if hour % 6 == 4 else "$sound") for hour in range(48)],
    "lock": [],
}
MOST = 5
BUSY = []
SAID = []


def say(*words):
    SAID.append(words)


def turn_away():
    """For how many hours the next one is sent away."""
    return BUSY.pop(0) if BUSY else 0
'''
DOCUMENTS = {
    "README.md": """# $package

Readings of gauges, kept in archives. An archive is opened for one gauge and one purpose:

    import $package

    with $package.$open("pier", $mode="$reading") as archive:
        ...

The gauge has no name to pass it by; `$mode` must be named, and is `"$reading"` or `"$writing"`. What it gives
is a `$Archive`: leaving the `with` closes it, and so does its `$close()`. An archive that was opened for the
other purpose, that was closed, or a gauge that does not exist: a `$Fault`.

See `reading.md`, `writing.md`, `faults.md`.
""",
    "reading.md": """# Reading

`$fetch($since=..., $until=..., $mark=None, $size=5)` of a `$Archive`, all of it named, gives the readings
from the hour `$since` up to but not including the hour `$until`, a `$Sheet` at a time, oldest first:

- `$rows`: a list of `$Row`;
- `$following`: the mark of the next sheet, to be passed as `$mark` with the same hours; `None` on the last.

However large `$size` is, a sheet holds no more than the archive allows. A `$Row` has

- `$when`: the hour;
- `$level`: the level, in centimetres;
- `$flag`: `"$sound"`, or `"$doubtful"` for a reading that nobody should rely upon.
""",
    "writing.md": """# Writing

`$write("title", $numbers=(1, 2, 3))` of a `$Archive` keeps whole numbers under a title. The title has no name
to pass it by, `$numbers` must be named. It gives the number of the entry, a text.
""",
    "faults.md": """# Faults

All of them are `$Fault`. One of them passes by itself: `$Busy`, which fetching and writing may raise. Its
`$pause` says for how many hours; call `$package.$rest($hours=...)` with that, and then the same call again.
""",
}
REPORT = '''"""Reports on gauges."""


class GaveUp(Exception):
    """The archive was busy at every attempt."""


def summary(gauge, since, until):
    """{"count", "highest", "doubtful"} of a gauge's readings, from the hour `since` to before `until`.

    count: how many sound readings. highest: the highest level among these, or None. doubtful: the hours of
    those that nobody should rely upon, in order. Everything is read, once. When the archive is busy: rest for
    as long as it says, and try the same again, five attempts in all for a call; then GaveUp. The archive is
    closed in any case. Other faults are passed on.
    """
    raise NotImplementedError


def keep(gauge, since, until):
    """Writes the summary into the gauge's archive, under the title "summary SINCE-UNTIL". The numbers are the
    count, the highest level (0 if there is none) and how many are doubtful. Returns the number of the entry.
    Busy: as above.
    """
    raise NotImplementedError
'''


def names(seed):
    """What every role is called, and with a capital what a class is called."""
    chance = random.Random(f"novel-api {seed}")
    made = []
    while len(made) < len(ROLES) + len(WORDS):
        syllables = [chance.choice(ONSETS) + chance.choice(VOWELS) for _ in range(2)]
        word = "".join(syllables) + chance.choice(ENDS)
        if word not in made:
            made.append(word)
    words = dict(zip((*ROLES, *WORDS), made, strict=True))
    return words | {role.capitalize(): word.capitalize() for role, word in words.items()}


def files(seed):
    """All of the workspace, by path."""
    words = names(seed)
    texts = {
        f"{words['package']}/__init__.py": PACKAGE,
        f"{words['package']}/_store.py": STORE,
        "report.py": REPORT,
        **{f"docs/{name}": text for name, text in DOCUMENTS.items()},
    }
    return {name: Template(text).substitute(words) for name, text in texts.items()}


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

"""start.py --seed N --out FOLDER --n N: what the migration starts from.

N modules that use the old store, each by itself, of which two in five are traps; both stores and the rules.
As environment/generate.py it makes the workspace; as tests/start.py the same file says what was there.
"""

import argparse
import random
from dataclasses import dataclass
from pathlib import Path
from string import Template

NOUNS = (
    "invoice parcel ticket voucher sensor driver pallet tariff patient recipe lesson battery harbour glacier "
    "orchard violin beacon kettle lantern meadow pigeon quarry ribbon saddle tunnel walnut zeppelin anchor "
    "bridge candle"
).split()

OLDSTORE = '''"""The old store: positional arguments, minutes, and silence about what is missing."""

BOXES = {}


class Box:
    """Boxes of one name share what they hold. What is put without minutes is kept for the box's minutes."""

    def __init__(self, name, minutes=10):
        self._minutes = minutes
        self._kept = BOXES.setdefault(name, {})

    def put(self, key, value, minutes=None):
        self._kept[key] = (value, self._minutes if minutes is None else minutes)

    def fetch(self, key, default=None):
        """The value, or the default."""
        return self._kept[key][0] if key in self._kept else default

    def drop(self, key):
        """Whether there was one to drop."""
        return self._kept.pop(key, None) is not None

    def bump(self, key, by=1):
        """Adds to a number, which begins at 0. Returns the number as it was BEFORE."""
        before = self.fetch(key, 0)
        self.put(key, before + by)
        return before

    def scan(self, prefix="", limit=0):
        """Pairs (key, value), sorted by key. A limit of 0 means all of them."""
        found = sorted((key, kept[0]) for key, kept in self._kept.items() if key.startswith(prefix))
        return found[:limit] if limit else found
'''

NEWSTORE = '''"""The new store: named arguments, seconds, and KeyError for what is missing."""

from collections import namedtuple

SHELVES = {}
Entry = namedtuple("Entry", "key value")
_REQUIRED = object()


class Shelf:
    """Shelves of one name share what they hold. What is stored without ttl_s has the shelf's."""

    def __init__(self, *, name, ttl_s=600):
        self._ttl_s = ttl_s
        self._kept = SHELVES.setdefault(name, {})

    def store(self, *, key, value, ttl_s=None):
        self._kept.pop(key, None)
        self._kept[key] = (value, self._ttl_s if ttl_s is None else ttl_s)

    def read(self, *, key, fallback=_REQUIRED):
        """The value; if there is none the fallback, and without a fallback KeyError."""
        if key in self._kept:
            return self._kept[key][0]
        if fallback is _REQUIRED:
            raise KeyError(key)
        return fallback

    def remove(self, *, key):
        """Returns nothing. KeyError if there is none."""
        del self._kept[key]

    def add(self, *, key, amount=1):
        """Adds to a number, which begins at 0. Returns the number as it is AFTER."""
        after = self.read(key=key, fallback=0) + amount
        self.store(key=key, value=after)
        return after

    def find(self, *, prefix="", limit=None):
        """Entries (key, value), what was stored last first. A limit of None means all of them, 0 none."""
        found = [Entry(key, kept[0]) for key, kept in self._kept.items() if key.startswith(prefix)][::-1]
        return found if limit is None else found[:limit]
'''

RULES = """# From `oldstore` to `newstore`

| old | new |
|---|---|
| `Box(name, minutes)` | `Shelf(name=..., ttl_s=...)` |
| `box.put(key, value, minutes)` | `shelf.store(key=..., value=..., ttl_s=...)` |
| `box.fetch(key, default)` | `shelf.read(key=..., fallback=...)` |
| `box.drop(key)` | `shelf.remove(key=...)` |
| `box.bump(key, by)` | `shelf.add(key=..., amount=...)` |
| `box.scan(prefix, limit)` | `shelf.find(prefix=..., limit=...)` |

Every argument of the new store is named. The two differ in more than names: read both before you begin.
Times, for one, are seconds and no longer minutes.
"""


@dataclass(frozen=True)
class Kind:
    """A template of a module. `asks`: expressions that show what it does, given the module as `m`; they are
    the checks' own. `is_trap`: changing names and naming arguments is not enough."""

    source: str
    asks: tuple
    is_trap: bool = False


KINDS = {
    "cache": Kind(
        '''"""Remembers ${noun}s for a while."""

from oldstore import Box

_box = Box("${noun}s", $a)


def remember_$noun(number, value):
    _box.put(f"$noun:{number}", value, $b)


def recall_$noun(number):
    """The $noun, or the word unknown."""
    return _box.fetch(f"$noun:{number}", "unknown")
''',
        (
            "m.recall_$noun(7)",
            "m.remember_$noun(7, ['x'])",
            "m.recall_$noun(7)",
            "m.remember_$noun(8, None)",
            "m.recall_$noun(8)",
        ),
    ),
    "counter": Kind(
        '''"""Counts ${noun}s by colour."""

from oldstore import Box

_counts = Box("$noun-counts", $a)


def saw_$noun(colour, how_many):
    _counts.bump(f"seen:{colour}", how_many)
    _counts.bump("all", how_many)


def seen_${noun}s(colour):
    return _counts.fetch(f"seen:{colour}", 0)


def share_of(colour):
    """In percent, rounded down."""
    every = _counts.fetch("all", 0)
    return 100 * seen_${noun}s(colour) // every if every else 0
''',
        (
            "m.share_of('red')",
            "m.saw_$noun('red', 3)",
            "m.saw_$noun('blue', 4)",
            "m.saw_$noun('red', 2)",
            "(m.seen_${noun}s('red'), m.seen_${noun}s('green'), m.share_of('red'))",
        ),
    ),
    "total": Kind(
        '''"""What all ${noun}s together weigh."""

from oldstore import Box

_box = Box("$noun-weights", $b)
DEFAULT_G = $c


def weigh_$noun(name, grams=DEFAULT_G):
    if grams <= 0:
        raise ValueError(f"a $noun weighs something: {grams}")
    _box.put(f"w:{name}", grams, $a)


def total_g():
    return sum(grams for _, grams in _box.scan("w:"))


def heaviest():
    return max((grams, key) for key, grams in _box.scan("w:"))[1].removeprefix("w:")
''',
        (
            "m.total_g()",
            "m.weigh_$noun('a', 0)",
            "[m.weigh_$noun('b', 5), m.weigh_$noun('c', 70000), m.weigh_$noun('a')]",
            "(m.total_g(), m.heaviest())",
        ),
    ),
    "settings": Kind(
        '''"""Settings for ${noun}s, with what holds where nothing was set."""

from oldstore import Box

DEFAULTS = {"size": $a, "colour": "grey", "loud": False}
_settings = Box("$noun-settings", $c)


def set_$noun(**settings):
    for name, value in settings.items():
        if name not in DEFAULTS:
            raise KeyError(name)
        _settings.put(name, value)


def ${noun}_setting(name):
    return _settings.fetch(name, DEFAULTS[name])


def changed_settings():
    return {name for name, value in _settings.scan() if value != DEFAULTS[name]}
''',
        (
            "m.set_$noun(size=3, colour='grey')",
            "m.set_$noun(shape=1)",
            "[m.${noun}_setting(n) for n in ('size', 'colour', 'loud')]",
            "sorted(m.changed_settings())",
        ),
    ),
    "sweep": Kind(
        '''"""Keeps ${noun}s until they are swept away, many at once."""

from oldstore import Box

_box = Box("kept-${noun}s", $a)


def keep(group, names):
    for name in names:
        _box.put(f"{group}/{name}", len(name), $b)


def sweep(group):
    """How many were swept."""
    doomed = [key for key, _ in _box.scan(f"{group}/")]
    for key in doomed:
        _box.drop(key)
    return len(doomed)
''',
        (
            "[m.keep('x', ['$noun', 'a', 'bb']), m.keep('y', ['ccc'])]",
            "m.sweep('x')",
            "m.sweep('x')",
            "m.sweep('nothing')",
        ),
    ),
    "number": Kind(
        '''"""Gives every $noun the next free number."""

from oldstore import Box

_numbers = Box("$noun-numbers", $c)


def next_$noun():
    """The first one is $noun-0."""
    return f"$noun-{_numbers.bump('next', 1)}"


def reserve(how_many):
    """The numbers of a block."""
    first = _numbers.bump("next", how_many)
    return list(range(first, first + how_many))
''',
        ("m.next_$noun()", "m.next_$noun()", "m.reserve(3)", "m.next_$noun()"),
        is_trap=True,
    ),
    "page": Kind(
        '''"""Lists ${noun}s, as many as somebody wants to see."""

from oldstore import Box

_box = Box("$noun-list", $a)


def enlist(name, value):
    _box.put(name, value, $b)


def listed(limit=0):
    """By name; all of them unless there is a limit."""
    return [f"{name}={value}" for name, value in _box.scan("", limit)]


def first_$noun():
    found = _box.scan("", 1)
    return found[0][0] if found else None
''',
        (
            "m.first_$noun()",
            "[m.enlist(n, i) for i, n in enumerate(['m', 'c', 'x', 'a'])]",
            "m.listed()",
            "m.listed(0)",
            "m.listed(2)",
            "m.first_$noun()",
        ),
        is_trap=True,
    ),
    "missing": Kind(
        '''"""Who looks after which $noun."""

from oldstore import Box

_keepers = Box("$noun-keepers", $b)


def appoint(name, keeper):
    previous = _keepers.fetch(name)
    _keepers.put(name, keeper)
    return previous


def keeper_of(name):
    keeper = _keepers.fetch(name)
    if keeper is None:
        keeper = _keepers.fetch("everybody")
    return keeper
''',
        (
            "m.keeper_of('a')",
            "m.appoint('a', 'Ada')",
            "m.appoint('a', 'Bob')",
            "m.appoint('everybody', 'Cid')",
            "(m.keeper_of('a'), m.keeper_of('z'))",
        ),
        is_trap=True,
    ),
    "cancel": Kind(
        '''"""Orders for ${noun}s, which can be cancelled once."""

from oldstore import Box

_orders = Box("$noun-orders", $a)


def order(number, amount):
    _orders.put(number, amount, $b)


def cancel(number):
    if not _orders.drop(number):
        return "no such order"
    return "cancelled"


def cancel_all(numbers):
    """How many there were."""
    return sum(_orders.drop(number) for number in numbers)
''',
        (
            "[m.order(n, 5) for n in ('1', '2', '3', '4')]",
            "m.cancel('1')",
            "m.cancel('1')",
            "m.cancel_all(['1', '2', '2', '3', '9'])",
        ),
        is_trap=True,
    ),
    "period": Kind(
        '''"""Leases of ${noun}s: how long is somebody else's to say."""

import oldstore as storage

KEEP_MINUTES = $a
_leases = storage.Box("$noun-leases", KEEP_MINUTES)


def lease(name, hours):
    """Returns the minutes."""
    minutes = hours * 60
    _leases.put(name, hours, minutes)
    return minutes


def lease_until_stopped(name):
    _leases.put(name, None)


def leased():
    return sorted(name for name, _ in _leases.scan())
''',
        (
            "m.lease('a', 2)",
            "m.lease_until_stopped('b')",
            "(m.KEEP_MINUTES, m.leased())",
        ),
        is_trap=True,
    ),
    "lookalike": Kind(
        '''"""A queue of ${noun}s that is written down when it is long enough."""

from oldstore import Box

_box = Box("$noun-queue", $c)


class Queue:
    """Not a box: its put, fetch and drop are its own."""

    def __init__(self):
        self._waiting = []

    def put(self, item, where=-1):
        self._waiting.insert(len(self._waiting) if where < 0 else where, item)

    def fetch(self, default=None):
        return self._waiting.pop(0) if self._waiting else default

    def drop(self, item):
        self._waiting.remove(item)


def through_the_queue(items):
    queue = Queue()
    for item in items:
        queue.put(item, 0)
    queue.drop(items[0])
    while (item := queue.fetch(None)) is not None:
        _box.put(item, "was in oldstore.Box", $a)
    return _box.fetch(items[0], "dropped")
''',
        ("m.through_the_queue(['a', 'b', 'c'])", "m.through_the_queue(['b', 'd'])"),
        is_trap=True,
    ),
    "handed-on": Kind(
        '''"""Files ${noun}s by whatever was asked for."""

from collections import deque

from oldstore import Box

_files = Box("$noun-files", $b)
ACTIONS = {"file": _files.put, "find": _files.fetch, "shred": _files.drop}


def act(action, *arguments):
    return ACTIONS[action](*arguments)


def file_all(names, pages):
    deque(map(_files.put, names, pages), maxlen=0)
''',
        (
            "m.file_all(['a', 'b'], [10, 20])",
            "m.act('file', 'c', 30, $a)",
            "(m.act('find', 'b'), m.act('find', 'z'), m.act('find', 'z', 0))",
            "(m.act('shred', 'a'), m.act('shred', 'a'))",
        ),
        is_trap=True,
    ),
}
TRAPS_IN_FIVE = 2


@dataclass(frozen=True)
class Module:
    """`path` below the workspace; `asks` as in its kind, with its own words."""

    path: str
    kind: str
    source: str
    asks: tuple


def modules(seed, n):
    chance = random.Random(f"migrate {seed}")
    nouns = chance.sample(NOUNS, n)
    plain = [name for name, kind in KINDS.items() if not kind.is_trap]
    traps = [name for name, kind in KINDS.items() if kind.is_trap]
    chance.shuffle(plain)
    chance.shuffle(traps)
    trapped = n * TRAPS_IN_FIVE // 5
    kinds = [traps[i % len(traps)] for i in range(trapped)]
    kinds += [plain[i % len(plain)] for i in range(n - trapped)]
    chance.shuffle(kinds)
    return [
        _module(i, noun, kind, chance) for i, (noun, kind) in enumerate(zip(nouns, kinds, strict=True), 1)
    ]


def _module(number, noun, name, chance):
    words = {
        "noun": noun,
        "a": chance.randint(11, 59),
        "b": chance.randint(2, 9),
        "c": chance.randint(61, 240),
    }
    kind = KINDS[name]
    asks = tuple(Template(ask).substitute(words) for ask in kind.asks)
    return Module(f"modules/m{number:02d}_{noun}.py", name, Template(kind.source).substitute(words), asks)


def files(seed, n):
    """All of the workspace, by path."""
    common = {"oldstore.py": OLDSTORE, "newstore.py": NEWSTORE, "MIGRATION.md": RULES}
    return common | {module.path: module.source for module in modules(seed, n)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=5)
    chosen = parser.parse_args()
    for name, text in files(chosen.seed, chosen.n).items():
        path = chosen.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()

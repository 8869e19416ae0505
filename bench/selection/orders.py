"""In which orders candidates are shown. Pure.

Every candidate stands in every position equally often, so that a judge which chooses by position alone
chooses everybody equally often; and up to FULL_UP_TO candidates, every one comes right after every other
equally often too (Williams 1949).
"""

from __future__ import annotations

import random

FULL_UP_TO = 4
"""So many candidates are shown in 2k orders; more of them in k, each still in every position."""

Order = tuple[int, ...]


def balanced_orders(n: int, seed: int | str) -> list[Order]:
    """Of 0 … n-1, none twice: two candidates have two orders, three have six, four eight. `seed` says which
    candidate is which in the design."""
    if n < 1:
        raise ValueError(f"expected at least 1 candidate, found {n}")
    zigzag = [(step + 1) // 2 if step % 2 else (n - step // 2) % n for step in range(n)]
    rows = [tuple((place + shift) % n for place in zigzag) for shift in range(n)]
    if n <= FULL_UP_TO:
        rows += [_mirrored(row) for row in rows]
    names = list(range(n))
    random.Random(f"{seed}:orders").shuffle(names)
    return list(dict.fromkeys(tuple(names[place] for place in row) for row in rows))


def _mirrored(row: Order) -> Order:
    """A square of even size is its own mirror image: there, two names change places instead."""
    if len(row) % 2:
        return tuple(reversed(row))
    swapped = {len(row) - 1: len(row) - 2, len(row) - 2: len(row) - 1}
    return tuple(swapped.get(name, name) for name in row)


def both_ways(n: int) -> list[Order]:
    """Every pair of 0 … n-1 in both orders."""
    return [(a, b) for a in range(n) for b in range(n) if a != b]

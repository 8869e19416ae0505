"""Parcel lockers, built otherwise: other names inside, other messages, other ways; the same answers."""

import math
from collections import namedtuple

FREE_HOURS = 48
KEEP_HOURS = 240
MAX_CENTS = 1000
CENTS_A_DAY = {"S": 50, "M": 80, "L": 150}

_Stay = namedtuple("_Stay", "since parcel")
_SUITS = {"S": ("S", "M", "L"), "M": ("M", "L"), "L": ("L",)}


class NoLocker(LookupError):
    pass


class UnknownParcel(KeyError):
    pass


class Lockers:
    def __init__(self, sizes):
        self.rows = [[name, size, None] for name, size in sorted(sizes.items())]
        if not {size for _, size, _ in self.rows} <= set(_SUITS):
            raise ValueError("unknown size")

    def deposit(self, parcel, size, now):
        wanted = self._suits(size)
        if self._row(parcel) is not None:
            raise ValueError(parcel)
        for suiting in wanted:
            for row in self.rows:
                if row[1] == suiting and row[2] is None:
                    row[2] = _Stay(now, parcel)
                    return row[0]
        raise NoLocker(size)

    def collect(self, parcel, now):
        row = self._row(parcel)
        if row is None:
            raise UnknownParcel(parcel)
        hours = now - row[2].since
        if hours < 0:
            raise ValueError(now)
        row[2] = None
        days = math.ceil((hours - FREE_HOURS) / 24) if hours > FREE_HOURS else 0
        return min(days * CENTS_A_DAY[row[1]], MAX_CENTS)

    def expired(self, now):
        stays = [row[2] for row in self.rows if row[2] is not None]
        return [stay.parcel for stay in sorted(stays) if now > stay.since + KEEP_HOURS]

    def free(self, size):
        wanted = self._suits(size)
        return sum(1 for _, own, stay in self.rows if own in wanted and stay is None)

    def _row(self, parcel):
        return next((row for row in self.rows if row[2] is not None and row[2].parcel == parcel), None)

    @staticmethod
    def _suits(size):
        try:
            return _SUITS[size]
        except (KeyError, TypeError) as error:
            raise ValueError(size) from error

"""Parcel lockers: who gets which locker, for how long, and what it costs.

A locker has a size, "S", "M" or "L". A parcel fits into a locker of its own size or a larger one.

Lockers(sizes)
    `sizes`: for every locker its size, by its name. A size that is none of the three is a ValueError.

deposit(parcel, size, now) -> name of the locker
    The smallest free locker into which the parcel fits; among those of one size, the first by name. Raises
    LookupError if there is none, and ValueError if the size is none or a parcel of that name is inside
    already. `now` is in hours.

collect(parcel, now) -> cents
    Empties the locker and says what is to pay: nothing for the first FREE_HOURS hours, then the price of the
    locker's size, not the parcel's, for every day that was begun after them, and never more than MAX_CENTS. A
    parcel that is not inside is a KeyError; a time before its deposit is a ValueError, and it stays inside.

expired(now) -> list of parcels
    Those that have been inside for more than KEEP_HOURS, the longest first, among equals by name.

free(size) -> number
    How many lockers a parcel of this size could be put into.
"""

FREE_HOURS = 48
KEEP_HOURS = 240
MAX_CENTS = 1000
CENTS_A_DAY = {"S": 50, "M": 80, "L": 150}
SIZES = "SML"


class Lockers:
    def __init__(self, sizes):
        for size in sizes.values():
            self._rank(size)
        self._sizes = dict(sizes)
        self._inside = {}

    def deposit(self, parcel, size, now):
        if parcel in self._inside:
            raise ValueError(f"{parcel} is inside already")
        fitting = self._fitting(size)
        if not fitting:
            raise LookupError(f"no free locker for size {size}")
        name = min(fitting, key=lambda name: (self._rank(self._sizes[name]), name))
        self._inside[parcel] = (name, now)
        return name

    def collect(self, parcel, now):
        name, since = self._inside[parcel]
        if now < since:
            raise ValueError(f"{parcel} was put in at {since}")
        del self._inside[parcel]
        beyond = max(0, now - since - FREE_HOURS)
        days = -(-beyond // 24)
        return min(MAX_CENTS, int(days) * CENTS_A_DAY[self._sizes[name]])

    def expired(self, now):
        late = [(since, parcel) for parcel, (_, since) in self._inside.items() if now - since > KEEP_HOURS]
        return [parcel for _, parcel in sorted(late)]

    def free(self, size):
        return len(self._fitting(size))

    def _fitting(self, size):
        taken = {name for name, _ in self._inside.values()}
        least = self._rank(size)
        return [name for name, own in self._sizes.items() if name not in taken and self._rank(own) >= least]

    @staticmethod
    def _rank(size):
        if size not in CENTS_A_DAY:
            raise ValueError(f"a size is S, M or L: {size!r}")
        return SIZES.index(size)

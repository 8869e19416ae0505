"""Six functions that are right and fast."""

from bisect import bisect_left
from collections import Counter


def pairs(numbers, target):
    """How many pairs of numbers, at different places, have this sum."""
    found, before = 0, Counter()
    for number in numbers:
        found += before[target - number]
        before[number] += 1
    return found


def first_seen(words):
    """The words without those that were there before, whatever their case and the blanks around them. Each is
    spelled as it was first."""
    kept = {}
    for word in words:
        kept.setdefault(word.strip().lower(), word)
    return list(kept.values())


def nearest(stations, places):
    """For each place the station that is nearest to it, all on one line; of two the smaller one. ValueError
    without stations."""
    line = sorted(stations)
    found = []
    for place in places:
        if not line:
            raise ValueError("no stations")
        at = bisect_left(line, place)
        around = line[max(0, at - 1) : at + 1]
        found.append(min(around, key=lambda station: (abs(station - place), station)))
    return found


def ways(cents, coins):
    """In how many ways a sum can be paid with such coins, as many of each as one likes. Two coins of the same
    value are two kinds. ValueError for a coin that is worth nothing."""
    if any(coin <= 0 for coin in coins):
        raise ValueError(coins)
    if cents < 0:
        return 0
    known = [1] + [0] * cents
    for coin in coins:
        for value in range(coin, cents + 1):
            known[value] += known[value - coin]
    return known[cents]


def merged(spans):
    """Spans (start, end) put together where they overlap or touch, sorted. ValueError for one that ends
    before it starts."""
    spans = list(spans)
    for start, end in spans:
        if end < start:
            raise ValueError(f"{start} to {end}")
    done = []
    for start, end in sorted(spans):
        if done and start <= done[-1][1]:
            done[-1] = (done[-1][0], max(done[-1][1], end))
        else:
            done.append((start, end))
    return done


def busiest(times, width):
    """The most times that lie in one span of this width, which begins with one of them and does not contain
    its end; and where it begins, the earliest of several. (0, None) if there are none."""
    line = sorted(times)
    best, begin = 0, None
    for i, start in enumerate(line):
        count = bisect_left(line, start + width) - bisect_left(line, start)
        if count > best:
            best, begin = count, start
    return best, begin

"""Six functions that are right and slow."""


def pairs(numbers, target):
    """How many pairs of numbers, at different places, have this sum."""
    found = 0
    for i in range(len(numbers)):
        for j in range(i + 1, len(numbers)):
            if numbers[i] + numbers[j] == target:
                found += 1
    return found


def first_seen(words):
    """The words without those that were there before, whatever their case and the blanks around them. Each is
    spelled as it was first."""
    kept = []
    for word in words:
        if not any(word.strip().lower() == other.strip().lower() for other in kept):
            kept.append(word)
    return kept


def nearest(stations, places):
    """For each place the station that is nearest to it, all on one line; of two the smaller one. ValueError
    without stations."""
    found = []
    for place in places:
        best = None
        for station in stations:
            if best is None or (abs(station - place), station) < (abs(best - place), best):
                best = station
        if best is None:
            raise ValueError("no stations")
        found.append(best)
    return found


def ways(cents, coins):
    """In how many ways a sum can be paid with such coins, as many of each as one likes. Two coins of the same
    value are two kinds. ValueError for a coin that is worth nothing."""
    if any(coin <= 0 for coin in coins):
        raise ValueError(coins)
    if cents == 0:
        return 1
    if cents < 0 or not coins:
        return 0
    return ways(cents - coins[0], coins) + ways(cents, coins[1:])


def merged(spans):
    """Spans (start, end) put together where they overlap or touch, sorted. ValueError for one that ends
    before it starts."""
    left = list(spans)
    for start, end in left:
        if end < start:
            raise ValueError(f"{start} to {end}")
    done = []
    while left:
        start, end = left.pop(0)
        again = True
        while again:
            again = False
            for other in left:
                if other[0] <= end and start <= other[1]:
                    start, end = min(start, other[0]), max(end, other[1])
                    left.remove(other)
                    again = True
                    break
        done.append((start, end))
    return sorted(done)


def busiest(times, width):
    """The most times that lie in one span of this width, which begins with one of them and does not contain
    its end; and where it begins, the earliest of several. (0, None) if there are none."""
    best, begin = 0, None
    for start in times:
        count = sum(1 for time in times if start <= time < start + width)
        if count > best or (count == best and begin is not None and start < begin):
            best, begin = count, start
    return best, begin

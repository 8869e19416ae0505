"""Divides sums of money, in cents, so that no cent is lost."""


def split(cents, parts):
    """`cents` in so many parts that differ by one cent at most, those farther from zero first. A refund is a
    sum below zero. ValueError for fewer than one part."""
    if parts < 1:
        raise ValueError(f"{parts} parts")
    each, left = divmod(abs(cents), parts)
    found = [each + 1] * left + [each] * (parts - left)
    return [-part for part in found] if cents < 0 else found


def by_weight(cents, weights):
    """`cents` by weights, rounded towards zero; what that leaves goes to the heaviest, the first of them."""
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise ValueError(f"weights {weights}")
    parts = [abs(cents) * weight // whole for weight in weights]
    parts[weights.index(max(weights))] += abs(cents) - sum(parts)
    return [-part for part in parts] if cents < 0 else parts

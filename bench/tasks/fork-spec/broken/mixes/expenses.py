"""What the members of a club have laid out, and what they get back.

A claim is a tuple: the member, what it was for, and the cents.
"""


def statement(claims, limit=None):
    """The month's statement as text, with the total as its last line. No claim counts for more than `limit`."""
    claims = limited(claims, limit)
    lines = [f"{member}: {what} {euros(cents)}" for member, what, cents in claims]
    return "\n".join([*lines, f"total {euros(total(claims))}"])


def by_member(claims, limit=None):
    """What each member gets back, in cents. Claims over `limit` are left out."""
    sums = {}
    for member, _, cents in claims:
        if limit is None or cents <= limit:
            sums[member] = sums.get(member, 0) + cents
    return sums


def total(claims, limit=None):
    """What the club pays, in cents. No claim counts for more than `limit`."""
    return sum(cents for _, _, cents in limited(claims, limit))


def limited(claims, limit):
    """The claims, those over the limit cut to it: everybody who handed in a receipt gets something."""
    if limit is None:
        return claims
    return [(member, what, min(cents, limit)) for member, what, cents in claims]


def euros(cents):
    return f"{cents // 100}.{cents % 100:02d}"

"""What the members of a club have laid out, and what they get back.

A claim is a tuple: the member, what it was for, and the cents.
"""


def statement(claims):
    """The month's statement as text, with the total as its last line."""
    lines = [f"{member}: {what} {euros(cents)}" for member, what, cents in claims]
    return "\n".join([*lines, f"total {euros(total(claims))}"])


def by_member(claims):
    """What each member gets back, in cents."""
    sums = {}
    for member, _, cents in claims:
        sums[member] = sums.get(member, 0) + cents
    return sums


def total(claims):
    """What the club pays, in cents."""
    return sum(cents for _, _, cents in claims)


def euros(cents):
    return f"{cents // 100}.{cents % 100:02d}"

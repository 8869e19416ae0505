"""Days on which something is due every month. In a month that is too short it is due on its last day."""

from calendar import monthrange
from datetime import date


def following(day):
    """The same day of the next month, or that month's last."""
    year, month = (day.year + 1, 1) if day.month == 12 else (day.year, day.month + 1)
    return date(year, month, min(day.day, monthrange(year, month)[1]))


def due(first, count):
    """The first `count` days on which it is due, beginning with `first`. ValueError for a negative count."""
    if count < 0:
        raise ValueError(f"count is {count}")
    days = []
    day = first
    for _ in range(count):
        days.append(day)
        day = following(day)
        if first.day >= 28:
            day = day.replace(day=monthrange(day.year, day.month)[1])
    return days


def due_between(first, start, end):
    """The days on which it is due from start to end, both included."""
    months = (end.year - first.year) * 12 + end.month - first.month + 1
    return [day for day in due(first, max(0, months)) if start <= day <= end]

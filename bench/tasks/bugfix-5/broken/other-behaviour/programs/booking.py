"""Rooms, booked by the minute. A booking holds its first minute and not its last: one may begin when
another ends."""


class Taken(Exception):
    """The room is somebody else's then. `by`: whose."""

    def __init__(self, by):
        super().__init__(f"taken by {by}")
        self.by = by


class Room:
    def __init__(self):
        self._bookings = []

    def book(self, start, end, who):
        """Raises ValueError if it does not end after it starts, and Taken."""
        if end <= start:
            raise ValueError(f"ends at {end}, starts at {start}")
        for other_start, other_end, other in self._bookings:
            if start <= other_end and other_start <= end:
                raise Taken(other)
        self._bookings.append((start, end, who))
        self._bookings.sort()

    def free(self, start, end):
        """The minutes between start and end that nobody has booked, as pairs in order."""
        gaps = []
        for other_start, other_end, _ in self._bookings:
            if other_end <= start or other_start >= end:
                continue
            if other_start > start:
                gaps.append((start, other_start))
            start = other_end
        return gaps + [(start, end)] if start < end else gaps

"""What is asked of the five programs: where the fault showed, and what was right and must stay so.

A case is an expression and its value; "raise NAME" is an exception.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    setup: str
    fault: tuple
    kept: tuple

    @property
    def all(self):
        return (*self.fault, *self.kept)


BOOKING = """
from booking import *
def booked(*bookings):
    room, said = Room(), []
    for booking in bookings:
        try:
            room.book(*booking)
        except Taken as taken:
            said.append("taken by " + taken.by)
        except ValueError:
            said.append("no")
    return said, room.free(0, 100)
"""
CSV = "from csvline import *"
MONTHLY = """
from datetime import date
import monthly
def due(first, count):
    return " ".join(str(day) for day in monthly.due(date(*first), count))
def between(first, start, end):
    return " ".join(str(day) for day in monthly.due_between(date(*first), date(*start), date(*end)))
def following(*day):
    return str(monthly.following(date(*day)))
"""
BUILD = """
import buildorder
def order(**needs):
    try:
        return buildorder.order(needs)
    except buildorder.Circle as circle:
        return "circle", circle.path
"""
SHARES = "from shares import *"

CASES = {
    "booking": Program(
        BOOKING,
        fault=(
            ("booked((40, 50, 'a'), (30, 60, 'b'))", (["taken by a"], [(0, 40), (50, 100)])),
            ("booked((1, 2, 'a'), (0, 100, 'b'))", (["taken by a"], [(0, 1), (2, 100)])),
            ("booked((10, 20, 'a'), (30, 40, 'b'), (5, 45, 'c'))[0]", ["taken by a"]),
            ("booked((30, 40, 'b'), (20, 50, 'c'), (40, 50, 'd'))", (["taken by b"], [(0, 30), (50, 100)])),
        ),
        kept=(
            ("booked((40, 50, 'a'), (50, 60, 'b'), (30, 40, 'c'))", ([], [(0, 30), (60, 100)])),
            ("booked((40, 50, 'a'), (40, 50, 'b'))[0]", ["taken by a"]),
            ("booked((40, 50, 'a'), (42, 44, 'b'))[0]", ["taken by a"]),
            ("booked((40, 50, 'a'), (40, 60, 'b'), (30, 50, 'c'))[0]", ["taken by a", "taken by a"]),
            ("booked((40, 50, 'a'), (49, 60, 'b'), (30, 41, 'c'))[0]", ["taken by a", "taken by a"]),
            ("booked((40, 40, 'a'), (50, 40, 'b'))", (["no", "no"], [(0, 100)])),
            ("booked((0, 100, 'a'))[1]", []),
        ),
    ),
    "csvline": Program(
        CSV,
        fault=(
            ("""fields('"a"",b",2')""", ['a",b', "2"]),
            ("""fields('x,"a"",","b"",y"')""", ["x", 'a",', 'b",y']),
            ("""fields('"1"",2"",3"')""", ['1",2",3']),
            ("""fields(joined(['",', ',"', '","']))""", ['",', ',"', '","']),
        ),
        kept=(
            ("""fields('')""", [""]),
            ("""fields('a,,b')""", ["a", "", "b"]),
            ("""fields('"",2')""", ["", "2"]),
            ("""fields('"a ""b"" c",2')""", ['a "b" c', "2"]),
            ("""fields('"b""')""", "raise ValueError"),
            ("""fields('"open,1')""", "raise ValueError"),
            ("""fields('a"b,c')""", ['a"b', "c"]),
            ("""fields(' "a", b ')""", [' "a"', " b "]),
            ("""joined(['a', 'b"c', '', 'd,e'])""", 'a,"b""c",,"d,e"'),
        ),
    ),
    "monthly": Program(
        MONTHLY,
        fault=(
            ("due((2026, 1, 31), 4)", "2026-01-31 2026-02-28 2026-03-31 2026-04-30"),
            ("due((2027, 12, 30), 4)", "2027-12-30 2028-01-30 2028-02-29 2028-03-30"),
            ("due((2026, 3, 31), 3)", "2026-03-31 2026-04-30 2026-05-31"),
            ("due((2026, 1, 29), 26)[-10:]", "2028-02-29"),
            ("between((2026, 1, 31), (2026, 3, 1), (2026, 4, 30))", "2026-03-31 2026-04-30"),
        ),
        kept=(
            ("following(2026, 1, 31)", "2026-02-28"),
            ("following(2026, 2, 28)", "2026-03-28"),
            ("following(2026, 12, 31)", "2027-01-31"),
            ("due((2026, 4, 30), 3)", "2026-04-30 2026-05-30 2026-06-30"),
            ("due((2026, 2, 28), 2)", "2026-02-28 2026-03-28"),
            ("due((2026, 11, 5), 3)", "2026-11-05 2026-12-05 2027-01-05"),
            ("due((2026, 11, 5), 0)", ""),
            ("due((2026, 11, 5), -1)", "raise ValueError"),
            ("between((2026, 1, 5), (2026, 2, 5), (2026, 4, 4))", "2026-02-05 2026-03-05"),
            ("between((2026, 1, 5), (2025, 2, 5), (2025, 4, 4))", ""),
        ),
    ),
    "buildorder": Program(
        BUILD,
        fault=(
            ("order(app=['ui', 'net'], ui=['log'], net=['log'])", ["log", "ui", "net", "app"]),
            ("order(d=['a', 'b', 'a'])", ["a", "b", "d"]),
            ("order(a=[], b=['a'])", ["a", "b"]),
            ("order(a=['b'], c=['b', 'a'])", ["b", "a", "c"]),
            ("order(a=['b', 'c'], b=['c'], c=['d'])", ["d", "c", "b", "a"]),
        ),
        kept=(
            ("order()", []),
            ("order(c=['b'], b=['a'])", ["a", "b", "c"]),
            ("order(b=[], a=['z', 'y'])", ["b", "z", "y", "a"]),
            ("order(a=['a'])", ("circle", ["a", "a"])),
            ("order(a=['b'], b=['a'])", ("circle", ["a", "b", "a"])),
            ("order(x=['a'], a=['b'], b=['c'], c=['a'])", ("circle", ["a", "b", "c", "a"])),
        ),
    ),
    "shares": Program(
        SHARES,
        fault=(
            ("split(-1000, 3)", [-334, -333, -333]),
            ("split(-5, 3)", [-2, -2, -1]),
            ("split(-1, 4)", [-1, 0, 0, 0]),
            ("split(-7, 2)", [-4, -3]),
        ),
        kept=(
            ("split(1000, 3)", [334, 333, 333]),
            ("split(2, 4)", [1, 1, 0, 0]),
            ("split(0, 2)", [0, 0]),
            ("split(-9, 3)", [-3, -3, -3]),
            ("split(-5, 1)", [-5]),
            ("split(5, 0)", "raise ValueError"),
            ("split(-5, -1)", "raise ValueError"),
            ("by_weight(-100, [1, 2])", [-33, -67]),
            ("by_weight(100, [1, 1, 1])", [34, 33, 33]),
            ("by_weight(100, [0])", "raise ValueError"),
        ),
    ),
}

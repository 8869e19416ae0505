"""What works and must go on working: python3 -m unittest discover -s tests"""

import sys
import unittest
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "programs"))
from booking import Room, Taken
from buildorder import Circle, order
from csvline import fields, joined
from monthly import due, due_between, following
from shares import by_weight, split


class Booking(unittest.TestCase):
    def test_one_after_the_other(self):
        room = Room()
        room.book(600, 660, "Ada")
        room.book(660, 700, "Bob")
        self.assertEqual(room.free(590, 710), [(590, 600), (700, 710)])

    def test_taken(self):
        room = Room()
        room.book(600, 660, "Ada")
        with self.assertRaises(Taken):
            room.book(630, 700, "Bob")


class Csv(unittest.TestCase):
    def test_plain_and_quoted(self):
        self.assertEqual(fields('a,"b,c",'), ["a", "b,c", ""])

    def test_joined(self):
        self.assertEqual(joined(["a", "b,c"]), 'a,"b,c"')


class Monthly(unittest.TestCase):
    def test_short_months(self):
        self.assertEqual(following(date(2026, 1, 31)), date(2026, 2, 28))
        self.assertEqual(due(date(2026, 12, 5), 2), [date(2026, 12, 5), date(2027, 1, 5)])

    def test_between(self):
        found = due_between(date(2026, 1, 10), date(2026, 2, 1), date(2026, 3, 10))
        self.assertEqual(found, [date(2026, 2, 10), date(2026, 3, 10)])


class BuildOrder(unittest.TestCase):
    def test_a_chain(self):
        self.assertEqual(order({"c": ["b"], "b": ["a"]}), ["a", "b", "c"])

    def test_a_circle(self):
        with self.assertRaises(Circle) as caught:
            order({"a": ["b"], "b": ["a"]})
        self.assertEqual(caught.exception.path, ["a", "b", "a"])


class Shares(unittest.TestCase):
    def test_split(self):
        self.assertEqual(split(1000, 3), [334, 333, 333])

    def test_by_weight(self):
        self.assertEqual(by_weight(-100, [1, 2]), [-33, -67])


if __name__ == "__main__":
    unittest.main()

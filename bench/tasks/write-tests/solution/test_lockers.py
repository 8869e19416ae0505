import unittest

from lockers import FREE_HOURS, KEEP_HOURS, MAX_CENTS, Lockers


def wall():
    return Lockers({"s2": "S", "s1": "S", "m1": "M", "l1": "L", "a9": "L"})


class Building(unittest.TestCase):
    def test_wrong_size(self):
        with self.assertRaises(ValueError):
            Lockers({"x": "XL"})


class Deposits(unittest.TestCase):
    def test_smallest_then_first_by_name(self):
        lockers = wall()
        self.assertEqual([lockers.deposit(f"p{i}", "S", 0) for i in range(5)], ["s1", "s2", "m1", "a9", "l1"])

    def test_only_where_it_fits(self):
        lockers = wall()
        self.assertEqual([lockers.deposit(f"p{i}", "M", 0) for i in range(3)], ["m1", "a9", "l1"])
        with self.assertRaises(LookupError):
            lockers.deposit("p3", "M", 0)

    def test_inside_already(self):
        lockers = wall()
        lockers.deposit("p", "S", 0)
        with self.assertRaises(ValueError):
            lockers.deposit("p", "L", 1)

    def test_wrong_size(self):
        with self.assertRaises(ValueError):
            wall().deposit("p", "SM", 0)

    def test_free_again(self):
        lockers = Lockers({"m1": "M"})
        lockers.deposit("p", "S", 0)
        lockers.collect("p", 1)
        self.assertEqual(lockers.deposit("q", "M", 2), "m1")


class Prices(unittest.TestCase):
    def price(self, hours, size="S", locker="S"):
        lockers = Lockers({"x": locker})
        lockers.deposit("p", size, 10)
        return lockers.collect("p", 10 + hours)

    def test_free_hours(self):
        self.assertEqual([self.price(h) for h in (0, 1, FREE_HOURS)], [0, 0, 0])

    def test_begun_days(self):
        self.assertEqual([self.price(FREE_HOURS + h) for h in (0.5, 1, 24, 25, 48)], [50, 50, 50, 100, 100])

    def test_the_lockers_size(self):
        found = [self.price(FREE_HOURS + 1, "S", locker) for locker in "SML"]
        self.assertEqual(found, [50, 80, 150])

    def test_never_more(self):
        self.assertEqual(self.price(FREE_HOURS + 24 * 20), MAX_CENTS)
        self.assertEqual(self.price(10000, locker="L"), MAX_CENTS)

    def test_not_inside(self):
        lockers = wall()
        with self.assertRaises(KeyError):
            lockers.collect("p", 0)
        lockers.deposit("p", "S", 0)
        lockers.collect("p", 0)
        with self.assertRaises(KeyError):
            lockers.collect("p", 0)

    def test_before_its_deposit(self):
        lockers = wall()
        lockers.deposit("p", "S", 5)
        with self.assertRaises(ValueError):
            lockers.collect("p", 4)
        self.assertEqual(lockers.collect("p", 5), 0)


class Expiry(unittest.TestCase):
    def test_order_and_edge(self):
        lockers = wall()
        for parcel, now in (("z", 3), ("b", 1), ("c", 0), ("a", 1)):
            lockers.deposit(parcel, "S", now)
        self.assertEqual(lockers.expired(KEEP_HOURS), [])
        self.assertEqual(lockers.expired(KEEP_HOURS + 2), ["c", "a", "b"])


class Free(unittest.TestCase):
    def test_counts(self):
        lockers = wall()
        lockers.deposit("p", "M", 0)
        self.assertEqual([lockers.free(size) for size in "SML"], [4, 2, 2])


if __name__ == "__main__":
    unittest.main()

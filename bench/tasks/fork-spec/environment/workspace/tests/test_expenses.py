"""python3 -m unittest discover -s tests"""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from expenses import by_member, statement, total

CLAIMS = [("Ada", "train", 4250), ("Bob", "paint", 1805), ("Ada", "stamps", 360)]


class WithoutALimit(unittest.TestCase):
    def test_statement(self):
        lines = ["Ada: train 42.50", "Bob: paint 18.05", "Ada: stamps 3.60", "total 64.15"]
        self.assertEqual(statement(CLAIMS).splitlines(), lines)
        self.assertEqual(statement([]), "total 0.00")

    def test_by_member(self):
        self.assertEqual(by_member(CLAIMS), {"Ada": 4610, "Bob": 1805})

    def test_total(self):
        self.assertEqual(total(CLAIMS), 6415)


class WithALimit(unittest.TestCase):
    def test_none_is_no_limit(self):
        self.assertEqual(statement(CLAIMS, limit=None), statement(CLAIMS))
        self.assertEqual(by_member(CLAIMS, limit=None), by_member(CLAIMS))
        self.assertEqual(total(CLAIMS, None), 6415)

    def test_claims_below_the_limit(self):
        self.assertEqual(statement(CLAIMS, 5000), statement(CLAIMS))
        self.assertEqual(by_member(CLAIMS, 5000), by_member(CLAIMS))
        self.assertEqual(total(CLAIMS, 5000), 6415)

    def test_a_claim_of_exactly_the_limit(self):
        self.assertEqual(statement(CLAIMS, limit=4250), statement(CLAIMS))
        self.assertEqual(by_member(CLAIMS, limit=4250), by_member(CLAIMS))
        self.assertEqual(total(CLAIMS, limit=4250), 6415)

    def test_a_member_may_have_several_claims(self):
        claims = [("Ada", "train", 3000), ("Ada", "train back", 3000)]
        self.assertEqual(by_member(claims, 3000), {"Ada": 6000})


if __name__ == "__main__":
    unittest.main()

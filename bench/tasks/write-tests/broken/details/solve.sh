#!/usr/bin/env bash
# Tests of how it is built and of what the specification leaves open.
set -eu
cat > test_lockers.py <<'PYTHON'
import unittest
from pathlib import Path

import lockers


class Lockers(unittest.TestCase):
    def test_private_table(self):
        wall = lockers.Lockers({"a": "S", "b": "M"})
        self.assertEqual(wall.deposit("p", "S", 3), "a")
        self.assertEqual(wall._inside, {"p": ("a", 3)})

    def test_message(self):
        with self.assertRaisesRegex(LookupError, "no free locker for size S"):
            lockers.Lockers({}).deposit("p", "S", 0)

    def test_source(self):
        self.assertEqual(hash(Path(lockers.__file__).read_text()), hash(SOURCE))

    def test_price(self):
        wall = lockers.Lockers({"a": "S"})
        wall.deposit("p", "S", 0)
        self.assertEqual(wall.collect("p", 49), 50)


SOURCE = ""
PYTHON
python3 -I - <<'PYTHON'
from pathlib import Path
tests = Path("test_lockers.py")
tests.write_text(tests.read_text().replace('SOURCE = ""', f"SOURCE = {Path('lockers.py').read_text()!r}"))
PYTHON

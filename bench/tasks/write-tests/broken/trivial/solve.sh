#!/usr/bin/env bash
# Tests that pass, whatever they are given.
set -eu
cat > test_lockers.py <<'PYTHON'
import unittest

import lockers


class Lockers(unittest.TestCase):
    def test_it_is_there(self):
        self.assertTrue(callable(lockers.Lockers))

    def test_it_can_be_built(self):
        self.assertIsNotNone(lockers.Lockers({"a": "S"}))

    def test_deposit_and_collect(self):
        wall = lockers.Lockers({"a": "S"})
        wall.deposit("p", "S", 0)
        wall.collect("p", 1)
PYTHON

"""How many trials were at work at once."""

from __future__ import annotations

from bench.neighbours import Neighbours


def test_each_stay_knows_the_most_there_were_beside_it() -> None:
    there = Neighbours()
    with there.among() as first:
        with there.among() as second:
            pass
        with there.among() as third, there.among() as fourth:
            pass
    with there.among() as alone:
        pass
    assert [stay.most for stay in (first, second, third, fourth, alone)] == [2, 1, 2, 2, 0]

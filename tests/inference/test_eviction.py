"""choose_victims: enough, least recently used, nobody for nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference.eviction import Resident, choose_victims


def test_nothing_missing_evicts_nobody() -> None:
    assert choose_victims(0, [Resident("a", 10, 0.0)]) == ()
    assert choose_victims(-5, [Resident("a", 10, 0.0)]) == ()


def test_least_recently_used_leaves_first() -> None:
    residents = [Resident("new", 10, 9.0), Resident("old", 10, 1.0), Resident("middle", 10, 5.0)]
    assert choose_victims(5, residents) == ("old",)
    assert choose_victims(15, residents) == ("old", "middle")


def test_too_few_bytes_in_all_evicts_nobody() -> None:
    assert choose_victims(21, [Resident("a", 10, 0.0), Resident("b", 10, 1.0)]) is None
    assert choose_victims(1, []) is None


def test_a_small_one_stays_when_a_larger_one_must_leave_anyway() -> None:
    residents = [Resident("small", 10, 1.0), Resident("large", 100, 2.0)]
    assert choose_victims(60, residents) == ("large",)


residents_strategy = st.lists(st.tuples(st.integers(0, 50), st.floats(0, 10)), max_size=8).map(
    lambda rows: [Resident(f"m{i}", size, used) for i, (size, used) in enumerate(rows)]
)


@given(missing=st.integers(-10, 300), residents=residents_strategy)
def test_victims_free_enough_and_none_is_superfluous(missing: int, residents: list[Resident]) -> None:
    sizes = {resident.name: resident.footprint_bytes for resident in residents}
    victims = choose_victims(missing, residents)
    if victims is None:
        assert sum(sizes.values()) < missing
        return
    freed = sum(sizes[name] for name in victims)
    assert freed >= missing
    assert all(freed - sizes[name] < missing for name in victims)

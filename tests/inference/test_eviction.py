"""choose_victims: enough, least recently used, nobody for nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference.eviction import Resident, choose_victims


def test_nothing_missing_evicts_nobody() -> None:
    assert choose_victims(0, [Resident("a", 10)]) == ()
    assert choose_victims(-5, [Resident("a", 10)]) == ()


def test_least_recently_used_leaves_first() -> None:
    residents = [Resident("new", 10, 1.0), Resident("old", 10, 9.0), Resident("middle", 10, 5.0)]
    assert choose_victims(5, residents) == ("old",)
    assert choose_victims(15, residents) == ("old", "middle")


def test_too_few_bytes_in_all_evicts_nobody() -> None:
    assert choose_victims(21, [Resident("a", 10), Resident("b", 10)]) is None
    assert choose_victims(1, []) is None


def test_a_small_one_stays_when_a_larger_one_must_leave_anyway() -> None:
    residents = [Resident("small", 10, 9.0), Resident("large", 100, 8.0)]
    assert choose_victims(60, residents) == ("large",)


def test_what_is_quick_to_have_back_leaves_before_what_is_not() -> None:
    residents = [Resident("slow", 50, 9.0, reload_s=30.0), Resident("quick", 50, 1.0, reload_s=2.0)]
    assert choose_victims(50, residents) == ("quick",)


def test_caches_worth_keeping_are_kept_until_they_have_long_been_unused() -> None:
    def victims(idle_s: float) -> tuple[str, ...] | None:
        with_session = Resident("session", 50, idle_s, reload_s=2.0 + 60.0)
        return choose_victims(50, [with_session, Resident("fresh", 50, 0.0, reload_s=2.0)])

    assert victims(60.0) == ("fresh",)
    assert victims(6000.0) == ("session",)


def test_two_small_ones_may_be_cheaper_than_a_large_one() -> None:
    residents = [Resident("large", 100, 0.0, 30.0), Resident("a", 50, 0.0, 2.0), Resident("b", 50, 0.0, 2.0)]
    assert set(choose_victims(90, residents) or ()) == {"a", "b"}


def test_a_higher_priority_stays_whatever_it_costs_the_others() -> None:
    residents = [Resident("vip", 100, 500.0, 1.0, priority=1), Resident("a", 100, 0.0, 900.0)]
    assert choose_victims(90, residents) == ("a",)


def test_a_large_crowd_is_chosen_from_quickly_and_without_the_superfluous() -> None:
    crowd = [Resident(f"m{i}", 10 + i, float(i), reload_s=1.0 + i % 3) for i in range(60)]
    sizes = {r.name: r.footprint_bytes for r in crowd}
    victims = choose_victims(500, crowd)
    assert victims is not None
    freed = sum(sizes[name] for name in victims)
    assert freed >= 500
    assert all(freed - sizes[name] < 500 for name in victims)


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

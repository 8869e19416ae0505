"""A judge asked about fields of known truth, by every method. The truth is not among what it sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from bench.selection.calibration import Examined, Spent
from bench.selection.judge import Seat
from bench.selection.known_truth import KnownField
from bench.selection.orders import balanced_orders, both_ways
from bench.selection.procedure import Prepared, Questions, balloted, noted, prepared

T = TypeVar("T")


def case_of(known: KnownField) -> Prepared | str:
    """What can be asked of it, or why nothing can."""
    case = prepared(known.field, known.text, rewards_are_hidden=True)
    if len(case.compared) < 2:
        return "fewer than two clusters: nothing to choose"
    truths = {known.truth(one) for one in case.compared}
    if len(truths) == 1:
        return f"all that are compared are worth the same ({truths.pop():g})"
    return case


async def examined(known: KnownField, case: Prepared, seat: Seat, seed: int | str) -> Examined:
    n = len(case.compared)
    asking = {purpose: Questions(seat.judge) for purpose in ("notes", "pairs", "lists")}
    notes, noting = await _measured(asking["notes"], seat, lambda questions: noted(case, questions))
    pairs, pairing = await _measured(
        asking["pairs"], seat, lambda questions: balloted(case, notes, both_ways(n), questions)
    )
    orders = balanced_orders(n, f"{seed}:{known.field.task}:{known.field.attempt}")
    lists, listing = await _measured(
        asking["lists"], seat, lambda questions: balloted(case, notes, orders, questions)
    )
    problems = [problem for questions in asking.values() for problem in questions.problems]
    problems += [questions.stopped for questions in asking.values() if questions.stopped]
    return Examined(
        task=known.field.task,
        names=tuple(one.name for one in case.compared),
        truths=tuple(known.truth(one) for one in case.compared),
        single=_single(known),
        notes=tuple(notes),
        pairs=tuple(pairs),
        lists=tuple(lists),
        noting=noting,
        pairing=pairing,
        listing=listing,
        problems=tuple(dict.fromkeys(problems)),
    )


async def _measured(
    questions: Questions, seat: Seat, ask: Callable[[Questions], Coroutine[Any, Any, T]]
) -> tuple[T, Spent]:
    begun_s = time.monotonic()
    answers = await ask(questions)
    seconds = time.monotonic() - begun_s
    return answers, Spent(
        questions=questions.asked,
        tokens=questions.input_tokens + questions.output_tokens,
        cost_usd=await seat.costs.of(questions.request_ids),
        seconds=seconds,
    )


def _single(known: KnownField) -> float | None:
    """What the configuration that is best elsewhere is worth here; None: nothing is known of elsewhere."""
    here = {one.name: known.truth(one) for one in known.field.candidates}
    there = {name: value for name, value in known.singles.items() if name in here}
    return here[max(sorted(there), key=lambda name: there[name])] if there else None

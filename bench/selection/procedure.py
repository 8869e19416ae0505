"""One field, from candidates to what is chosen: prune, cluster, note each alone, compare all in every order.

The judge is asked through a `Questions`, which counts and never raises for an answer that it does not get: an
unreadable answer is a ballot too, and a judge that cannot be asked at all abstains.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, TypeVar

from bench.candidates import Candidate, Field
from bench.errors import BenchError
from bench.selection.anonymity import Scrubber, scrubber_for, shown_field
from bench.selection.judge import Judge, Reply, TooLong
from bench.selection.orders import Order, balanced_orders
from bench.selection.prompts import (
    NoRoom,
    Note,
    Prompt,
    Shown,
    comparison_prompt,
    note_prompt,
    read_note,
    read_ranking,
)
from bench.selection.pruning import Pruned, pruned, visible_share
from bench.selection.record import Asked, Decision, Selection, Standing
from bench.selection.record import Shown as ShownOrder
from bench.selection.verdict import Ballot, Verdict, ballot_of, verdict_of

SHRINK, MAX_SHRINKS = 0.6, 4
MAX_REASONS = 3
MAX_PROBLEMS = 10

T = TypeVar("T")


class Questions:
    """What one judge is asked for one purpose, and what that came to. `stopped`: why it cannot be asked."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._problems: Counter[str] = Counter()
        self.stopped = ""
        self.asked = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.request_ids: list[str] = []

    async def note(self, task: str, shown: Shown) -> Note | None:
        text = await self._answer(lambda room: note_prompt(task, shown, room))
        note = None if text is None else read_note(text)
        if text is not None and note is None:
            self._problems["a note could not be read"] += 1
        return note

    async def ballot(
        self, task: str, shown: Sequence[Shown], notes: Sequence[Note | None], order: Order, scrub: Scrubber
    ) -> Ballot:
        placed, said = [shown[place] for place in order], [notes[place] for place in order]
        text = await self._answer(lambda room: comparison_prompt(task, placed, said, room))
        ranking = None if text is None else read_ranking(text, len(order))
        if text is not None and ranking is None:
            self._problems["a ranking could not be read"] += 1
        if ranking is not None:
            ranking = ranking.model_copy(update={"reason": scrub(ranking.reason)})
        return ballot_of(order, ranking)

    @property
    def problems(self) -> tuple[str, ...]:
        shown = (f"{what} ({times} times)" if times > 1 else what for what, times in self._problems.items())
        return tuple(shown)[:MAX_PROBLEMS]

    async def _answer(self, build: Callable[[int], Prompt]) -> str | None:
        """None: there is none."""
        if self.stopped:
            return None
        try:
            reply = await self._fitting(build)
        except (BenchError, NoRoom, TooLong) as error:
            self.stopped = str(error)
            return None
        self.asked += 1
        self.input_tokens += reply.input_tokens
        self.output_tokens += reply.output_tokens
        self.request_ids += [reply.request_id] if reply.request_id else []
        if reply.problem:
            self._problems[reply.problem] += 1
        return reply.text or None

    async def _fitting(self, build: Callable[[int], Prompt]) -> Reply:
        """With less of the candidates if the judge's tokens are shorter than was thought. Raises TooLong."""
        room = self._judge.room_chars
        for shrinks_left in reversed(range(MAX_SHRINKS + 1)):
            prompt = build(room)
            try:
                reply = await self._judge.ask(prompt)
            except TooLong:
                if not shrinks_left:
                    raise
                room = int(min(room, prompt.chars) * SHRINK)
                continue
            self._problems.update(prompt.cuts)
            return reply
        raise AssertionError("the last one returns or raises")


# --- the steps -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepared:
    """Who is compared, and how a judge sees them."""

    pruned: Pruned
    task: str
    scrub: Scrubber
    shown: tuple[Shown, ...]

    @property
    def compared(self) -> tuple[Candidate, ...]:
        return self.pruned.compared


def prepared(field: Field, task: str, *, rewards_are_hidden: bool) -> Prepared:
    found = pruned(field, rewards_are_hidden=rewards_are_hidden)
    scrub = scrubber_for(task, field.candidates)
    return Prepared(found, task, scrub, tuple(shown_field(found.compared, scrub)))


async def noted(case: Prepared, questions: Questions) -> list[Note | None]:
    """Each alone."""
    notes = await _all([questions.note(case.task, one) for one in case.shown])
    return [None if note is None else case.scrub.note(note) for note in notes]


async def balloted(
    case: Prepared, notes: Sequence[Note | None], orders: Sequence[Order], questions: Questions
) -> list[Ballot]:
    """All that an order has side by side, in each of the orders."""
    asked = [questions.ballot(case.task, case.shown, notes, order, case.scrub) for order in orders]
    return await _all(asked)


async def _all(asked: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in asked]
    return [task.result() for task in tasks]


# --- a field ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Selected:
    """`ballots` for what is said of the judge over all fields; `request_ids` for what it cost."""

    selection: Selection
    ballots: tuple[Ballot, ...]
    request_ids: tuple[str, ...]


async def select_field(
    field: Field,
    task: str,
    judge: Judge,
    *,
    name: str,
    run: str,
    rewards_are_hidden: bool = False,
    seed: int | str = 0,
) -> Selected:
    """`name`: the judge's; `run`: under which it is asked; `task`: what the candidates were told."""
    case = prepared(field, task, rewards_are_hidden=rewards_are_hidden)
    questions = Questions(judge)
    notes: list[Note | None] = [None] * len(case.compared)
    ballots: list[Ballot] = []
    if len(case.compared) > 1:
        notes = await noted(case, questions)
        orders = balanced_orders(len(case.compared), f"{seed}:{field.task}:{field.attempt}")
        ballots = await balloted(case, notes, orders, questions)
    decision, winner, why, verdict = _outcome(case, ballots, questions.stopped)
    selection = Selection(
        task=field.task,
        task_digest=field.task_digest,
        attempt=field.attempt,
        judge=name,
        run=run,
        basis=case.pruned.clusters[0].basis if case.pruned.clusters else "patch",
        decision=decision,
        trial=winner.result.trial if winner else None,
        configuration=winner.name if winner else None,
        why=why,
        reasons=_reasons(case, ballots, verdict),
        standings=_standings(field, case, notes, ballots, rewards_are_hidden),
        orders=tuple(_shown_order(case, ballot) for ballot in ballots),
        agreement=verdict.agreement if verdict else None,
        follows_position=verdict.follows_position if verdict else False,
        asked=Asked(
            questions=questions.asked,
            input_tokens=questions.input_tokens,
            output_tokens=questions.output_tokens,
            problems=questions.problems,
        ),
    )
    return Selected(selection, tuple(ballots), tuple(questions.request_ids))


def _outcome(
    case: Prepared, ballots: Sequence[Ballot], stopped: str
) -> tuple[Decision, Candidate | None, str, Verdict | None]:
    match case.compared:
        case []:
            return "abstained", None, "no candidate is left to choose from", None
        case [only]:
            return "unanimous", only, _alone(case.pruned), None
    verdict = verdict_of(ballots)
    if stopped:
        return "abstained", None, stopped, verdict
    winner = None if verdict.winner is None else case.compared[verdict.winner]
    return verdict.kind, winner, verdict.why, verdict


def _alone(found: Pruned) -> str:
    """Chosen without a judge. Agreement is not called right."""
    cluster = found.clusters[0]
    if len(cluster.candidates) == 1:
        return "the only candidate that is left: chosen without asking a judge"
    same = "do the same on every probe" if cluster.basis == "behaviour" else "made the same change"
    return (
        f"the {len(cluster.candidates)} candidates that are left {same}: chosen without asking a judge;"
        " that they agree does not show that they are right"
    )


def _standings(
    field: Field,
    case: Prepared,
    notes: Sequence[Note | None],
    ballots: Sequence[Ballot],
    rewards_are_hidden: bool,
) -> tuple[Standing, ...]:
    place = {one.result.trial: at for at, one in enumerate(case.compared)}
    cluster = {
        one.result.trial: at for at, found in enumerate(case.pruned.clusters) for one in found.candidates
    }
    firsts = Counter(ballot.first for ballot in ballots)
    found: list[Standing] = []
    for one in field.candidates:
        trial = one.result.trial
        at = place.get(trial)
        found.append(
            Standing(
                trial=trial,
                configuration=one.name,
                cluster=cluster.get(trial),
                is_compared=at is not None,
                left_out=case.pruned.left_out.get(trial, ""),
                checks=visible_share(one, rewards_are_hidden=rewards_are_hidden),
                patch_chars=len(one.patch),
                note=None if at is None else notes[at],
                firsts=0 if at is None else firsts[at],
            )
        )
    return tuple(found)


def _shown_order(case: Prepared, ballot: Ballot) -> ShownOrder:
    trials = [one.result.trial for one in case.compared]
    return ShownOrder(
        order=tuple(trials[at] for at in ballot.order),
        said=ballot.said,
        ranking=tuple(trials[at] for at in ballot.ranking),
        reason=ballot.reason,
    )


def _reasons(case: Prepared, ballots: Sequence[Ballot], verdict: Verdict | None) -> tuple[str, ...]:
    """Why the judge put the chosen one first, with the letters of that order explained."""
    found: dict[str, str] = {}
    for ballot in ballots:
        is_for_it = verdict is not None and verdict.kind == "chosen" and ballot.first == verdict.winner
        if is_for_it and ballot.reason and ballot.reason not in found:
            letters = ", ".join(
                f"{letter}: {case.compared[at].name}"
                for letter, at in zip(ascii_uppercase, ballot.order, strict=False)
            )
            found[ballot.reason] = f"{ballot.reason} ({letters})"
    return tuple(found.values())[:MAX_REASONS]

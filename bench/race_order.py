"""Which candidate of a race may start when. Pure.

Local models share one device. Two candidates whose models do not fit beside each other would make the server
swap at every turn of either, so they wait for each other; a candidate waits for a slot of its model as well,
for trials that queue inside a request measure each other. Remote models need neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

Models = frozenset[str]


@dataclass(frozen=True, slots=True)
class Room:
    """`slots` and `bytes` of each local model; `free_bytes`: for all of them at once, None where the server
    does not say: then different models are taken not to fit together. `loaded`: now."""

    parallel: int
    slots: Mapping[str, int] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)
    free_bytes: int | None = None
    loaded: AbstractSet[str] = frozenset()


def may_start(models: Models, running: Sequence[Models], room: Room) -> bool:
    """`models`: the candidate's local ones; `running`: those of each candidate that is at work."""
    if len(running) >= room.parallel:
        return False
    if any(sum(model in other for other in running) >= room.slots.get(model, 1) for model in models):
        return False
    others = frozenset[str]().union(*running)
    return not models or not others or models <= others or fit(models | others, room)


def fit(models: AbstractSet[str], room: Room) -> bool:
    """Beside each other."""
    if len(models) < 2:
        return True
    return room.free_bytes is not None and sum(room.bytes.get(m, 0) for m in models) <= room.free_bytes


def next_to_start(waiting: Sequence[Models], running: Sequence[Models], room: Room) -> int | None:
    """The first that may, by its place."""
    return next((place for place, models in enumerate(waiting) if may_start(models, running, room)), None)


def in_order(candidates: Sequence[Models], room: Room) -> list[int]:
    """Places of the candidates: those without local models first, for they take no room; then those whose
    models are loaded; then always those that share most with the ones before. Equals stay together, and as
    they were given."""
    left = list(range(len(candidates)))
    order: list[int] = [place for place in left if not candidates[place]]
    left = [place for place in left if candidates[place]]
    last: AbstractSet[str] = room.loaded
    while left:
        wanted = last

        def closeness(place: int, wanted: AbstractSet[str] = wanted) -> tuple[int, int, int]:
            models = candidates[place]
            return (-len(models & wanted), len(models - wanted), place)

        chosen = min(left, key=closeness)
        same = [place for place in left if candidates[place] == candidates[chosen]]
        order += same
        left = [place for place in left if place not in same]
        last = candidates[chosen]
    return order


def said_of(names: Sequence[str], candidates: Sequence[Models], room: Room) -> list[str]:
    """In words: why not all run at once. In the order in which they are run."""
    said: list[str] = []
    if len(names) > room.parallel:
        said.append(f"{room.parallel} of {len(names)} candidates at once (--parallel)")
    for model in sorted(frozenset[str]().union(*candidates)):
        users = sum(model in models for models in candidates)
        slots = room.slots.get(model, 1)
        if min(users, room.parallel) > slots:
            said.append(f"{model} has {slots} slot{'s' if slots > 1 else ''} for {users} candidates")
    groups = list(dict.fromkeys(models for models in candidates if models))
    apart = [
        (one, other)
        for place, one in enumerate(groups)
        for other in groups[place + 1 :]
        if not (one <= other or other <= one or fit(one | other, room))
    ]
    if apart and room.parallel > 1:
        turns = "; ".join(" + ".join(sorted(group)) for group in groups)
        why = "do not fit together" if room.free_bytes is not None else "may not fit together"
        said.append(f"local models that {why} take turns, each loaded once: {turns}")
    return said

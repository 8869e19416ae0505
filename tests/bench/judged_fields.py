"""Fields of candidates whose worth is written in their patches, and judges with known habits."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase

from bench.behaviour import Behaviour, Probe
from bench.candidates import Candidate, Field
from bench.selection.judge import Reply
from bench.selection.prompts import Prompt
from tests.bench.report_results import result

WORTH = re.compile(r"\| \+worth = (\d+)")
DIGEST = "7431".ljust(64, "0")


def patch_of(*added: str, path: str = "app.py") -> str:
    lines = "\n".join(f"+{line}" for line in added)
    return (
        f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n"
        f"@@ -0,0 +1,{len(added)} @@\n{lines}\n"
    )


def candidate(
    name: str,
    *added: str,
    reward: float | None = 1.0,
    visible: float | None = None,
    outputs: dict[str, str] | None = None,
    **changes: object,
) -> Candidate:
    scores = {} if visible is None else {"visible": visible}
    found = result(name, "t1", 1, reward=reward, scores=scores, **changes)
    probes = tuple(Probe(name=probe, output=output) for probe, output in (outputs or {}).items())
    behaviour = Behaviour(probes=probes) if probes else None
    return Candidate(found, Path("trials") / name, patch_of(*added) if added else "", behaviour)


def field_of(*candidates: Candidate, task: str = "t1", attempt: int = 1) -> Field:
    return Field(task, DIGEST, attempt, tuple(sorted(candidates, key=lambda one: one.name)))


def simulated_fields(count: int, seed: int = 1) -> list[Field]:
    """Each of two to four candidates of different worth, in an order that says nothing."""
    draw = random.Random(seed)
    fields = []
    for number in range(count):
        worths = draw.sample(range(1, 10), draw.choice((2, 3, 4)))
        candidates = [
            candidate(f"c{at}", f"worth = {worth}", reward=worth / 10) for at, worth in enumerate(worths)
        ]
        fields.append(field_of(*candidates, task=f"task-{number}"))
    return fields


# --- judges ----------------------------------------------------------------------------------------

Choose = Callable[[Sequence[int]], str]
"""From the worths in the order in which they are shown: the letter that is put first."""


@dataclass(slots=True)
class Habit:
    """`choose` decides a comparison, `score` a note. Every prompt is kept."""

    choose: Choose
    score: Callable[[int], float] = lambda worth: worth
    room_chars: int = 20_000
    seen: list[Prompt] = field(default_factory=list)

    async def ask(self, prompt: Prompt) -> Reply:
        self.seen.append(prompt)
        worths = [int(found) for found in WORTH.findall(prompt.user)]
        number = str(len(self.seen))
        if prompt.schema_name == "note":
            return said(number, score=self.score(worths[0]), strengths=[], problems=[], criteria=[])
        assert re.findall(r"^## Candidate (\w)$", prompt.user, re.MULTILINE) == list(
            ascii_uppercase[: len(worths)]
        )
        return said(number, reason="r", verdict="ranked", ranking=[self.choose(worths)])


def said(request_id: str = "", **answer: object) -> Reply:
    return Reply(json.dumps(answer), request_id=request_id, input_tokens=100, output_tokens=10)


def best(worths: Sequence[int]) -> str:
    return ascii_uppercase[worths.index(max(worths))]


def first(_: Sequence[int]) -> str:
    return "A"


def mostly_first(share: float, seed: int = 3) -> Choose:
    draw = random.Random(seed)
    return lambda worths: "A" if draw.random() < share else best(worths)


def at_random(seed: int = 3) -> Choose:
    draw = random.Random(seed)
    return lambda worths: draw.choice(ascii_uppercase[: len(worths)])

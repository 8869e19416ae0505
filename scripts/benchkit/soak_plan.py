"""What the clients of the soak will ask, and when they will leave: a function of the seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchkit.soak_world import FAULTS, Mood, Served, question

Endpoint = Literal["chat/completions", "completions", "embeddings"]

UNKNOWN_MODEL = "ghost"

P_FAVOURITE = 0.5  # a client mostly talks to one model, as a session does
P_UNKNOWN = 0.01
P_FAULT = 0.03
P_LEAVES = 0.3
P_SPECIAL_LANE = 0.12
MAX_PAUSE_S = 0.4
PAUSE_AFTER_FAILURE_S = 0.7  # or a model that rests after a crash is asked hundreds of times for nothing


@dataclass(frozen=True, slots=True)
class Leaving:
    """When the client hangs up: so long after it has sent the request, or after the first byte."""

    after_s: float
    since: Literal["sent", "first byte"]


@dataclass(frozen=True, slots=True)
class Asked:
    """`run`: the run token in its path, which no other request has: the log is searched by it."""

    run: str
    model: str
    endpoint: Endpoint
    stream: bool
    lane: str | None
    mood: Mood
    word: str
    has_known_answer: bool
    leaving: Leaving | None

    @property
    def path(self) -> str:
        return f"/r/{self.run}/v1/{self.endpoint}"

    @property
    def body(self) -> dict[str, Any]:
        asked = question(self.word, self.mood)
        match self.endpoint:
            case "embeddings":
                return {"model": self.model, "input": [self.word]}
            case "completions":
                return {"model": self.model, "prompt": asked, "stream": self.stream, "max_tokens": 64}
            case "chat/completions":
                messages = [{"role": "user", "content": asked}]
                return {"model": self.model, "messages": messages, "stream": self.stream, "max_tokens": 64}


class ClientPlan:
    """The requests of one client, one after another."""

    def __init__(self, seed: int, client: int, models: Sequence[Served]) -> None:
        self._random = random.Random(f"{seed}/{client}")
        self._client = client
        self._models = models
        self._favourite = self._choice()
        self._asked = 0

    def pause_s(self, *, has_failed: bool) -> float:
        return self._random.random() ** 2 * MAX_PAUSE_S + (PAUSE_AFTER_FAILURE_S if has_failed else 0.0)

    def _choice(self) -> Served:
        return self._random.choices(self._models, [model.weight for model in self._models])[0]

    def next(self) -> Asked:
        draw = self._random
        self._asked += 1
        model = self._favourite if draw.random() < P_FAVOURITE else self._choice()
        name = UNKNOWN_MODEL if draw.random() < P_UNKNOWN else model.name
        is_text = not model.embeddings
        mood: Mood = (
            draw.choice(FAULTS) if is_text and not model.is_real and draw.random() < P_FAULT else "plain"
        )
        # An answer that hangs, alone on the machine, would be everybody's: the point here is not patience.
        lanes = ("batch",) if mood != "plain" else ("batch", "batch", "batch", "exclusive")
        return Asked(
            run=f"c{self._client}-{self._asked}",
            model=name,
            endpoint=draw.choice(("chat/completions", "completions")) if is_text else "embeddings",
            stream=is_text and draw.random() < 0.7,
            lane=draw.choice(lanes) if draw.random() < P_SPECIAL_LANE else None,
            mood=mood,
            word=f"w{draw.randrange(36**4):x}",
            has_known_answer=not model.is_real,
            leaving=_leaving(draw, mood),
        )


def _leaving(draw: random.Random, mood: Mood) -> Leaving | None:
    """Most clients of an answer that never ends lose patience: nothing else would end it for a while."""
    if draw.random() >= (0.8 if mood == "stall" else P_LEAVES):
        return None
    return Leaving(
        after_s=draw.choice((0.0, draw.random() * 0.3, draw.random() * 3.0)),
        since=draw.choice(("sent", "first byte")),
    )

"""What the soak serves: models that behave, models that do not, and configurations that change under them.

Every answer is one word of the request, ANSWER_WORDS times over: what is missing or somebody else's shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

MODEL_BYTES = 150_000_000
BUDGET_BYTES = 550_000_000
"""Room for three of the models."""

ANSWER_WORDS = 20
DIMENSIONS = 16

MAX_WAIT_S = 1.0
REQUEST_TIMEOUT_S = 20.0
LOAD_TIMEOUT_S = 4.0
STOP_GRACE_S = 2.0
SHUTDOWN_GRACE_S = 5.0

LIMITS = f"""
keepalive = "500ms"
request_timeout = {REQUEST_TIMEOUT_S}
max_queue_per_model = 16
max_queue_total = 40
max_wait = {MAX_WAIT_S}
client_stall = "10s"
shutdown_grace = {SHUTDOWN_GRACE_S}
load_timeout = {LOAD_TIMEOUT_S}
decode_stall = "2s"
stop_grace = {STOP_GRACE_S}
"""

Mood = Literal["plain", "error", "engine_fault", "kill", "abort", "stall", "hang"]
"""What a request wants to happen to its own answer: a fault of the scripted engine, by its name."""

FAULTS: tuple[Mood, ...] = tuple(mood for mood in get_args(Mood) if mood != "plain")


@dataclass(frozen=True, slots=True)
class Served:
    """A model. `load` and `pace`: keys of its script. `trap`: the file that, while absent, makes a load fail.

    `weight`: how often it is somebody's choice, in relation to the others.
    """

    name: str
    slots: int
    load: str = ""
    pace: str = ""
    trap: str | None = None
    embeddings: bool = False
    is_real: bool = False
    weight: int = 1


SWIFT = Served("swift", slots=4, weight=8)
STEADY = Served("steady", slots=2, weight=6, pace="tokens_per_second = 60.0\nfirst_token_s = 0.05")
SLOW = Served("slow", slots=1, load="seconds = 1.0", pace="tokens_per_second = 25.0")
FLAKY = Served("flaky", slots=2, load='fail = "out of luck"', trap="flaky-failed")
BRITTLE = Served("brittle", slots=2, load='seconds = 0.3\nfault = "kill"', trap="brittle-died")
MUTE = Served("mute", slots=2, load='fault = "hang"', trap="mute-hung")
VECTORS = Served("vectors", slots=2, weight=2, embeddings=True)
GUEST = Served("guest", slots=2, pace="tokens_per_second = 100.0")
REAL = Served("real", slots=2, is_real=True)

SCRIPTED = (SWIFT, STEADY, SLOW, FLAKY, BRITTLE, MUTE, VECTORS, GUEST)
TRAPS = tuple(model.trap for model in SCRIPTED if model.trap is not None)
QUICK_TRAPS = tuple(trap for trap in TRAPS if trap != MUTE.trap)
"""A load that hangs keeps every other load waiting until the server gives it up: not too often."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One state of models.toml. A changed n_ctx is another worker."""

    has_guest: bool = True
    steady_n_ctx: int = 4096
    guest_n_ctx: int = 4096
    is_broken: bool = False


def script(model: Served) -> str:
    trap = f'once_file = "{model.trap}"\n' if model.trap else ""
    head = (
        f"[model]\nmemory_bytes = {MODEL_BYTES}\ndimensions = {DIMENSIONS}\n"
        f"[load]\n{model.load}\n{trap}[defaults]\n{model.pace}\n"
    )
    turns = [
        f"[[turn]]\nmatch.user_matches = 'say (?P<word>\\w+){'' if mood == 'plain' else f' and {mood}'}$'\n"
        f'text = "@{{word}} "\nrepeat = {ANSWER_WORDS}\n'
        + ("" if mood == "plain" else f'[turn.fault]\nkind = "{mood}"\nafter_chunks = 6\n')
        for mood in (*FAULTS, "plain")
    ]
    return head + "".join(turns)


def question(word: str, mood: Mood) -> str:
    return f"say {word}" if mood == "plain" else f"say {word} and {mood}"


def expected_answer(word: str) -> str:
    return f"{word} " * ANSWER_WORDS


def models_toml(folder: Path, variant: Variant, real: Path | None) -> str:
    if variant.is_broken:
        return "[models.swift\npath = half a line"
    n_ctx = {STEADY.name: variant.steady_n_ctx, GUEST.name: variant.guest_n_ctx}
    parts = [f'[server.limits]{LIMITS}[memory]\ndevice = "cpu"\nkv_store = false\n']
    for model in SCRIPTED:
        if model is GUEST and not variant.has_guest:
            continue
        parts.append(
            f'[models.{model.name}]\nengine = "scripted"\npath = "{folder / model.name}.toml"\n'
            f"n_ctx = {n_ctx.get(model.name, 4096)}\nslots = {model.slots}\n"
            f"embeddings = {str(model.embeddings).lower()}\n"
        )
    if real is not None:
        parts.append(
            f'[models.{REAL.name}]\npath = "{real}"\nn_ctx = 512\nslots = {REAL.slots}\nn_ubatch = 64\n'
        )
    return "".join(parts)


class World:
    """The folder that the server reads."""

    def __init__(self, folder: Path, real: Path | None) -> None:
        self.folder = folder
        self.config = folder / "models.toml"
        self._real = real
        for model in SCRIPTED:
            (folder / f"{model.name}.toml").write_text(script(model), encoding="utf-8")
        self.write(Variant())

    @property
    def models(self) -> tuple[Served, ...]:
        return (*SCRIPTED, REAL) if self._real else SCRIPTED

    def write(self, variant: Variant) -> None:
        """As an editor does: a new file takes the old one's place."""
        new = self.folder / "models.toml.new"
        new.write_text(models_toml(self.folder, variant, self._real), encoding="utf-8")
        new.replace(self.config)

    def set_trap(self, name: str) -> None:
        """The next load of its model fails."""
        (self.folder / name).unlink(missing_ok=True)

    def disarm(self) -> None:
        for name in TRAPS:
            (self.folder / name).touch()

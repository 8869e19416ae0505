"""What a worker asks of an engine. Implemented by llama.py and scripted.py.

Two threads call it: the worker's reader thread calls `prepare`, the worker's main thread all
else. `prepare` does the work that needs no model state (template, tokens), so that a long
prompt costs running streams nothing until it is prefilled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from inference.messages import Embed, Generate, ModelFacts, Output
from inference.model_spec import ModelSpec

Job = TypeVar("Job")

OnProgress = Callable[[float], None]
"""Called during load with the fraction loaded, 0.0 to 1.0."""


class Engine(Protocol[Job]):
    facts: ModelFacts

    def prepare(self, message: Generate | Embed) -> Job:
        """Thread-safe. Raises HotseatError for a request that this model cannot answer."""

    def submit(self, job: Job) -> None:
        """Queue a prepared job. Never blocks."""

    def cancel(self, request_id: int) -> None:
        """Forget the request; it gets no further output. Unknown ids are ignored."""

    def step(self) -> list[Output]:
        """One decode step (or what is due now). Raises EngineFault if the engine is beyond repair."""

    def wait_s(self) -> float | None:
        """How long the caller may wait for messages before the next step: 0 now, None until one comes."""

    @property
    def archive_bytes(self) -> int:
        """Host memory taken by sequences that are in no slot; not part of what the model needs."""

    def save(self, deadline_s: float) -> int:
        """Before closing: keep sequences on disk until `deadline_s` (time.monotonic). Returns how many."""

    def close(self) -> None:
        """Free what the engine holds. Called once."""


class LoadEngine(Protocol):
    """How a worker gets its engine: the module's `load` function."""

    def __call__(self, spec: ModelSpec, on_progress: OnProgress) -> Engine[object]: ...

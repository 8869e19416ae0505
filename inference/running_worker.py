"""RunningWorker: a worker process under the pool, what it has said of itself, and what its model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference.messages import Hello, ModelFacts
from inference.pool_state import PoolModel
from inference.spare_workers import StartedWorker

if TYPE_CHECKING:
    from inference.gpu import MemoryMeter


class RunningWorker:
    def __init__(self, model: PoolModel, started: StartedWorker, started_s: float) -> None:
        self.model = model  # as it was configured when the process was started
        self.use(started)
        self.started_s = started_s
        self.ready_s: float | None = None
        self.progress: float | None = 0.0
        self.facts: ModelFacts | None = None
        self._has_served = False
        self._pid = 0
        self._baseline_bytes: int | None = None
        self._baseline_free_bytes = 0
        self._baseline_rss_bytes = 0

    def use(self, started: StartedWorker) -> None:
        self.process = started.process
        self.life = started.life
        self.was_spare = started.was_spare

    def load_s_within(self, since_s: float, until_s: float) -> float:
        """How much of a wait was spent loading this worker."""
        ready_s = until_s if self.ready_s is None else self.ready_s
        return max(0.0, min(ready_s, until_s) - max(self.started_s, since_s))

    def is_first_for(self, asked_s: float) -> bool:
        """Whether a lease that was asked for then is the one that this was loaded for: ask once for each."""
        is_first, self._has_served = not self._has_served and asked_s <= self.started_s, True
        return is_first

    def said_hello(self, hello: Hello, meter: MemoryMeter) -> None:
        self._pid = hello.pid
        self._baseline_rss_bytes = hello.rss_bytes
        self._baseline_bytes = meter.process_bytes(hello.pid)
        self._baseline_free_bytes = meter.device().free_bytes

    def became_ready(self, facts: ModelFacts, now_s: float) -> None:
        self.progress = None
        self.facts = facts
        self.ready_s = now_s
        if facts.server_pid is not None:  # that process holds the model, not the worker
            self._pid, self._baseline_bytes = facts.server_pid, 0

    def measured_bytes(self, meter: MemoryMeter, rss_bytes: int, *, is_at_ready: bool) -> int | None:
        """What the model takes: growth of its process since Hello, as the meter counts it.

        A process has no GPU memory before its context exists, so the context counts too. Where the
        meter does not know the process: without a GPU the worker's own count; on a GPU what the
        device lost during the load (NVML in a container knows processes by the host's numbers).
        """
        has_server = self.facts is not None and self.facts.server_pid is not None
        now_bytes = meter.process_bytes(self._pid)
        known_bytes = None if now_bytes is None else max(0, now_bytes - (self._baseline_bytes or 0))
        if known_bytes is not None and not has_server:
            return known_bytes
        device = meter.device()
        if device.kind == "cpu":  # of a model with a server: with all that it has started
            return max(0, rss_bytes - self._baseline_rss_bytes)
        if known_bytes is not None:
            return known_bytes
        return max(0, self._baseline_free_bytes - device.free_bytes) if is_at_ready else None

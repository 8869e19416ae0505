"""The simulation's machine: its own books of processes, leases and bytes, and what they allow. Pure.

A policy that orders what no policy may order is told so by RuleBroken, at once:

- a start of what is running, or while another loads, or beyond the budget, or under an exclusive lease;
- a stop of what is leased, or does not run;
- a grant of what is not ready, beyond its slots, or beside an exclusive lease.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from inference.errors import ErrorInfo
from inference.footprint import footprint, predicted
from inference.scheduler_events import Lane
from inference.simulation_script import SimulatedModel, Stay


class RuleBroken(AssertionError):
    """A policy did what no policy may do: a bug of the policy."""


@dataclass(slots=True)
class SimulatedWorker:
    """`model`: as configured when it was started, or changed since without a replacement."""

    stay: Stay
    nth_load: int
    phase: Literal["loading", "ready", "stopping"] = "loading"
    leases: dict[int, Lane] = field(default_factory=dict)


class Machine:
    """`device_bytes` None: the device has what the budget says, and shows it at once."""

    def __init__(
        self,
        models: Iterable[SimulatedModel],
        budget_bytes: int,
        *,
        device_bytes: int | None = None,
        measured_wins: bool = False,
    ) -> None:
        self._budget_bytes = budget_bytes
        self._device_bytes = device_bytes
        self._measured_wins = measured_wins
        self._successors: dict[str, SimulatedModel | None] = {}  # of replaced models that still run
        self._measured_bytes: dict[str, int | None] = {}
        self._dry_run_bytes: dict[str, int | None] = {}
        self._n_loads: dict[str, int] = {}
        self._has_stopped = False  # somebody, since the last start
        self.foreign_bytes = 0
        self.lingering_bytes = 0  # of processes that have gone, not yet shown as free
        self.models: dict[str, SimulatedModel] = {}
        self.workers: dict[str, SimulatedWorker] = {}
        self.stays: list[Stay] = []
        self.swaps = 0
        self.peak_bytes = 0
        for model in models:
            self._configure(model.name, model)

    # --- what is ordered -----------------------------------------------------------------------

    def start(self, name: str, now_s: float) -> SimulatedWorker | None:
        """None: the device has less than it takes, and nothing was started."""
        demand(name in self.models, f"'{name}' is started, and there is no such model")
        demand(name not in self.workers, f"'{name}' is started twice")
        loading = [other for other, worker in self.workers.items() if worker.phase == "loading"]
        demand(not loading, f"'{name}' is started while {loading} are loading")
        demand("exclusive" not in self._lanes(), f"'{name}' is started under an exclusive lease")
        need_bytes = self.counted_bytes(name)
        over_bytes = self.taken_bytes() + need_bytes - self._budget_bytes
        demand(over_bytes <= 0, f"'{name}' is started {over_bytes} bytes over the budget")
        if self.device_free_bytes() < need_bytes:
            return None
        nth_load = self._n_loads.get(name, 0)
        self._n_loads[name] = nth_load + 1
        worker = self.workers[name] = SimulatedWorker(Stay(name, now_s, need_bytes), nth_load)
        self.stays.append(worker.stay)
        self.swaps += self._has_stopped
        self._has_stopped = False
        self.peak_bytes = max(self.peak_bytes, self.taken_bytes())
        return worker

    def stop(self, name: str, now_s: float) -> SimulatedWorker:
        worker = self.workers.get(name)
        if worker is None or worker.phase == "stopping":
            raise RuleBroken(f"'{name}' is stopped, and it does not run")
        demand(not worker.leases, f"'{name}' is stopped under {len(worker.leases)} leases")
        worker.phase = "stopping"
        worker.stay.stop_s = now_s
        self._has_stopped = True
        return worker

    def grant(self, name: str, request_id: int, lane: Lane) -> None:
        worker = self.workers.get(name)
        if worker is None or worker.phase != "ready":
            raise RuleBroken(f"request {request_id} is granted '{name}', which is not ready")
        is_quiet = not self._lanes() and all(other.phase != "loading" for other in self.workers.values())
        demand(is_quiet or lane != "exclusive", "an exclusive lease beside another, or beside a load")
        demand("exclusive" not in self._lanes(), "a lease beside an exclusive one")
        worker.leases[request_id] = lane
        worker.stay.served.append(request_id)
        slots = self.models[name].spec.slots
        demand(len(worker.leases) <= slots, f"'{name}' has {slots} slots and one lease more")

    # --- what happens --------------------------------------------------------------------------

    def ready(self, worker: SimulatedWorker, now_s: float) -> int | None:
        """What the worker says it takes. One that was told to stop says so all the same."""
        measured_bytes = self.models[worker.stay.model].measured_bytes
        if worker.phase == "loading":
            worker.phase = "ready"
            worker.stay.ready_s = now_s
            if measured_bytes is not None:
                self._measured_bytes[worker.stay.model] = measured_bytes
        return measured_bytes

    def exit(self, worker: SimulatedWorker, error: ErrorInfo | None, now_s: float) -> int:
        """The process is gone. Returns the bytes that the device goes on showing as taken."""
        name = worker.stay.model
        lingering_bytes = self.counted_bytes(name) if self.models[name].recovery_s else 0
        self.lingering_bytes += lingering_bytes
        del self.workers[name]
        worker.stay.gone_s, worker.stay.error = now_s, error
        if name in self._successors:
            self._configure(name, self._successors.pop(name))
        return lingering_bytes

    def measure(self, name: str, n_bytes: int) -> bool:
        """False: nothing to measure."""
        worker = self.workers.get(name)
        if worker is None or worker.phase != "ready":
            return False
        self._measured_bytes[name] = n_bytes
        return True

    def dry_run(self, name: str, n_bytes: int) -> None:
        self._dry_run_bytes[name] = n_bytes

    def reconfigure(self, models: Iterable[SimulatedModel], replaced: frozenset[str]) -> None:
        """A process runs on as what it was started as; what takes its place comes when it is gone."""
        now = {model.name: model for model in models}
        for name in {*self.models, *now}:
            model = now.get(name)
            is_replaced = model is None or name in replaced or name in self._successors
            if name in self.workers and is_replaced:
                self._successors[name] = model
            else:
                self._configure(name, model, keep_bytes=name in self.models and not is_replaced)

    def _configure(self, name: str, model: SimulatedModel | None, *, keep_bytes: bool = False) -> None:
        if model is None:
            self.models.pop(name, None)
            return
        self.models[name] = model
        if not keep_bytes:
            self._measured_bytes[name] = model.spec.measured_bytes
            self._dry_run_bytes[name] = model.spec.dry_run_bytes

    # --- bytes ---------------------------------------------------------------------------------

    def counted_bytes(self, name: str) -> int:
        """What the budget counts the model for: as much as is known of it, and no more than there is."""
        estimate, dry_run = self.models[name].spec.estimated_bytes, self._dry_run_bytes[name]
        known = footprint(estimate, dry_run, self._measured_bytes[name], measured_wins=self._measured_wins)
        fits = predicted(estimate, dry_run).n_bytes <= self._budget_bytes
        return min(known.n_bytes, self._budget_bytes) if fits else known.n_bytes

    def taken_bytes(self) -> int:
        return sum(self.counted_bytes(name) for name in self.workers)

    def device_free_bytes(self) -> int:
        if self._device_bytes is None:
            return self._budget_bytes
        return max(0, self._device_bytes - self.foreign_bytes - self.lingering_bytes - self.taken_bytes())

    def _lanes(self) -> list[Lane]:
        return [lane for worker in self.workers.values() for lane in worker.leases.values()]


def demand(holds: bool, broken: str) -> None:
    if not holds:
        raise RuleBroken(broken)

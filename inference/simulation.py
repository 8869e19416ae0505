"""Simulation: virtual time, clients and workers around a scheduling policy. Pure.

The policy is a SwapScheduler, or anything that is driven the same way. The simulation plays a
script to it and carries out what it orders on a machine of its own (simulated_machine.py), which
raises RuleBroken where the policy may not do so. Beyond that a policy must answer each request
once, and must not ask for a Tick again that it just had.

Time moves only with the script. At one instant what was scheduled first happens first: requests of
the script before ends of loads and services, ticks last (or first, with `ticks_first`).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from inference.errors import ErrorInfo, InsufficientMemory, LoadFailed, WorkerCrashed
from inference.request_trace import TracedRequest
from inference.scheduler_events import (
    Action,
    Cancelled,
    Closing,
    Done,
    DryRunDone,
    Event,
    Grant,
    LoadBlocked,
    LoadRequested,
    Measured,
    ModelsChanged,
    Reject,
    Released,
    Requested,
    Start,
    Stop,
    Tick,
    UnloadRequested,
    WorkerExited,
    WorkerReady,
)
from inference.simulated_machine import Machine, RuleBroken, SimulatedWorker, demand
from inference.simulation_script import (
    Crash,
    DryRunCame,
    ForeignUse,
    Growth,
    Happening,
    Kind,
    LoadAsked,
    LoadEnd,
    Outcome,
    Reconfigured,
    ShutDown,
    SimulatedRequest,
    SimulationReport,
    UnloadAsked,
)

STEPS_PER_HAPPENING = 200
IDLE_STEPS = 2000
"""A world that takes more steps than these does not come to rest."""

BROKEN = "tensor 'output.weight' is missing"
NO_MEMORY = "cudaMalloc of 1.5 GiB failed: out of memory"
"""What the failing loads of every simulation say."""

FOREIGN = "process 4711 'game'"
"""Who the simulation says is on the device when it has no room."""


class Policy(Protocol):
    def handle(self, event: Event, now_s: float, /) -> list[Action]: ...

    def next_deadline_s(self) -> float | None: ...


Observer = Callable[[float, Event, Sequence[Action]], None]
"""Told of every step: when, what the policy heard, what it ordered (and was carried out)."""


@dataclass(frozen=True, slots=True)
class _LoadEnds:
    worker: SimulatedWorker


@dataclass(frozen=True, slots=True)
class _ExitEnds:
    worker: SimulatedWorker


@dataclass(frozen=True, slots=True)
class _ServiceEnds:
    request: SimulatedRequest


@dataclass(frozen=True, slots=True)
class _PatienceEnds:
    request: SimulatedRequest


@dataclass(frozen=True, slots=True)
class _MemoryReturns:
    n_bytes: int


_Due = Happening | _LoadEnds | _ExitEnds | _ServiceEnds | _PatienceEnds | _MemoryReturns


class Simulation:
    """One run: `run` a script, read the report. `origin_s`: what the clock shows at the beginning."""

    def __init__(
        self,
        policy: Policy,
        machine: Machine,
        *,
        origin_s: float = 0.0,
        ticks_first: bool = False,
        observer: Observer | None = None,
    ) -> None:
        self._policy = policy
        self._machine = machine
        self._origin_s = origin_s
        self._ticks_first = ticks_first
        self._observer = observer
        self._agenda: list[tuple[float, int, _Due]] = []
        self._n_scheduled = 0
        self._turns: dict[str, deque[TracedRequest]] = {}  # what each client has still to send
        self._requests: list[SimulatedRequest] = []
        self._waiting: dict[int, SimulatedRequest] = {}  # neither answered nor cancelled
        self._now_s = origin_s

    @property
    def waiting(self) -> list[SimulatedRequest]:
        """Neither granted nor answered, in order of arrival."""
        return list(self._waiting.values())

    @property
    def requests(self) -> Sequence[SimulatedRequest]:
        """In order of arrival: the n-th has the request id n."""
        return self._requests

    def run(self, script: Iterable[Happening]) -> SimulationReport:
        """Until nothing more can happen. Raises RuleBroken."""
        happenings = sorted(script, key=lambda happening: happening.at_s)
        for happening in happenings:
            if isinstance(happening, TracedRequest) and happening.client is not None:
                self._turns.setdefault(happening.client, deque()).append(happening)
                if len(self._turns[happening.client]) > 1:
                    continue
            self._schedule(happening, happening.at_s + self._origin_s)
        for turns in self._turns.values():
            turns.popleft()  # is scheduled
        try:
            for _ in range(STEPS_PER_HAPPENING * len(happenings) + IDLE_STEPS):
                if not self._step():
                    return self._report()
            raise RuleBroken("the world does not come to rest")
        except RuleBroken as broken:
            broken.add_note(f"at {self._now_s} s of virtual time")
            raise

    def _report(self) -> SimulationReport:
        machine = self._machine
        return SimulationReport(
            tuple(self._requests), tuple(machine.stays), machine.swaps, machine.peak_bytes, self._now_s
        )

    # --- time ----------------------------------------------------------------------------------

    def _schedule(self, due: _Due, at_s: float) -> None:
        self._n_scheduled += 1
        heapq.heappush(self._agenda, (at_s, self._n_scheduled, due))

    def _step(self) -> bool:
        """Let the next thing happen. False: there is none."""
        tick_s = self._policy.next_deadline_s()
        due_s = self._agenda[0][0] if self._agenda else None
        if tick_s is not None and (
            due_s is None or tick_s < due_s or (self._ticks_first and tick_s == due_s)
        ):
            self._now_s = max(self._now_s, tick_s)
            self._tell(Tick())
            next_s = self._policy.next_deadline_s()
            demand(next_s is None or next_s > self._now_s, f"a Tick asks for one at {next_s}: a busy loop")
        elif due_s is not None:
            self._now_s = due_s
            self._happen(heapq.heappop(self._agenda)[2])
        else:
            return False
        return True

    def _tell(self, event: Event) -> None:
        actions = self._policy.handle(event, self._now_s)
        for action in actions:
            self._carry_out(action)
        if self._observer is not None:
            self._observer(self._now_s, event, actions)

    # --- what happens --------------------------------------------------------------------------

    def _happen(self, due: _Due) -> None:
        match due:
            case TracedRequest():
                self._on_request(due)
            case LoadAsked():
                self._tell(LoadRequested(self._new_request("load", due.model).request_id, due.model))
            case UnloadAsked():
                self._tell(UnloadRequested(self._new_request("unload", due.model).request_id, due.model))
            case Crash():
                worker = self._machine.workers.get(due.model)
                if worker is not None and worker.phase != "stopping":
                    self._exit(worker, WorkerCrashed("the worker died of SIGKILL").info())
            case Growth():
                if self._machine.measure(due.model, due.n_bytes):
                    self._tell(Measured(due.model, due.n_bytes))
            case DryRunCame():
                if due.model in self._machine.models:
                    self._machine.dry_run(due.model, due.n_bytes)
                    self._tell(DryRunDone(due.model, due.n_bytes))
            case ForeignUse():
                self._machine.foreign_bytes = due.n_bytes
            case Reconfigured():
                self._machine.reconfigure(due.models, due.replaced)
                self._tell(ModelsChanged(tuple(model.spec for model in due.models), due.replaced))
            case ShutDown():
                self._tell(Closing())
            case _LoadEnds():
                self._on_load_end(due.worker)
            case _ExitEnds():
                self._exit(due.worker, None)
            case _ServiceEnds():
                self._end_lease(due.request, "served")
            case _PatienceEnds():
                self._on_impatient(due.request)
            case _MemoryReturns():
                self._machine.lingering_bytes -= due.n_bytes
            case _:
                assert_never(due)

    def _new_request(self, kind: Kind, model: str) -> SimulatedRequest:
        request = SimulatedRequest(len(self._requests), kind, model, self._now_s)
        self._requests.append(request)
        self._waiting[request.request_id] = request
        return request

    def _on_request(self, traced: TracedRequest) -> None:
        request = self._new_request("lease", traced.model)
        request.service_s, request.lane = traced.service_s, traced.lane
        request.client, request.kept_s = traced.client, traced.kept_s
        if traced.patience_s is not None:
            self._schedule(_PatienceEnds(request), self._now_s + traced.patience_s)
        self._tell(Requested(request.request_id, traced.model, traced.lane))

    def _on_impatient(self, request: SimulatedRequest) -> None:
        if request.request_id in self._waiting:
            del self._waiting[request.request_id]
            self._end(request, "cancelled")
            self._tell(Cancelled(request.request_id))
        elif request.outcome is None and request.granted_s == self._now_s:  # both at once: it never knew
            self._give_back(request)
            self._end(request, "left")
            self._tell(Cancelled(request.request_id))
        else:
            self._end_lease(request, "left")

    def _end_lease(self, request: SimulatedRequest, outcome: Outcome) -> None:
        if request.outcome is None:
            self._give_back(request)
            self._end(request, outcome)
            self._tell(Released(request.request_id, request.kept_s))

    def _give_back(self, request: SimulatedRequest) -> None:
        del self._machine.workers[request.model].leases[request.request_id]

    def _end(self, request: SimulatedRequest, outcome: Outcome, error: ErrorInfo | None = None) -> None:
        demand(request.outcome is None, f"request {request.request_id} ends twice")
        request.outcome, request.error, request.ended_s = outcome, error, self._now_s
        if turns := self._turns.get(request.client or ""):
            following = turns.popleft()
            self._schedule(following, max(self._now_s, self._origin_s + following.at_s))

    def _on_load_end(self, worker: SimulatedWorker) -> None:
        if worker.stay.gone_s is not None:
            return
        end: LoadEnd = self._machine.models[worker.stay.model].load_end(worker.nth_load)
        if end == "broken":
            self._exit(worker, LoadFailed(BROKEN).info())
        elif end == "no memory":
            self._exit(worker, InsufficientMemory(NO_MEMORY).info())
        else:
            self._tell(WorkerReady(worker.stay.model, self._machine.ready(worker, self._now_s)))

    def _exit(self, worker: SimulatedWorker, error: ErrorInfo | None) -> None:
        """The process is gone. Its leases end by themselves, after the policy has heard why."""
        if worker.stay.gone_s is not None:
            return
        recovery_s = self._machine.models[worker.stay.model].recovery_s
        if lingering_bytes := self._machine.exit(worker, error, self._now_s):
            self._schedule(_MemoryReturns(lingering_bytes), self._now_s + recovery_s)
        leases = [self._requests[request_id] for request_id in worker.leases]
        for request in leases:
            self._end(request, "crashed", error)
        self._tell(WorkerExited(worker.stay.model, error))
        for request in leases:
            self._tell(Released(request.request_id, request.kept_s))

    # --- what is ordered -----------------------------------------------------------------------

    def _carry_out(self, action: Action) -> None:
        match action:
            case Start():
                worker = self._machine.start(action.model, self._now_s)
                if worker is None:
                    self._tell(LoadBlocked(action.model, self._machine.device_free_bytes(), FOREIGN))
                else:
                    load_s = self._machine.models[action.model].load_s
                    self._schedule(_LoadEnds(worker), self._now_s + load_s)
            case Stop():
                worker = self._machine.stop(action.model, self._now_s)
                self._schedule(_ExitEnds(worker), self._now_s + self._machine.models[action.model].unload_s)
            case Grant():
                request = self._answered(action.request_id)
                demand(request.kind == "lease" and request.model == action.model, f"wrong grant: {action}")
                self._machine.grant(action.model, action.request_id, request.lane)
                request.granted_s = self._now_s
                self._schedule(_ServiceEnds(request), self._now_s + request.service_s)
            case Done():
                self._on_done(self._answered(action.request_id))
            case Reject():
                self._end(self._answered(action.request_id), "rejected", action.error)
            case _:
                assert_never(action)

    def _on_done(self, request: SimulatedRequest) -> None:
        worker = self._machine.workers.get(request.model)
        is_loaded = worker is not None and worker.phase == "ready"
        came_true = is_loaded if request.kind == "load" else request.kind == "unload" and worker is None
        demand(came_true, f"{request.kind} of '{request.model}' is answered with Done, and it is not")
        self._end(request, "done")

    def _answered(self, request_id: int) -> SimulatedRequest:
        demand(request_id in self._waiting, f"request {request_id} is answered, and nobody waits for it")
        return self._waiting.pop(request_id)

"""Eyes on the server while it is soaked: its health, its log of requests, its state, its processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from benchkit.soak_http import Http, NoAnswer
from benchkit.soak_server import Server
from benchkit.soak_verdict import overfull

HEALTH_PERIOD_S = 0.2
HEALTH_BOUND_S = 5.0
LOOK_PERIOD_S = 0.5
FEW, ALL = 200, 1000
"""Records asked for at each look; all that the server keeps, if the few were all new."""

MAX_ZOMBIE_LOOKS = 6
OnProblem = Callable[[str], None]


class RecordBook:
    """Every record that the server has filed, although it keeps the latest only."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self.records: dict[str, Mapping[str, Any]] = {}

    async def update(self) -> None:
        for limit in (FEW, ALL):
            found = (await self._http.get(f"/api/requests?limit={limit}"))["requests"]
            is_joined = len(found) < limit or any(record["request_id"] in self.records for record in found)
            if is_joined or limit == ALL:
                self.records.update((record["request_id"], record) for record in found)
                return


class ProcessWatch:
    """No zombie for long, and no more workers than models. Pure but for what it is shown."""

    def __init__(self) -> None:
        self._zombie_looks: dict[int, int] = {}
        self.most_workers = 0

    def look(self, statuses: Mapping[int, str], n_workers: int, n_models: int) -> list[str]:
        """`statuses`: psutil's, of all descendants of the server by process id."""
        self.most_workers = max(self.most_workers, n_workers)
        zombies = [pid for pid, status in statuses.items() if status == psutil.STATUS_ZOMBIE]
        self._zombie_looks = {pid: self._zombie_looks.get(pid, 0) + 1 for pid in zombies}
        problems = [
            f"process {pid} has been a zombie for {looks * LOOK_PERIOD_S:.0f} s"
            for pid, looks in self._zombie_looks.items()
            if looks == MAX_ZOMBIE_LOOKS
        ]
        if n_workers > n_models:
            problems.append(f"{n_workers} workers for {n_models} models")
        return problems


class Watch:
    def __init__(self, server: Server, n_models: int, on_problem: OnProblem) -> None:
        self._server = server
        self._n_models = n_models
        self._on_problem = on_problem
        self.book = RecordBook(server.http)
        self.processes = ProcessWatch()
        self.health_s: list[float] = []

    async def run(self) -> None:
        """Until cancelled, or until there is no server any more."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask_for_health())
            group.create_task(self._look())

    async def _ask_for_health(self) -> None:
        while self._server.exit_code is None:
            reply = await self._server.http.exchange("GET", "/health", None, {}, None, HEALTH_BOUND_S)
            self.health_s.append(reply.total_s)
            if reply.status != 200 and self._server.exit_code is None:
                self._on_problem(f"GET /health: status {reply.status} after {reply.total_s:.1f} s")
            await asyncio.sleep(HEALTH_PERIOD_S)

    async def _look(self) -> None:
        while self._server.exit_code is None:
            try:
                await self.book.update()
                for problem in overfull(await self._server.http.get("/api/state")):
                    self._on_problem(problem)
            except NoAnswer as error:
                self._on_problem(str(error))
            for problem in self._look_at_processes():
                self._on_problem(problem)
            await asyncio.sleep(LOOK_PERIOD_S)
        self._on_problem(f"the server has ended with exit code {self._server.exit_code}")

    def _look_at_processes(self) -> list[str]:
        statuses = {}
        for child in self._server.children():
            with contextlib.suppress(psutil.Error):
                statuses[child.pid] = child.status()
        return self.processes.look(statuses, len(self._server.workers()), self._n_models)

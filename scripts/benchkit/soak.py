"""A server under everything that goes wrong at once, and whether it comes out of it clean.

A real `hotseat serve` in a folder of its own, with room for three of its models. Random clients stream,
ask, embed, in all lanes, and hang up while they wait, while a model loads, in mid-answer; answers fail,
stall and kill their worker; loads fail, die and hang; workers are killed and frozen; operators load,
unload and reload a models.toml that changes, also for the worse.

All along: every request ends within a bound, as finished or as a typed error of its dialect, never cleanly
after a failure, with the whole of its own text; /health answers; never more resident than the budget has
room for, no zombie, nothing in the log that nobody foresaw. At the end: no lease, no waiter, one record for
each request that says what its client saw, every model answers, no worker and no file is left after an
unload, SIGTERM ends running answers properly and the process with exit code 0, and nobody is left behind.

Which requests and troubles come in which order follows from the seed; when they meet does not. A violation
is printed with the end of the server's log, and the exit code is 1.

Examples:
    scripts/soak
    scripts/soak --seconds 60 --seed 7 --no-real
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import psutil

from benchkit.figures import figure, machine, note, percentile
from benchkit.peers import demo_model
from benchkit.soak_http import NoAnswer
from benchkit.soak_plan import Asked, ClientPlan
from benchkit.soak_server import Server, serving
from benchkit.soak_trouble import Trouble
from benchkit.soak_verdict import Judged, busy, check_records, judge
from benchkit.soak_watch import Watch
from benchkit.soak_world import (
    REQUEST_TIMEOUT_S,
    SHUTDOWN_GRACE_S,
    SLOW,
    STEADY,
    STOP_GRACE_S,
    Served,
    World,
)

CLIENT_BOUND_S = REQUEST_TIMEOUT_S + 5.0
"""Nobody waits longer: the server's own limit, and what ending it may take on a busy machine."""

REST_BOUND_S = 12.0
EXIT_BOUND_S = SHUTDOWN_GRACE_S + STOP_GRACE_S + 10.0
HEALTH_P99_BOUND_S = 1.0
MAX_NEW_FILES = 8
"""Open files of the server after everything is unloaded, beyond those it began with: connections that
are just being closed, not one for each of hundreds of workers and clients."""

MAX_PROBLEMS = 20


def _one_of_each_engine(workers: Sequence[psutil.Process]) -> set[int]:
    """The processes that may be there without a model: one of each engine is kept for the next load."""
    spares: dict[str, int] = {}
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            spares.setdefault(worker.cmdline()[-1], worker.pid)
    return set(spares.values())


class Findings:
    """What went wrong, each said at once; the first MAX_PROBLEMS are kept."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def add(self, problem: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
            note(f"VIOLATION: {problem}")


class Soak:
    def __init__(self, server: Server, world: World, seed: int, n_clients: int) -> None:
        self._server = server
        self._world = world
        self._seed = seed
        self._n_clients = n_clients
        self._judged: list[Judged] = []
        self._serial = 0
        self.findings = Findings()
        self.trouble = Trouble(server, world, seed, self.findings.add)
        self.watch = Watch(server, len(world.models), self.findings.add)

    async def run(self, seconds: float) -> None:
        files_before = self._server.open_files()
        bytes_before = self._server.resident_bytes()
        watching = asyncio.create_task(self.watch.run())
        try:
            await self._traffic(seconds)
            if self._server.exit_code is None:
                await self._comes_to_rest()
                await self._every_model_answers()
                await self._leaves_nothing_after_unload(files_before)
        finally:
            watching.cancel()
            await asyncio.wait({watching})
        if not watching.cancelled() and (error := watching.exception()) is not None:
            raise error
        grown_bytes = self._server.resident_bytes() - bytes_before if self._server.exit_code is None else 0
        await self._ends_in_order()
        for alarm in self._server.alarms():
            self.findings.add(alarm)
        self._report(seconds, grown_bytes)

    # --- the traffic ---------------------------------------------------------------------------

    async def _traffic(self, seconds: float) -> None:
        until_s = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(self.trouble.make(until_s))
            for number in range(self._n_clients):
                plan = ClientPlan(self._seed, number, self._world.models)
                group.create_task(self._client(plan, until_s))
        note(f"{len(self._judged)} requests are over: {self.endings()}")

    async def _client(self, plan: ClientPlan, until_s: float) -> None:
        clock = asyncio.get_running_loop().time
        while clock() < until_s and self._server.exit_code is None:
            judged = await self._ask(plan.next())
            await asyncio.sleep(plan.pause_s(has_failed=judged.verdict.ending == "failed"))

    async def _ask(self, asked: Asked) -> Judged:
        reply = await self._server.http.ask(asked, CLIENT_BOUND_S)
        judged = Judged(asked, reply, judge(asked, reply))
        self._judged.append(judged)
        for problem in judged.verdict.problems:
            self.findings.add(f"{problem}; asked {json.dumps(asdict(asked))}")
        return judged

    def endings(self) -> dict[str, int]:
        """How many requests ended how: failed ones by their code."""
        counts = Counter(one.verdict.code or one.verdict.ending for one in self._judged)
        return dict(counts.most_common())

    # --- afterwards ----------------------------------------------------------------------------

    async def _comes_to_rest(self) -> None:
        with self._reporting():
            await self.trouble.settle()
        going_on = await self._until_quiet()
        for what in going_on:
            self.findings.add(f"{REST_BOUND_S:.0f} s after the last request {what}")
        with self._reporting():
            await self.watch.book.update()
        for problem in check_records(self._judged, self.watch.book.records.values()):
            self.findings.add(problem)

    async def _until_quiet(self) -> list[str]:
        deadline_s = asyncio.get_running_loop().time() + REST_BOUND_S
        going_on = ["the server did not say its state"]
        while going_on and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(0.1)
            with contextlib.suppress(NoAnswer):
                going_on = busy(await self._server.http.get("/api/state"))
        return going_on

    async def _every_model_answers(self) -> None:
        """As many at once as it has slots: a slot that was lost would be missed. An explicit load comes
        first, for it does not wait until the pause after failures is over."""
        for model in self._world.models:
            with self._reporting():
                status, answer = await self._server.http.post(f"/api/models/{model.name}/load")
                if status != 200:
                    self.findings.add(f"after the traffic {model.name} does not load: {status} {answer}")
                    continue
            answers = await asyncio.gather(*(self._ask(self._plain(model)) for _ in range(model.slots)))
            for one in answers:
                if one.verdict.ending != "finished":
                    self.findings.add(f"after the traffic {model.name} does not answer: {one.verdict}")

    def _plain(self, model: Served) -> Asked:
        self._serial += 1
        return Asked(
            run=f"last-{self._serial}",
            model=model.name,
            endpoint="embeddings" if model.embeddings else "chat/completions",
            stream=not model.embeddings,
            lane=None,
            mood="plain",
            word=f"last{self._serial}",
            has_known_answer=not model.is_real,
            leaving=None,
        )

    async def _leaves_nothing_after_unload(self, files_before: int) -> None:
        with self._reporting():
            await self._server.http.post("/api/unload")
        expected = _one_of_each_engine(self._server.workers())
        expected |= {writer.pid for writer in self._server.ledger_writers()[:1]}
        for child in self._server.children():
            if child.pid not in expected:
                self.findings.add(f"a child process lives on after everything was unloaded: {child}")
        grown = self._server.open_files() - files_before
        if grown > MAX_NEW_FILES:
            self.findings.add(f"the server has {grown} more open files than at its start")

    async def _ends_in_order(self) -> None:
        """SIGTERM while some are answered and one waits: all of them learn how it ended."""
        streams = [asyncio.create_task(self._ask(self._plain(model))) for model in (STEADY, STEADY, SLOW)]
        with self._reporting():
            await self._until_leased(STEADY.name)
        self._server.signal(signal.SIGTERM)
        for one in await asyncio.gather(*streams):
            if one.verdict.ending not in ("finished", "failed"):
                self.findings.add(f"at SIGTERM a request ended as {one.verdict}")
        if not await self._server.exits_within(EXIT_BOUND_S):
            self.findings.add(f"the server is still there {EXIT_BOUND_S:.0f} s after SIGTERM")
        elif self._server.exit_code != 0:
            self.findings.add(f"after SIGTERM the exit code is {self._server.exit_code}")
        for process in self._server.left_behind():
            self.findings.add(f"left behind: {process}")

    async def _until_leased(self, name: str) -> None:
        deadline_s = asyncio.get_running_loop().time() + REST_BOUND_S
        while asyncio.get_running_loop().time() < deadline_s:
            state = await self._server.http.get("/api/state")
            if any(model["name"] == name and model["leases"] for model in state["models"]):
                return
            await asyncio.sleep(0.05)
        self.findings.add(f"nobody was given a lease on {name} within {REST_BOUND_S:.0f} s")

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except NoAnswer as error:
            self.findings.add(str(error))

    # --- what there is to tell -----------------------------------------------------------------

    def _report(self, seconds: float, grown_bytes: int) -> None:
        p99_s = percentile(self.watch.health_s, 0.99)
        if p99_s > HEALTH_P99_BOUND_S:
            self.findings.add(f"/health took {p99_s:.2f} s (p99)")
        evidence = {"seed": self._seed, "seconds": seconds, **machine()}
        figure(
            "soak_health_p99",
            p99_s * 1e3,
            "ms",
            highest_ms=round(max(self.watch.health_s) * 1e3, 1),
            asked=len(self.watch.health_s),
            **evidence,
        )
        figure("soak_memory_growth", grown_bytes / 2**20, "MiB", **evidence)
        figure(
            "soak_violations",
            len(self.findings.problems),
            "violations",
            requests=len(self._judged),
            endings=self.endings(),
            slowest_s=round(max((one.reply.total_s for one in self._judged), default=0.0), 2),
            trouble=dict(self.trouble.happened),
            reload=self.trouble.can_reload,
            most_workers=self.watch.processes.most_workers,
            **evidence,
        )


@click.command(help=__doc__)
@click.option(
    "--seconds", default=600.0, show_default=True, help="Of traffic; the checks after it take ten more."
)
@click.option("--seed", default=1, show_default=True)
@click.option("--clients", default=10, show_default=True)
@click.option("--real/--no-real", default=None, help="With a demo model as well; by default if it is there.")
def main(seconds: float, seed: int, clients: int, real: bool | None) -> None:
    note(f"seed {seed}, {seconds:g} s, {clients} clients")
    sys.exit(asyncio.run(soak(seconds, seed, clients, _real_model(real))))


def _real_model(wanted: bool | None) -> Path | None:
    if wanted is False:
        return None
    try:
        return demo_model("smollm2")
    except click.ClickException:
        if wanted:
            raise
        note("no demo model here: only scripted ones")
        return None


async def soak(seconds: float, seed: int, n_clients: int, real: Path | None) -> int:
    """The exit code."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), real)
        async with serving(world.config) as server:
            run = Soak(server, world, seed, n_clients)
            await run.run(seconds)
            if run.findings.problems:
                note(f"the server's log ends with:\n{server.log_tail()}")
                note(f"{len(run.findings.problems)} violations, seed {seed}")
                return 1
    note("no violation")
    return 0


if __name__ == "__main__":
    main()

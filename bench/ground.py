"""What a job stands on: a server with the plan's models, the harnesses, the walls around them. Checked before
the first trial: what is missing costs a message then, and a trial each later."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import importlib.metadata
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.aliases import replayed
from bench.errors import BenchError, PlanError
from bench.harnesses.installed import HARNESSES, Installed, ask
from bench.job import Job
from bench.own_server import own_server
from bench.plan import Configuration, Plan
from bench.proxy_client import StateNow, connected
from bench.results import MODELLESS
from bench.sandbox import Isolation, isolation
from bench.server import DEFAULT_SERVER, Offer, fetch_offer
from bench.session import Contestant, Server, chosen_models, unknown_models
from bench.tapes import Tapes, recorded_in
from bench.task import Task
from bench.trial import Ground

SERVER_FOLDER = "server"
_BY_NAME = {harness.name: harness for harness in HARNESSES.values()}


@dataclass(frozen=True, slots=True)
class Address:
    """`url` None: the plan's own server if it brings one, else the usual address."""

    url: str | None
    key: str | None


@contextlib.asynccontextmanager
async def ground(job: Job, plan: Plan, address: Address, environ: Mapping[str, str]) -> AsyncIterator[Ground]:
    """Raises BenchError and ServerTrouble for what is missing."""
    _check_tasks(plan.tasks)
    asking = [one for one in plan.configurations if one.harness not in MODELLESS]
    tapes = await asyncio.to_thread(_tapes, job, plan)
    bare = Ground(
        job.name, job.trials, plan.caps, _version(), {}, tapes=tapes, native_names=plan.native_names
    )
    if not asking:
        yield bare
        return
    installed = [await _installed(name, environ) for name in dict.fromkeys(one.harness for one in asking)]
    walls = await asyncio.to_thread(isolation)
    async with contextlib.AsyncExitStack() as stack:
        url = address.url or DEFAULT_SERVER
        if address.url is None and plan.config is not None:
            url = await stack.enter_async_context(
                own_server(plan.config, job.folder / SERVER_FOLDER, environ)
            )
        offer = await asyncio.to_thread(fetch_offer, url, address.key)
        offer = offer if plan.replay is None else replayed(offer)
        check_models(offer, asking)
        client = await stack.enter_async_context(connected(offer.url, address.key))
        check_slots(await client.state(), offer, asking, plan.parallel)
        yield replace(bare, contestants=_contestants(installed, Server(client, offer), walls), client=client)


def _tapes(job: Job, plan: Plan) -> Tapes:
    """Blocks. Raises BenchError for a trial that was never recorded."""
    recorded = None if plan.replay is None else recorded_in(plan.replay, job.cells)
    return Tapes(plan.record, recorded, job.name)


def _contestants(
    installed: Iterable[Installed], server: Server, walls: Isolation
) -> Mapping[str, Contestant]:
    return {one.harness.name: Contestant(one, server, walls) for one in installed}


def _check_tasks(tasks: Sequence[Task]) -> None:
    for task in tasks:
        if missing := task.missing():
            raise BenchError(
                f"task {task.label} needs {', '.join(missing)}, which this machine lacks: install it, or"
                " take the task out of the plan"
            )


async def _installed(name: str, environ: Mapping[str, str]) -> Installed:
    found = await asyncio.to_thread(ask, _BY_NAME[name], environ)
    if found.path is None or not found.version:
        state = "is not installed" if found.path is None else f"at {found.path} does not start"
        raise BenchError(
            f"{name} {state}: run scripts/install-harnesses, or leave its configurations out with --only"
        )
    return found


def check_models(offer: Offer, configurations: Iterable[Configuration]) -> None:
    """Raises PlanError for a model that the server does not have, or that cannot answer."""
    for one in configurations:
        for name in unknown_models(offer, one):
            known = sorted(model.name for model in offer.models if not model.embeddings)
            near = difflib.get_close_matches(name, known, n=5, cutoff=0.4) or known[:12]
            raise PlanError(
                f"configuration {one.name}: the server has no model {name!r}: put one in its place with"
                f" --map {name}=MODEL; it has {', '.join(near) or 'none'}"
            )
        for model in chosen_models(offer, one):
            if model.embeddings:
                raise PlanError(f"configuration {one.name}: {model.name} makes embeddings and cannot chat")
            if model.problem is not None:
                raise PlanError(f"configuration {one.name}: {model.name}: {model.problem}")


def check_slots(
    state: StateNow, offer: Offer, configurations: Iterable[Configuration], parallel: int
) -> None:
    """Trials that wait for each other's slots measure each other. Raises PlanError."""
    for one in configurations:
        for model in chosen_models(offer, one):
            local = state.models.get(model.name)
            if local is not None and local.slots < parallel:
                raise PlanError(
                    f"{parallel} trials at once, and {model.name} has {local.slots} slots: use --parallel"
                    f" {local.slots}, or give it more slots in models.toml"
                )


def _version() -> str:
    try:
        return importlib.metadata.version("hotseat")
    except importlib.metadata.PackageNotFoundError:
        return "unknown: not installed"

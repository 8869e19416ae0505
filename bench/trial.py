"""One cell of a plan becomes one result: workspace, whoever works in it, hidden checks, and what it proves.

    JOB/trials/TRIAL/begun.json    written first: what a later start has to clear away if this one is killed
    JOB/trials/TRIAL/result.json   written last

Whatever goes wrong is a result too, of the outcome "infrastructure": no cell is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import shutil
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import evidence
from bench.errors import BenchError
from bench.evidence import Expected, Row
from bench.harnesses.base import Transcript, UnsuitedSetup
from bench.launch import LaunchError
from bench.plan import Cell
from bench.proxy_client import ProxyClient
from bench.results import Claimed, Manifest, Outcome, Tokens, TrialResult, write_result
from bench.server import ServerTrouble
from bench.session import Contestant, Performance, Terms
from bench.tapes import NO_TAPES, Tape, Tapes
from bench.task_check import solve
from bench.verifier import Verdict, verify
from bench.watch import Caps, Why
from bench.workspace import PREFIX, Workspace

BEGUN = "begun.json"
MAX_ERROR_CHARS = 2000
_BUDGET_SPENT = 402
_OUTCOMES: Mapping[Why, Outcome] = {
    "exited": "scored",
    "wall": "timed-out",
    "stall": "timed-out",
    "cancelled": "timed-out",
    "tokens": "capped",
    "requests": "capped",
    "usd": "capped",
    "loop": "capped",
    "output": "capped",
}


@dataclass(frozen=True, slots=True)
class Ground:
    """What all trials of a job share. `contestants` by the harness's name."""

    job: str
    folder: Path  # JOB/trials
    caps: Caps
    hotseat: str
    contestants: Mapping[str, Contestant]
    client: ProxyClient | None = None
    tapes: Tapes = NO_TAPES
    native_names: bool = False


@dataclass(frozen=True, slots=True)
class _Judged:
    performance: Performance
    verdict: Verdict
    findings: tuple[str, ...]


async def run_trial(cell: Cell, ground: Ground) -> TrialResult:
    """Into an empty folder of its own. Raises nothing but what cancels it, and OSError if no result can be
    written."""
    folder = ground.folder / cell.trial
    await _clear(folder, ground.client)
    folder.mkdir(parents=True)
    started_at, begun_s = time.time(), time.monotonic()
    try:
        judged = await _judged(cell, ground, folder)
    except (BenchError, LaunchError, ServerTrouble, UnsuitedSetup, OSError) as error:
        result = _not_run(cell, ground, started_at, time.monotonic() - begun_s, str(error))
    except Exception as error:  # noqa: BLE001 - the trial's border
        (folder / "traceback.txt").write_text(traceback.format_exc())
        said = f"{type(error).__name__}: {error}: see traceback.txt"
        result = _not_run(cell, ground, started_at, time.monotonic() - begun_s, said)
    else:
        result = _result(cell, ground, judged, started_at, time.monotonic() - begun_s)
    await asyncio.to_thread(write_result, folder, result)
    return result


# --- doing it -------------------------------------------------------------------------------------


async def _judged(cell: Cell, ground: Ground, folder: Path) -> _Judged:
    tape = ground.tapes.of(cell)
    async with _workspace(cell, tape) as workspace:
        _announce(folder, workspace, "")
        if (missing := cell.task.missing()) != []:
            raise BenchError(f"{cell.task.name} needs {', '.join(missing)}, which this machine lacks")
        try:
            performance = await _performance(cell, ground, workspace, folder, tape)
        finally:
            await asyncio.to_thread(_keep_logs, folder, workspace.logs)
        findings = await asyncio.to_thread(workspace.findings, cell.task.protected)
        diff = await asyncio.to_thread(workspace.diff)
        await asyncio.to_thread(_keep, folder, diff, performance)  # a user's checks look at the patch
        async with _clearing(workspace):
            verdict = await verify(cell.task, workspace.app, folder, cell.seed)
    return _Judged(performance, verdict, tuple(findings))


async def _performance(
    cell: Cell, ground: Ground, workspace: Workspace, folder: Path, tape: Tape | None
) -> Performance:
    if cell.configuration.harness in ("oracle", "nop"):
        return await _without_a_model(cell, workspace)
    contestant = ground.contestants[cell.configuration.harness]
    terms = Terms(ground.caps, ground.native_names, tape)
    return await contestant.perform(cell, terms, workspace, lambda run: _announce(folder, workspace, run))


async def _without_a_model(cell: Cell, workspace: Workspace) -> Performance:
    begun_at, begun_s = time.time(), time.monotonic()
    if cell.configuration.harness == "oracle":
        await solve(cell.task, cell.task.solutions()["oracle"], workspace.root, cell.seed)
    return Performance("exited", begun_at, time.monotonic() - begun_s, Expected("", ""))


@contextlib.asynccontextmanager
async def _workspace(cell: Cell, tape: Tape | None) -> AsyncIterator[Workspace]:
    """Made and removed in threads: git and generators take their time. Who cancels it while it is made waits
    until it is there, and it is removed."""
    manager = Workspace.made_for(cell.task, cell.seed, None if tape is None else tape.place)
    making = asyncio.ensure_future(asyncio.to_thread(manager.__enter__))
    try:
        yield await asyncio.shield(making)
    finally:
        with contextlib.suppress(Exception):  # what it raised has been raised above
            await making
            await asyncio.to_thread(manager.__exit__, None, None, None)


@contextlib.asynccontextmanager
async def _clearing(workspace: Workspace) -> AsyncIterator[None]:
    """A harness leaves thousands of small files in its home, and their removal is nothing to wait for."""
    clearing = asyncio.ensure_future(asyncio.to_thread(workspace.clear_private))
    try:
        yield
    finally:
        await asyncio.shield(clearing)


def _keep_logs(folder: Path, logs: Path) -> None:
    """Links are not followed: an agent that reaches the logs shall not choose what is copied."""
    for path in logs.iterdir():
        if path.is_file() and not path.is_symlink():
            shutil.copyfile(path, folder / path.name)


def _keep(folder: Path, diff: bytes, performance: Performance) -> None:
    (folder / "diff.patch").write_bytes(diff)
    if performance.run:
        lines = (json.dumps(row, separators=(",", ":")) + "\n" for row in performance.raw_rows)
        (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")


# --- what a killed start leaves -------------------------------------------------------------------


def _announce(folder: Path, workspace: Workspace, run: str) -> None:
    (folder / BEGUN).write_text(json.dumps({"run": run, "workspace": str(workspace.root)}))


async def _clear(folder: Path, client: ProxyClient | None) -> None:
    """A trial that was killed: its token is made worthless, so that a harness which is still there gets
    nothing more, and its workspace goes."""
    run, root = await asyncio.to_thread(_begun, folder)
    if run and client is not None:
        await client.end_run(run)
    if root is not None:
        await asyncio.to_thread(shutil.rmtree, root, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        await asyncio.to_thread(shutil.rmtree, folder)


def _begun(folder: Path) -> tuple[str, Path | None]:
    try:
        begun = json.loads((folder / BEGUN).read_bytes())
        run, root = str(begun["run"]), Path(begun["workspace"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", None
    is_ours = root.name.startswith(PREFIX) and root.parent == Path(tempfile.gettempdir()).resolve()
    return run, root if is_ours else None


# --- what it proves -------------------------------------------------------------------------------


def _result(cell: Cell, ground: Ground, judged: _Judged, started_at: float, total_s: float) -> TrialResult:
    performance, verdict = judged.performance, judged.verdict
    rows, said = performance.rows, performance.said
    names = {**performance.aliases, **performance.names}
    reasons = evidence.reasons_against(rows, performance.expected, names=names)
    return TrialResult(
        **_identity(cell, ground, started_at),
        run=performance.run,
        outcome=_outcome(performance, verdict),
        why_ended=performance.why,
        error=_error(performance, verdict)[:MAX_ERROR_CHARS],
        validity="INVALID" if reasons else "VALID",
        invalid_because=reasons,
        findings=judged.findings,
        reward=verdict.reward,
        scores=dict(verdict.scores),
        wall_s=performance.wall_s,
        waited_s=evidence.waited_s(rows),
        overhead_s=max(0.0, total_s - performance.wall_s - verdict.seconds),
        verifier_s=verdict.seconds,
        nodes=evidence.nodes_of(rows, performance.begun_at),
        delegations=evidence.delegations_of(rows),
        brief_chars=said.brief_chars if said else (),
        return_chars=said.return_chars if said else (),
        parallel_s=evidence.parallel_s(rows),
        swaps=performance.swaps,
        load_waits=performance.load_waits,
        neighbours=performance.neighbours,
        server_swaps=performance.server_swaps,
        peak_vram_bytes=performance.peak_vram_bytes,
        models_vram_bytes=performance.models_vram_bytes,
        energy_j=evidence.energy_of(rows),
        cost_usd=evidence.cost_of(rows) if performance.run else None,
        claimed=_claimed(said, rows) if said else Claimed(),
        manifest=_manifest(cell, ground, performance),
    )


def _not_run(cell: Cell, ground: Ground, started_at: float, total_s: float, error: str) -> TrialResult:
    """The outcome of what is ours to mend."""
    said = " ".join(error.split())[:MAX_ERROR_CHARS]
    installed = ground.contestants.get(cell.configuration.harness)
    return TrialResult(
        **_identity(cell, ground, started_at),
        run="",
        outcome="infrastructure",
        why_ended="infrastructure",
        error=said,
        validity="INVALID",
        invalid_because=(f"it could not be run: {said}",),
        reward=None,
        wall_s=0.0,
        waited_s=0.0,
        overhead_s=total_s,
        verifier_s=0.0,
        manifest=Manifest(
            hotseat=ground.hotseat,
            harness=cell.configuration.harness,
            harness_version=installed.installed.version if installed else "",
        ),
    )


def _identity(cell: Cell, ground: Ground, started_at: float) -> dict[str, Any]:
    return {
        "job": ground.job,
        "trial": cell.trial,
        "task": cell.task.label,
        "task_digest": cell.task.digest,
        "tags": cell.task.tags,
        "configuration": cell.configuration.name,
        "attempt": cell.attempt,
        "seed": cell.seed,
        "policy": cell.configuration.policy,
        "started_at": started_at,
    }


def _outcome(performance: Performance, verdict: Verdict) -> Outcome:
    if verdict.reward is None:
        return "verifier-failed"
    if performance.why == "exited" and any(row.status == _BUDGET_SPENT for row in performance.rows):
        return "capped"  # the server kept the budget before the watch saw it spent
    if performance.why == "exited" and performance.said is not None and performance.said.is_error:
        return "agent-failed"
    return _OUTCOMES[performance.why]


def _error(performance: Performance, verdict: Verdict) -> str:
    if verdict.reward is None:
        return verdict.error
    said = performance.said
    if said is None or not said.is_error:
        return ""
    left = f"; {performance.phases_left} of its phases were not begun" if performance.phases_left else ""
    return (said.errors[-1] if said.errors else "it never came to its end") + left


def _claimed(said: Transcript, rows: Iterable[Row]) -> Claimed:
    wire = sum((row.tokens for row in rows), Tokens())
    claims = dataclasses.asdict(said.claimed)
    return Claimed(
        tokens=evidence.gaps(wire, {name.removesuffix("_tokens"): n for name, n in claims.items()}),
        cost_usd=said.claimed_cost_usd,
        is_error=said.is_error,
        errors=said.errors,
        delegations=said.delegations,
    )


def _manifest(cell: Cell, ground: Ground, performance: Performance) -> Manifest:
    contestant = ground.contestants.get(cell.configuration.harness)
    prompts = "\0".join(phase.instruction for phase in cell.task.phases)
    rows = sorted(performance.rows, key=lambda row: row.started_at)
    books = sorted({row.price_source for row in rows if row.price_source.startswith("book:")})
    remote = {name: remote_id for remote_id, name in performance.names.items()}
    tape = performance.tape
    return Manifest(
        hotseat=ground.hotseat,
        harness=cell.configuration.harness,
        harness_version=contestant.installed.version if contestant else "",
        engine=performance.engine,
        models={**remote, **performance.files},
        aliases={name: alias for alias, name in performance.aliases.items()},
        prompt_sha=hashlib.sha256(prompts.encode()).hexdigest(),
        system_sha=_first_of_each_role(rows, lambda row: row.system_sha),
        tools_sha=_first_of_each_role(rows, lambda row: row.tools_sha),
        context=dict(performance.context),
        context_cap=cell.configuration.context,
        sampling={role: "; ".join(filter(None, said)) for role, said in performance.sampling.items()},
        sampling_defaults=dict(performance.sampling_defaults),
        price_book=", ".join(books),
        isolation=performance.isolation,
        cache=performance.cache,
        slots=dict(performance.slots),
        recording=tape.name if tape and tape.use == "record" else "",
        replay=tape.name if tape and tape.use == "replay" else "",
    )


def _first_of_each_role(rows: Iterable[Row], digest: Callable[[Row], str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        if digest(row):
            found.setdefault(row.role, digest(row))
    return found

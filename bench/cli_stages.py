"""`hotseat bench stages`: reads the environment, builds what the stages need, runs them, shows the review."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli_run import INTERRUPT_EXIT, JOBS, ended_by_signals, pairs
from bench.server import DEFAULT_SERVER

if TYPE_CHECKING:
    from bench.plan import Configuration, Plan
    from bench.spec import Spec
    from bench.stage_review import Review
    from bench.stages import Staged, Wanted

REVIEW = "review.md"
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


@click.command("stages")
@click.argument("spec_file", metavar="SPEC.md", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--repo",
    "repository",
    type=click.Path(path_type=Path, file_okay=False),
    help="git repository to start from: its HEAD, which is only read  [default: the current directory]",
)
@click.option(
    "--with",
    "entrant",
    metavar="CONFIG",
    help="who does the stages: HARNESS:MODEL[+SUBAGENTMODEL][@EFFORT], or a name out of --plan",
)
@click.option(
    "--stage",
    "stage_words",
    multiple=True,
    metavar="STAGE=CONFIG",
    help="who does this one, by its number or name; may be repeated",
)
@click.option(
    "--from", "start_from", metavar="STAGE", help="do this stage, and all after it, again if they are done"
)
@click.option("--go-on", "goes_on", is_flag=True, help="go on also after a stage that failed its checks")
@click.option(
    "--job",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"folder of results; one that exists is gone on with  [default: {JOBS}/SPEC-TIME]",
)
@click.option("--plan", "plan_name", help="a plan whose configurations, models, caps and server are used")
@click.option(
    "--map", "maps", multiple=True, metavar="A=B", help="put model B in the place of A; may be repeated"
)
@click.option(
    "--state", default="STATE.md", show_default=True, help="name of the file that stages hand on to the next"
)
@click.option(
    "--check-timeout",
    "check_s",
    type=click.FloatRange(1, 3600),
    default=600.0,
    show_default=True,
    help="seconds that one check may take",
)
@click.option(
    "--wall", metavar="TIME", help="what one stage may take, such as 30m  [default: the plan's, or 30m]"
)
@click.option("--usd", metavar="AMOUNT", help="what one stage may cost  [default: the plan's, or no bound]")
@click.option(
    "--url",
    envvar="HOTSEAT_SERVER",
    show_envvar=True,
    help=f"address of a running server, also for a plan that brings its own  [default: {DEFAULT_SERVER}]",
)
@click.option("--yes", is_flag=True, help="do not ask before models that cost money are used")
@click.option("--quiet", is_flag=True, help="say nothing but errors and the review")
@click.option("--json", "as_json", is_flag=True, help="print the review as JSON")
def stages(
    spec_file: Path,
    repository: Path | None,
    entrant: str | None,
    stage_words: tuple[str, ...],
    start_from: str | None,
    goes_on: bool,
    folder: Path | None,
    plan_name: str | None,
    maps: tuple[str, ...],
    state: str,
    check_s: float,
    wall: str | None,
    usd: str | None,
    url: str | None,
    yes: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Work through a specification stage by stage, each by a fresh agent, and check what each leaves.

    A stage starts from what the one before it left, is told the specification, the state file and how the
    stage before came out, and is judged by the checks of all stages so far. The work ends at the first stage
    that fails. The repository is not changed: JOB/stages.patch holds the result.

    The same command with --job goes on where it ended; finished stages are not repeated. Exit status 1 if
    not all stages pass.

    \b
    hotseat bench stages SPEC.md --with opencode:qwen3.6 --stage 2=codex:glm-4.7-flash
    hotseat bench stages SPEC.md --with opencode:qwen3.6 --job jobs/friday --from 2
    """
    from bench.errors import BenchError
    from bench.harnesses.base import UnsuitedSetup
    from bench.launch import first_key
    from bench.server import ServerTrouble
    from bench.stage_report import as_json as review_json
    from bench.stage_report import to_text

    job = folder or Path(JOBS) / f"{spec_file.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    asked = Asked(
        spec_file=spec_file,
        repository=repository,
        entrant=entrant,
        stage_words=stage_words,
        start_from=start_from,
        goes_on=goes_on,
        plan_name=plan_name,
        remap=pairs(maps),
        state=state,
        check_s=check_s,
        wall=wall,
        usd=usd,
    )
    try:
        wanted, plan = _prepared(asked)
        review = asyncio.run(_run(wanted, plan, job, Manner(url, first_key(os.environ), yes, quiet)))
    except (BenchError, ServerTrouble, UnsuitedSetup) as error:
        raise click.ClickException(str(error)) from error
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo(f"hotseat: stopped; go on with the same command and --job {job}", err=True)
        sys.exit(INTERRUPT_EXIT)
    if as_json:
        click.echo(json.dumps(review_json(review), indent=2))
    else:
        click.echo(to_text(review, shutil.get_terminal_size((100, 24)).columns), nl=False)
    return 0 if review.is_done else 1


@dataclass(frozen=True, slots=True)
class Asked:
    """As on the command line."""

    spec_file: Path
    repository: Path | None
    entrant: str | None
    stage_words: tuple[str, ...]
    start_from: str | None
    goes_on: bool
    plan_name: str | None
    remap: Mapping[str, str]
    state: str
    check_s: float
    wall: str | None
    usd: str | None


@dataclass(frozen=True, slots=True)
class Manner:
    url: str | None
    key: str | None = field(repr=False)
    yes: bool
    quiet: bool


# --- what is wanted --------------------------------------------------------------------------------


def _prepared(asked: Asked) -> tuple[Wanted, Plan]:
    """Raises BenchError. Nothing has been made then."""
    from bench.errors import BenchError
    from bench.spec import MAX_SPEC_BYTES, parse_spec
    from bench.stages import Wanted, plan_of

    try:
        with asked.spec_file.open("rb") as file:
            text = file.read(MAX_SPEC_BYTES + 1)
    except OSError as error:
        raise BenchError(f"{asked.spec_file}: {error.strerror}") from error
    spec = parse_spec(text, str(asked.spec_file))
    if not _FILE_NAME.fullmatch(asked.state):
        raise BenchError(f"--state {asked.state!r}: expected the name of a file, such as STATE.md")
    base = _plan(asked, _words(asked, spec))
    wanted = Wanted(
        spec=spec,
        text=text,
        repository=asked.repository,
        configurations=_by_stage(asked, spec, base.configurations),
        start_from=spec.stage(asked.start_from) if asked.start_from is not None else None,
        goes_on=asked.goes_on,
        state=asked.state,
        check_s=asked.check_s,
    )
    return wanted, plan_of(base, wanted.configurations)


def _words(asked: Asked, spec: Spec) -> list[str]:
    """The configuration of each stage, as named. Raises BenchError."""
    from bench.errors import PlanError

    words: dict[int, str] = {}
    for pair in asked.stage_words:
        stage, equals, word = pair.partition("=")
        if not (equals and word.strip()):
            raise PlanError(f"--stage {pair}: expected STAGE=CONFIG")
        number = spec.stage(stage).number
        if number in words:
            raise PlanError(f"--stage {pair}: stage {number} is there twice")
        words[number] = word.strip()
    for stage_ in spec.stages:
        if stage_.number not in words and not asked.entrant:
            raise PlanError(f"who does stage {stage_.number} ({stage_.name})? Say it with --with or --stage")
    return [words.get(one.number, (asked.entrant or "").strip()) for one in spec.stages]


def _plan(asked: Asked, words: Sequence[str]) -> Plan:
    """Only its configurations, caps and server count. Raises BenchError."""
    from bench.errors import PlanError
    from bench.plan import load_plan, named_plan
    from bench.race_plan import RacePlan, plan_text
    from bench.user_task import slug

    base = named_plan(asked.plan_name) if asked.plan_name else None
    wanted = RacePlan(
        name=slug(asked.spec_file.stem, "stages"),
        task="smoke",
        entrants=tuple(dict.fromkeys(words)),
        parallel=1,
        wall=asked.wall,
        usd=asked.usd,
    )
    with tempfile.TemporaryDirectory(prefix="hotseat-plan-") as folder:
        path = Path(folder) / "stages.toml"
        path.write_text(plan_text(wanted, base), encoding="utf-8")
        plan = load_plan(path, asked.remap)
    if oracles := [one.name for one in plan.configurations if one.harness == "oracle"]:
        raise PlanError(f"{oracles[0]}: a stage has no solution of its own: name a harness and a model")
    return plan


def _by_stage(asked: Asked, spec: Spec, configurations: Sequence[Configuration]) -> tuple[Configuration, ...]:
    """The plan has them in the order in which they were named first."""
    words = _words(asked, spec)
    found: Mapping[str, Configuration] = dict(zip(dict.fromkeys(words), configurations, strict=True))
    return tuple(found[word] for word in words)


# --- doing it --------------------------------------------------------------------------------------


async def _run(wanted: Wanted, plan: Plan, folder: Path, manner: Manner) -> Review:
    from bench.job import opened
    from bench.stage_report import to_markdown
    from bench.stages import claim, review, staged

    claim(folder)
    with opened(folder, plan, {}, ()) as job:
        found = staged(job, wanted)
        if not manner.quiet:
            _foretell(found)
        if found.left:
            await _stages(found, plan, manner)
        ended = review(job, wanted.spec)
        (job.folder / REVIEW).write_text(to_markdown(ended), encoding="utf-8")
    return ended


async def _stages(found: Staged, plan: Plan, manner: Manner) -> None:
    from bench.consent import agree, sold_models
    from bench.ground import Address, ground
    from bench.progress import Progress, ticking
    from bench.stages import run_stages

    needed = dataclasses.replace(plan, configurations=found.needed)
    async with ground(found.job, needed, Address(manner.url, manner.key), os.environ) as stands:
        agree(sold_models(needed, stands), yes=manner.yes)
        total, finished = len(found.wanted.spec.stages), len(found.record.kept)
        progress = Progress.on_stderr(total, finished, is_quiet=manner.quiet)
        with ended_by_signals():
            async with ticking(progress):
                await run_stages(found, stands, progress)


def _foretell(found: Staged) -> None:
    record = found.record
    click.echo(f"{record.repository} at {record.head[:12]}; results: {found.job.folder}", err=True)
    for limit in record.limits:
        click.echo(f"hotseat: note: {limit}", err=True)
    for one in record.kept:
        click.echo(f"done before: {one.label}, by {one.configuration}", err=True)
    for stage in found.left:
        click.echo(f"to do: {stage.label}, by {found.wanted.configurations[stage.number - 1].name}", err=True)

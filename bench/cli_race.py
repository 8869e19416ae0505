"""`hotseat bench race`: its options, read and checked; what is done with them: cli_race_run.py."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli_run import INTERRUPT_EXIT, JOBS, pairs
from bench.server import DEFAULT_SERVER

if TYPE_CHECKING:
    from bench.cli_race_run import Work

MAX_PROMPT_BYTES = 256 * 1024
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("race")
@click.argument("task", required=False)
@click.option(
    "--with",
    "entrants",
    multiple=True,
    metavar="A,B,C",
    help="who races: HARNESS:MODEL[+SUBAGENTMODEL][@EFFORT], or names of --plan  [default: all of it]",
)
@click.option(
    "--prompt", "prompt_file", metavar="FILE", help="what is to be done, in a file; - reads it here"
)
@click.option("--repo", type=click.Path(path_type=Path, exists=True, file_okay=False), help="git repository")
@click.option(
    "--check", "checks", multiple=True, metavar="COMMAND", help="ends with 0 if all is well; may be repeated"
)
@click.option("--check-timeout", "check_timeout", default="10m", show_default=True, help="for each check")
@click.option(
    "--probe",
    "probes",
    multiple=True,
    metavar="NAME=COMMAND",
    help="what it prints tells candidates apart that do different things; may be repeated",
)
@click.option(
    "--tag", "tags", multiple=True, help="of what kind the task is, for maps and notes; may be repeated"
)
@click.option(
    "--plan", "plan_name", metavar="PLAN", help="a plan with configurations, caps, models, a server"
)
@click.option(
    "--map", "maps", multiple=True, metavar="A=B", help="put model B in the place of A; may be repeated"
)
@click.option("--parallel", type=click.IntRange(1, 64), help="candidates at once  [default: all, 8 at most]")
@click.option("--wall", help="time of each candidate, such as 20m  [default: the plan's, or 30m]")
@click.option("--usd", metavar="DOLLARS", help="money of each candidate  [default: the plan's, or no bound]")
@click.option("--judge", metavar="MODEL", help="have this model choose among those that pass, side by side")
@click.option("--job", "folder", type=_FOLDER, help=f"folder of results  [default: {JOBS}/race-TIME]")
@click.option(
    "--url",
    envvar="HOTSEAT_SERVER",
    show_envvar=True,
    help=f"address of a running server  [default: the plan's own, or {DEFAULT_SERVER}]",
)
@click.option("--notes/--no-notes", default=False, help="add what came of it to the repository's notes")
@click.option("--redo-infrastructure", "redoes", is_flag=True, help="run again what could not be run")
@click.option("--yes", is_flag=True, help="do not ask before models that cost money are used")
@click.option("--quiet", is_flag=True, help="say nothing but errors and the end")
@click.option("--json", "as_json", is_flag=True, help="print the end as JSON")
def race(
    task: str | None,
    entrants: tuple[str, ...],
    prompt_file: str | None,
    repo: Path | None,
    checks: tuple[str, ...],
    check_timeout: str,
    probes: tuple[str, ...],
    tags: tuple[str, ...],
    plan_name: str | None,
    maps: tuple[str, ...],
    parallel: int | None,
    wall: str | None,
    usd: str | None,
    judge: str | None,
    folder: Path | None,
    url: str | None,
    notes: bool,
    redoes: bool,
    yes: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Have several configurations do the same task at once, each in a copy of its own.

    TASK is one of Hotseat's; or --prompt and --repo name work of yours: candidates start from the commit
    that HEAD is, and your repository is only read. `hotseat bench apply` takes a candidate's patch over.

    \b
    hotseat bench race bugfix-5 --with opencode:qwen3.6,codex:glm-4.7-flash
    hotseat bench race --prompt task.md --repo . --with codex:qwen3.6,claude-code:glm-4.7-flash \\
        --check "pytest -q" --judge qwen3.6
    hotseat bench race fork-spec --plan race-demo
    """
    from bench.cli_race_run import Wishes, run_wishes
    from bench.errors import BenchError
    from bench.harnesses.base import UnsuitedSetup
    from bench.launch import first_key
    from bench.server import ServerTrouble

    wishes = Wishes(
        task=task,
        entrants=tuple(word.strip() for words in entrants for word in words.split(",") if word.strip()),
        work=_work(task, prompt_file, repo, checks, check_timeout, probes, tags),
        plan_name=plan_name,
        remap=pairs(maps),
        parallel=parallel,
        wall=_duration("--wall", wall),
        usd=usd,
        judge=judge,
        folder=folder or Path(JOBS) / f"race-{time.strftime('%Y%m%d-%H%M%S')}",
        url=url,
        key=first_key(os.environ),
        notes=notes,
        redoes=redoes,
        yes=yes,
        quiet=quiet,
    )
    try:
        ended = asyncio.run(run_wishes(wishes))
    except (BenchError, ServerTrouble, UnsuitedSetup) as error:
        raise click.ClickException(str(error)) from error
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo(f"hotseat: stopped; go on with the same command and --job {wishes.folder}", err=True)
        sys.exit(INTERRUPT_EXIT)
    click.echo(json.dumps(ended.as_json(), indent=2) if as_json else ended.text())
    return 0 if ended.is_good else 1


# --- the options ----------------------------------------------------------------------------------


def _work(
    task: str | None,
    prompt_file: str | None,
    repo: Path | None,
    checks: tuple[str, ...],
    check_timeout: str,
    probes: tuple[str, ...],
    tags: tuple[str, ...],
) -> Work | None:
    """Raises click.UsageError for what does not go together."""
    if task is not None:
        if prompt_file or repo or checks or probes or tags:
            raise click.UsageError(
                "TASK brings its prompt, files, checks and tags: leave out --prompt, --repo, --check,"
                " --probe and --tag, or leave out TASK"
            )
        return None
    if prompt_file is None or repo is None:
        raise click.UsageError("expected TASK, or --prompt FILE and --repo PATH")
    limit_s = _duration("--check-timeout", check_timeout)
    assert limit_s is not None
    from bench.cli_race_run import Work
    from bench.plan import seconds
    from bench.user_task import slug

    for tag in tags:
        if slug(tag, "") != tag:
            raise click.BadParameter(f"{tag!r}: a-z 0-9 . _ -, 64 at most", param_hint="--tag")
    named = tuple(_probe(word) for word in probes)
    return Work(repo, _prompt(prompt_file), checks, seconds(limit_s), named, tags)


def _prompt(name: str) -> str:
    """Raises click.BadParameter."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_PROMPT_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(MAX_PROMPT_BYTES + 1)
        if len(data) > MAX_PROMPT_BYTES:
            raise click.BadParameter(f"{name}: more than {MAX_PROMPT_BYTES} bytes", param_hint="--prompt")
        text = data.decode()
    except OSError as error:
        raise click.BadParameter(f"{name}: {error.strerror}", param_hint="--prompt") from error
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{name}: not UTF-8", param_hint="--prompt") from error
    if not text.strip():
        raise click.BadParameter(f"{name}: it is empty", param_hint="--prompt")
    return text


def _probe(word: str) -> tuple[str, str]:
    name, equals, command = word.partition("=")
    if not (name.strip() and equals and command.strip()):
        raise click.BadParameter(f"expected NAME=COMMAND, found {word!r}", param_hint="--probe")
    return name.strip(), command


def _duration(option: str, text: str | None) -> str | None:
    from bench.plan import seconds

    try:
        if text is not None and seconds(text) <= 0:
            raise ValueError("expected more than 0")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error
    return text

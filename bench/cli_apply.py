"""`hotseat bench apply`: a candidate's patch, on the user's own repository."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.apply import Offered
    from bench.job import Job
    from bench.repository import Repository
    from bench.results import TrialResult

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("apply")
@click.argument("job", type=_FOLDER)
@click.argument("name", metavar="[TRIAL|CONFIGURATION]", required=False)
@click.option("--repo", type=_FOLDER, help="another clone than the one that the race began from")
@click.option("--branch", metavar="NAME", help="make a branch of one commit instead; change no file")
@click.option("--json", "as_json", is_flag=True, help="print what was done as JSON")
def apply(job: Path, name: str | None, repo: Path | None, branch: str | None, as_json: bool) -> None:
    """Put what a candidate did on your working tree; without a name, what the selection chose. Of a job of
    `hotseat bench stages`: what all of its stages did.

    It is looked at first: a patch that would write beside the repository, into .git or over changes of yours
    is refused, and nothing is changed. Nothing is committed and the index is left alone.

    \b
    hotseat bench apply jobs/race-20261101-101500
    hotseat bench apply jobs/race-20261101-101500 codex-qwen3.6 --branch try-codex
    """
    from bench.apply import APPLIED, apply_to_branch, apply_to_working_tree, message_of
    from bench.errors import BenchError

    try:
        found = _of_stages(job, name, repo) or _of_trial(job, name, repo)
        repository, offered = found.repository, found.offered
        if branch is not None:
            message = message_of(found.prompt, offered.configuration, job.resolve().name)
            done = apply_to_branch(repository, offered, branch, message)
        else:
            done = apply_to_working_tree(repository, offered, job / APPLIED)
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    if found.note:
        click.echo(f"hotseat: note: {found.note}", err=True)
    if as_json:
        told = {
            "trial": offered.trial,
            "configuration": offered.configuration,
            "place": done.place,
            "files": list(done.files),
            "merged": done.merged,
            "undo": done.undo,
        }
        click.echo(json.dumps(told, indent=2))
        return
    files = "1 file" if len(done.files) == 1 else f"{len(done.files)} files"
    merged = ", merged with what HEAD is now" if done.merged else ""
    click.echo(
        f"{offered.configuration} ({offered.trial}): {files} in {done.place} of {repository.top}{merged}"
    )
    click.echo(f"undo: {done.undo}")


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be put where. `note`: what somebody should know of it, or ""."""

    repository: Repository
    offered: Offered
    prompt: str
    note: str


def _of_trial(job: Path, name: str | None, repo: Path | None) -> Found:
    """Raises BenchError."""
    from bench.errors import BenchError
    from bench.race import read_race
    from bench.repository import Repository

    race = read_race(job)
    place = repo or (Path(race.repo) if race and race.repo else None)
    if place is None:
        raise BenchError(f"{job}: it did not begin from a repository of yours: name one with --repo")
    repository = Repository.at(place)
    result = _result(job, name)
    note = ""
    if result.validity == "INVALID" or result.outcome != "scored":
        reason = (*result.invalid_because, result.error, result.outcome)[0]
        note = f"this trial is {result.outcome}, {result.validity}: {reason}"
    offered = _offered(job, result, repository, race.head if race else "")
    return Found(repository, offered, race.prompt if race else "", note)


def _of_stages(job: Path, name: str | None, repo: Path | None) -> Found | None:
    """What the finished stages did, on the commit that all began with. None: it is no such job. Raises
    BenchError."""
    from bench.apply import Offered, read_patch
    from bench.errors import BenchError
    from bench.job import TRIALS
    from bench.repository import MAX_ANSWER_BYTES, Repository
    from bench.results import RESULT
    from bench.stage_record import read_record
    from bench.stages import PATCH

    record = read_record(job)
    if record is None:
        return None
    if name is not None:
        raise BenchError(
            f"{job}: its stages stand on each other, and are taken over together: leave {name!r} out"
        )
    if not (job / PATCH).exists():
        raise BenchError(f"{job}: no stage of it is finished: run `hotseat bench stages` with this --job")
    repository = Repository.at(repo or Path(record.repository))
    patch = read_patch(job / PATCH, MAX_ANSWER_BYTES + 1)
    ended = [one for one in record.kept if (job / TRIALS / one.trial / RESULT).exists()]
    who = " + ".join(dict.fromkeys(one.configuration for one in ended))
    offered = Offered("stages", who, patch, record.head)
    return Found(repository, offered, record.title, _left_of(_job(job)))


def _job(folder: Path) -> Job:
    from bench.job import Job

    return Job(folder.absolute(), folder.absolute().name, ())


def _left_of(job: Job) -> str:
    """Which stages have not passed. Raises BenchError."""
    from bench.reading import bounded
    from bench.spec import MAX_SPEC_BYTES, parse_spec
    from bench.stages import SPEC_FILE, review

    path = job.folder / SPEC_FILE
    stages = review(job, parse_spec(bounded(path, MAX_SPEC_BYTES), str(path))).stages
    left = [f"{one.stage.number} ({one.stage.name}) {one.state}" for one in stages if one.state != "passed"]
    return f"not all of its stages passed: {', '.join(left)}" if left else ""


def _result(job: Path, name: str | None) -> TrialResult:
    """By its trial or configuration; None: what the selection chose. Raises BenchError."""
    from bench.errors import BenchError
    from bench.results import results_of

    results = list(results_of(job))
    wanted = name if name is not None else _chosen(job, [one.configuration for one in results])
    found = [one for one in results if one.trial == wanted]
    found = found or [one for one in results if one.configuration == wanted]
    if len(found) == 1:
        return found[0]
    if not found:
        known = ", ".join(dict.fromkeys(one.configuration for one in results)) or "no finished trial"
        raise BenchError(f"{job}: no trial or configuration {wanted!r}: it has {known}")
    raise BenchError(
        f"{job}: {wanted} has {len(found)} trials: name one of {', '.join(one.trial for one in found[:5])}"
    )


def _chosen(job: Path, known: list[str]) -> str:
    """The trial. Raises BenchError."""
    from bench.errors import BenchError
    from bench.selection.record import read_selection

    names = ", ".join(dict.fromkeys(known)) or "none"
    selections = read_selection(job)
    if selections is None:
        raise BenchError(
            f"{job}: nobody has chosen yet: name a candidate ({names}), or have one chosen with `hotseat"
            " bench select`"
        )
    chosen = [one for one in selections if one.trial is not None]
    if len(selections) == 1 and not chosen:
        raise BenchError(f"{job}: {selections[0].decision}: {selections[0].why}: name a candidate ({names})")
    if len(chosen) != 1:
        raise BenchError(f"{job}: {len(chosen)} trials were chosen: name one of them")
    assert chosen[0].trial is not None
    return chosen[0].trial


def _offered(job: Path, result: TrialResult, repository: Repository, head: str) -> Offered:
    """A job that is no race says nothing of a commit: its patch is meant for HEAD."""
    from bench.apply import Offered, read_patch
    from bench.candidates import PATCH

    patch = read_patch(job / "trials" / result.trial / PATCH)
    return Offered(result.trial, result.configuration, patch, head or repository.commit())

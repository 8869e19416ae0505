"""What a knowledge log is asked: `hotseat bench notes rollup`, `explain` and `suggest`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bench.cli_notes_log import (
    echo,
    errors_said,
    json_option,
    left_out_json,
    log_of,
    log_option,
    name_left_out,
    read_of,
    say,
)

if TYPE_CHECKING:
    from bench.knowledge import Log
    from bench.note_rollup import Reading
    from bench.note_standing import NotedTrial, Standing
    from bench.note_suggestion import Wanted

JOBS = "jobs"

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


def _reading_options(command: _Command) -> _Command:
    for option in (
        click.option(
            "--any-version", is_flag=True, help="configurations that differ in the harness's version are one"
        ),
        click.option(
            "--half-life",
            default="90d",
            show_default=True,
            callback=lambda _context, _parameter, text: _half_life(text),
            help="after which a trial weighs half: 12h, 90d, 6w, 1y; or none",
        ),
    ):
        command = option(command)
    return command


@click.command("rollup")
@click.option("--tag", help="of this tag alone")
@_reading_options
@log_option
@json_option
def rollup(tag: str | None, half_life: Any, any_version: bool, log_file: Path | None, as_json: bool) -> None:
    """Per tag and configuration: the mean reward, how sure, from how much, how old, and what it cost."""
    from bench.note_rollup import NO_TAG, roll_up
    from bench.note_views import half_life_words, note_lines, reading_json, rolled_json, rollup_table

    consulted = _consulted(log_file, half_life, any_version)
    rows = roll_up(consulted.standing, consulted.reading, tag)
    if as_json:
        about = {"kind": "hotseat-notes-rollup", **reading_json(consulted.reading)}
        click.echo(
            json.dumps(
                {**about, "rows": [rolled_json(row) for row in rows], **consulted.left_out()}, indent=1
            )
        )
        return
    for subject in dict.fromkeys(row.subject for row in rows):
        title = subject if subject == NO_TAG else f"tag {subject}"
        say([f"{title.upper()} ({half_life_words(consulted.reading)})"])
        echo(rollup_table([row for row in rows if row.subject == subject]))
        for row in rows:
            if row.subject == subject:
                say(note_lines(row))
        click.echo()
    if not rows:
        click.echo(f"Nothing is noted{f' with the tag {tag}' if tag else ''}.")
    consulted.name_left_out()


@click.command("explain")
@click.argument("subject", metavar="TAG|TASK")
@click.argument("configuration", required=False)
@click.option(
    "--jobs", "jobs", type=_FOLDER, help=f"where to look for the jobs themselves  [default: {JOBS}]"
)
@_reading_options
@log_option
@json_option
def explain(
    subject: str,
    configuration: str | None,
    jobs: Path | None,
    half_life: Any,
    any_version: bool,
    log_file: Path | None,
    as_json: bool,
) -> None:
    """The trials behind a number of the roll-up: whose, when, where the rest is, and whether it is here
    unchanged. CONFIGURATION is a name or the beginning of a hash."""
    from bench.note_explanation import explain as explained
    from bench.note_views import (
        claim_lines,
        explained_table,
        explanation_json,
        reading_json,
        trials_table,
    )

    consulted = _consulted(log_file, half_life, any_version)
    reading = consulted.reading
    found = explained(consulted.standing, subject, reading, configuration)
    if not found.claims and not found.withdrawn:
        of_it = f" of {configuration}" if configuration else ""
        raise click.ClickException(f"nothing is noted{of_it} with the tag or of the task {subject!r}")
    where = _whereabouts(jobs or Path(JOBS))
    if as_json:
        about = {"kind": "hotseat-notes-explanation", **reading_json(reading)}
        click.echo(
            json.dumps({**about, **explanation_json(found, reading, where), **consulted.left_out()}, indent=1)
        )
        return
    for claim in found.claims:
        say(claim_lines(claim))
        echo(explained_table(claim, reading, where))
        click.echo()
    if found.withdrawn:
        click.echo("Taken back, and in none of these numbers:")
        echo(trials_table([], found.withdrawn))
    consulted.name_left_out()


@click.command("suggest")
@click.argument("task", required=False)
@click.option("--tag", "tags", multiple=True, help="tasks with this tag; may be repeated")
@_reading_options
@log_option
@json_option
def suggest(
    task: str | None,
    tags: tuple[str, ...],
    half_life: Any,
    any_version: bool,
    log_file: Path | None,
    as_json: bool,
) -> None:
    """Name the configuration that the log speaks for on a task, with its evidence; or say that it cannot.

    TASK is one of Hotseat's by its name, a task's folder with a /, or one that is in the log.
    """
    from bench.note_rollup import labels_of
    from bench.note_suggestion import suggest as decide
    from bench.note_views import reading_json, rollup_table, suggestion_json, suggestion_lines

    if not task and not tags:
        raise click.UsageError("expected a TASK, or a --tag")
    consulted = _consulted(log_file, half_life, any_version)
    wanted = _wanted(task, tags, consulted.standing)
    found = decide(consulted.standing, wanted, consulted.reading)
    labels = labels_of(consulted.standing, consulted.reading)
    if as_json:
        about = {"kind": "hotseat-notes-suggestion", **reading_json(consulted.reading)}
        click.echo(json.dumps({**about, **suggestion_json(found, labels), **consulted.left_out()}, indent=1))
        return
    say(suggestion_lines(found, labels))
    if rows := (*found.contenders, *found.others):
        click.echo()
        echo(rollup_table(rows))
    consulted.name_left_out()


# --- what is asked of it ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Consulted:
    """A log that was read to be asked."""

    log: Path
    read: Log
    standing: Standing
    reading: Reading

    def left_out(self) -> dict[str, Any]:
        return left_out_json(self.read, self.standing)

    def name_left_out(self) -> None:
        name_left_out(self.log, self.read, self.standing)


def _consulted(log_file: Path | None, half_life: float | None, any_version: bool) -> _Consulted:
    from bench.note_rollup import Reading
    from bench.note_standing import standing

    log = log_of(log_file)
    read = read_of(log)
    return _Consulted(log, read, standing(read.entries), Reading(time.time(), half_life, any_version))


def _half_life(text: str) -> float | None:
    from bench.note_rollup import half_life_s

    try:
        return half_life_s(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--half-life") from error


def _wanted(task: str | None, tags: tuple[str, ...], found: Standing) -> Wanted:
    """A task's own tags are taken if none are given."""
    from bench.note_suggestion import Wanted
    from bench.task import named_task, own_tasks

    if task is None:
        return Wanted(tags)
    if "/" in task or task in own_tasks():
        with errors_said():
            known = named_task(task)
        return Wanted(tags or known.tags, (known.label, known.digest))
    noted = [trial for trial in found.trials if trial.entry.task.label == task]
    if not noted:
        raise click.ClickException(
            f"there is no task {task!r} in the log, nor among Hotseat's own: expected one of"
            f" {', '.join(own_tasks())}, a folder with a /, or --tag alone"
        )
    newest = max(noted, key=lambda trial: (trial.entry.at_s, trial.ids))
    return Wanted(tags or newest.tags, newest.task)


def _whereabouts(jobs: Path) -> Callable[[NotedTrial], str]:
    from bench.knowledge import whereabouts

    def of(trial: NotedTrial) -> str:
        about = trial.entry.evidence
        return whereabouts(jobs, about.job, about.trial, about.result_sha)

    return of

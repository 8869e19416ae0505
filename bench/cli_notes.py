"""`hotseat bench notes`: what trials showed, kept in the repository and merged between people."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli_notes_asked import explain, rollup, suggest
from bench.cli_notes_log import (
    echo,
    entry_words,
    errors_said,
    json_option,
    left_out_json,
    line_json,
    log_of,
    log_option,
    name_left_out,
    name_lines,
    read_of,
)

if TYPE_CHECKING:
    from bench.note_standing import NotedTrial

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)

_by_option = click.option("--by", default="", metavar="NAME", help="who says so; nobody, if it is not given")


@click.group("notes")
def notes() -> None:
    """Keep what trials showed, add it up with what others found, and ask it.

    \b
    hotseat bench notes init                          once in a repository
    hotseat bench notes add jobs/friday --by ann      what a job showed
    hotseat bench notes rollup --tag python           what all of it adds up to
    hotseat bench notes suggest bugfix-5              which configuration to take, if that can be told
    """


@notes.command("init")
def init() -> None:
    """Begin a log in this repository: .hotseat/notes.jsonl, and .hotseat/.gitattributes for git to merge it
    line by line."""
    from bench.knowledge import begin, repository_of

    root = repository_of(Path.cwd()) or Path.cwd()
    with errors_said():
        made = begin(root)
    for path in made:
        click.echo(f"wrote {path}")
    if not made:
        click.echo(f"{root / '.hotseat'}: the log is there already")
    else:
        click.echo("Commit both. When two branches are merged, git takes the lines of both (merge=union).")


@notes.command("add")
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=_FOLDER)
@click.option("--note", default="", help="a remark on each of its trials")
@click.option("--tag", "tags", multiple=True, help="a tag beside those of the tasks; may be repeated")
@_by_option
@log_option
@json_option
def add(
    jobs: tuple[Path, ...],
    note: str,
    tags: tuple[str, ...],
    by: str,
    log_file: Path | None,
    as_json: bool,
) -> None:
    """Note every finished trial of jobs. What the log has already is not added again."""
    from bench.knowledge import append, entries_of

    log = log_of(log_file, is_made=True)
    with errors_said():
        found = [entry for job in jobs for entry in entries_of(job.resolve(), note=note, by=by, tags=tags)]
        new = append(log, found)
    known = len(found) - new
    if as_json:
        click.echo(json.dumps({"log": str(log), "new": new, "known": known}))
        return
    click.echo(f"{log}: {entry_words(new)} added, {known} known already")
    if not found:
        click.echo("hotseat: no trial of a model has come to its end there", err=True)


@notes.command("import")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True)
)
@log_option
@json_option
def import_(files: tuple[Path, ...], log_file: Path | None, as_json: bool) -> None:
    """Take over what others have noted. Twice, or in another order, comes to the same.

    Lines that cannot be read are named and kept beside the log, in notes.jsonl.apart: they do not count.
    """
    from bench.knowledge import APART, import_log

    log = log_of(log_file, is_made=True)
    for file in files:
        with errors_said():
            found = import_log(log, file)
        if as_json:
            numbers = {"new": found.new, "known": found.known, "newer": found.newer}
            apart = [line_json(one) for one in found.apart]
            click.echo(json.dumps({"log": str(log), "file": str(file), **numbers, "apart": apart}))
            continue
        click.echo(f"{log}: {entry_words(found.new)} added from {file}, {found.known} known already")
        if found.newer:
            click.echo(f"hotseat: {found.newer} more are for a later version of Hotseat to count", err=True)
        name_lines(file, found.apart)
        if found.apart:
            click.echo(f"hotseat: kept apart in {log.name}{APART}: {len(found.apart)}", err=True)


@notes.command("retract")
@click.argument("ids", metavar="ENTRY...", nargs=-1, required=True)
@click.option("--why", required=True, help="what was wrong with it")
@_by_option
@log_option
def retract(ids: tuple[str, ...], why: str, by: str, log_file: Path | None) -> None:
    """Take entries back, by the beginnings of their ids. The trial counts no more, whoever noted it.

    This is a line of the log too: nothing is deleted. To undo it, retract the id that it prints.
    """
    from bench.knowledge import append
    from bench.note_entries import SHORT_CHARS, retraction

    log = log_of(log_file)
    known = [entry.id for entry in read_of(log).entries]
    with errors_said():
        made = [retraction(_meant(word, known), why, by, time.time()) for word in ids]
        append(log, made)
    for one in made:
        click.echo(f"{one.retracts[:SHORT_CHARS]} is taken back by {one.id[:SHORT_CHARS]}")


@notes.command("list")
@click.option("--tag", help="with this tag alone")
@click.option("--task", help="of this task alone")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="so many, newest first")
@log_option
@json_option
def list_(tag: str | None, task: str | None, limit: int, log_file: Path | None, as_json: bool) -> None:
    """Every trial once, the newest first, with what was said of it; and what does not count, and why."""
    from bench.note_rollup import of_task, with_tag
    from bench.note_standing import standing
    from bench.note_views import trial_json, trials_table, withdrawn_json

    log = log_of(log_file)
    read = read_of(log)
    found = standing(read.entries)

    def chosen(trials: Sequence[NotedTrial]) -> list[NotedTrial]:
        kept = with_tag(trials, tag) if tag else list(trials)
        kept = of_task(kept, task) if task else kept
        return sorted(kept, key=lambda trial: (-trial.entry.at_s, trial.ids))[:limit]

    trials = chosen(found.trials)
    back = chosen([one.trial for one in found.withdrawn])
    withdrawn = [one for one in found.withdrawn if one.trial in back]
    if as_json:
        shown = {
            "log": str(log),
            "trials": [trial_json(trial) for trial in trials],
            "withdrawn": [withdrawn_json(one) for one in withdrawn],
            **left_out_json(read, found),
        }
        click.echo(json.dumps(shown, indent=1))
        return
    if trials or withdrawn:
        echo(trials_table(trials, withdrawn))
    hidden = len(found.trials) - len(trials)
    click.echo(f"{len(trials)} of {len(found.trials)} noted trials" + (": see --limit" if hidden else ""))
    name_left_out(log, read, found, every=True)


def _meant(word: str, known: Sequence[str]) -> str:
    from bench.errors import BenchError

    found = sorted({name for name in known if name.startswith(word)})
    if len(found) != 1:
        raise BenchError(f"{word}: expected the beginning of one entry's id, found it in {len(found)}")
    return found[0]


for _command in (rollup, explain, suggest):
    notes.add_command(_command)

"""`hotseat bench export`: a job's results in other people's formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.exports.folder import Exported

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_OUT = click.Path(path_type=Path, file_okay=False)


@click.group("export")
def export() -> None:
    """Write a job's results as Harbor's job, or as ATIF trajectories.

    \b
    hotseat bench export harbor jobs/friday --out friday-harbor
    hotseat bench export atif jobs/friday --out trajectories
    """


@export.command("harbor")
@click.argument("job", type=_FOLDER)
@click.option("--out", type=_OUT, required=True, help="an empty folder, or one that is not there yet")
def to_harbor(job: Path, out: Path) -> None:
    """A job's folder as Harbor keeps one: results, trajectories, and the tasks with their seeds.

    Its config.json runs the same tasks again where Harbor has its sandboxes; put the address of your Hotseat
    and a key into the `env` of its agents first.

    \b
    hotseat bench export harbor jobs/friday --out friday-harbor
    cd friday-harbor && harbor run --config config.json --jobs-dir again
    """
    from bench.exports.folder import export_harbor

    _export(export_harbor, job, out)


@export.command("atif")
@click.argument("job", type=_FOLDER)
@click.option("--out", type=_OUT, required=True, help="an empty folder, or one that is not there yet")
def to_atif(job: Path, out: Path) -> None:
    """A trajectory for each trial: one step for every request on the wire, sub-agents within their parents.

    \b
    hotseat bench export atif jobs/friday --out trajectories
    """
    from bench.exports.folder import export_atif

    _export(export_atif, job, out)


def _export(write: Callable[[Path, Path], Exported], job: Path, out: Path) -> None:
    from bench.errors import BenchError

    try:
        done = write(job.resolve(), out.resolve())
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    for note in done.notes:
        click.echo(f"hotseat: note: {note}", err=True)
    tasks = f", {done.n_tasks} tasks" if done.n_tasks else ""
    click.echo(f"{out}: {done.n_trials} trials{tasks}")

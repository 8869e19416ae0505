"""What all commands of `hotseat bench notes` do with a log: find it, read it, name what does not count."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from bench.knowledge import Log, Numbered
    from bench.note_standing import Standing
    from bench.reports.tables import Table

MAX_NAMED = 5
EXCERPT_CHARS = 60
MAX_WHY_CHARS = 200

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)


def log_option(command: _Command) -> _Command:
    return click.option(
        "--log", "log_file", type=_FILE, help="the log  [default: .hotseat/notes.jsonl of this repository]"
    )(command)


json_option = click.option("--json", "as_json", is_flag=True, help="print as JSON")


def log_of(given: Path | None, *, is_made: bool = False) -> Path:
    """`is_made`: one that is named is begun if it is not there."""
    from bench.knowledge import find_log

    if given is not None:
        if not given.exists() and not is_made:
            raise click.ClickException(f"{given}: there is no such log")
        return given
    found = find_log(Path.cwd())
    if found is None:
        raise click.ClickException(
            "this repository has no .hotseat/notes.jsonl: `hotseat bench notes init` begins one, or name a"
            " --log"
        )
    return found


def read_of(log: Path) -> Log:
    from bench.knowledge import read_log

    with errors_said():
        return read_log(log)


@contextlib.contextmanager
def errors_said() -> Iterator[None]:
    """In one line."""
    from bench.errors import BenchError

    try:
        yield
    except BenchError as error:
        raise click.ClickException(str(error)) from error


def echo(table: Table) -> None:
    from bench.reports.terminal import DEFAULT_WIDTH, table_text

    click.echo(table_text(table, shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns))


def say(lines: Sequence[str]) -> None:
    """What is foreign in them cannot move the cursor."""
    from bench.reports.words import printable

    for line in lines:
        click.echo(printable(line))


def entry_words(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def line_json(one: Numbered) -> dict[str, Any]:
    return {"line": one.number, "why": _why(one)}


def _why(one: Numbered) -> str:
    from bench.note_entries import Newer

    if isinstance(one.line, Newer):
        return f"of format {one.line.format}: a later version of Hotseat can count it"
    return one.line.why


def left_out_json(read: Log, found: Standing) -> dict[str, Any]:
    return {
        "lines_left_out": [line_json(one) for one in (*read.strange, *read.newer)],
        "contradictions": [
            {"result_sha": one.result_sha, "ids": list(one.ids)} for one in found.contradictions
        ],
        "retracted": len(found.withdrawn),
    }


def name_left_out(log: Path, read: Log, found: Standing, *, every: bool = False) -> None:
    name_lines(log, (*read.strange, *read.newer), every=every)
    for one in found.contradictions:
        ids = ", ".join(name[:10] for name in one.ids)
        click.echo(f"hotseat: entries {ids} tell of one trial and contradict each other: left out", err=True)
    if found.withdrawn and not every:
        click.echo(f"hotseat: taken back: {len(found.withdrawn)}; see notes list", err=True)


def name_lines(file: Path, lines: Sequence[Numbered], *, every: bool = False) -> None:
    from bench.reports.words import printable

    named = lines if every else lines[:MAX_NAMED]
    for one in named:
        excerpt = one.line.line[:EXCERPT_CHARS].decode(errors="replace")
        said = f"hotseat: {file}:{one.number}: left out: {_why(one)[:MAX_WHY_CHARS]}: {excerpt}"
        click.echo(printable(said), err=True)
    if len(lines) > len(named):
        click.echo(f"hotseat: and {len(lines) - len(named)} lines more: see notes list", err=True)

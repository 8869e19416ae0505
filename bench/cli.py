"""Commands of `hotseat` that belong to this package. The group in the proxy knows them by name only."""

from __future__ import annotations

import os
import pkgutil
from pathlib import Path

import click

from bench.server import DEFAULT_SERVER

WORDS = ("opencode", "codex", "claude")
BENCH = {
    "run": "bench.cli_run:run",
    "tasks": "bench.cli_tasks:tasks",
    "race": "bench.cli_race:race",
    "apply": "bench.cli_apply:apply",
    "report": "bench.cli_report:report",
    "compare": "bench.cli_report:compare",
    "map": "bench.cli_map:cost_map",
    "export": "bench.cli_export:export",
    "stages": "bench.cli_stages:stages",
    "notes": "bench.cli_notes:notes",
    "select": "bench.cli_select:select",
    "calibrate": "bench.cli_select:calibrate",
}
"""The commands of `hotseat bench`, by where they are."""


@click.command()
@click.argument("harness", type=click.Choice(WORDS))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--main", help="model that does the work  [default: the role main]")
@click.option("--small", help="model for titles and the like  [default: the role small]")
@click.option(
    "--subagent",
    "subagents",
    multiple=True,
    metavar="NAME=MODEL",
    help="a sub-agent on another model; may be repeated  [default: helper, on the role subagent]",
)
@click.option("--effort", help="how hard the main model thinks, in the harness's words")
@click.option(
    "--url",
    "--server",
    envvar="HOTSEAT_SERVER",
    show_envvar=True,
    default=DEFAULT_SERVER,
    show_default=True,
    help="address of a running server",
)
@click.option("--print", "shows", is_flag=True, help="print what would be done as a shell script; do nothing")
def launch(
    harness: str,
    arguments: tuple[str, ...],
    main: str | None,
    small: str | None,
    subagents: tuple[str, ...],
    effort: str | None,
    url: str,
    shows: bool,
) -> None:
    """Start a coding harness on this server's models, in the current directory.

    It gets a configuration of its own, in ~/.local/share/hotseat/launch: yours is neither read nor
    changed. Words after -- go to the harness.

    \b
    hotseat launch codex
    hotseat launch opencode --main qwen3.6 --subagent scout=glm-4.7-flash
    hotseat launch claude -- --continue
    hotseat launch codex --print > start-codex
    """
    from bench.harnesses.base import UnsuitedSetup
    from bench.harnesses.installed import HARNESSES
    from bench.launch import (
        NO_KEY,
        Launch,
        LaunchError,
        Wishes,
        become,
        compose,
        data_home,
        first_key,
        require_program,
        script,
    )
    from bench.server import ServerTrouble, fetch_offer

    chosen = HARNESSES[harness]
    wishes = Wishes(main, small, _pairs(subagents) if subagents else None, effort)
    try:
        program = require_program(chosen, os.environ)
        key = first_key(os.environ)
        offer = fetch_offer(url, key)
        home = data_home(harness, os.environ)
        composed = compose(offer, wishes, chosen, key=key or NO_KEY, home=home, workdir=Path.cwd())
        recipe = chosen.interactive(composed.setup)
        for note in composed.notes:
            click.echo(f"hotseat: note: {note}", err=True)
        started = Launch(chosen, composed.setup, recipe, program, arguments)
        if not shows:
            become(started, os.environ)
        click.echo(script(started, os.environ), nl=False)
    except (LaunchError, ServerTrouble, UnsuitedSetup) as error:
        raise click.ClickException(str(error)) from error


class _Bench(click.Group):
    """Commands are imported when somebody wants them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(BENCH)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = BENCH.get(cmd_name)
        if place is None:
            return None
        command: click.Command = pkgutil.resolve_name(place)
        return command


@click.group(cls=_Bench)
def bench() -> None:
    """Compare harnesses and models on tasks: counted on the wire, checked by hidden tests.

    \b
    hotseat bench run demo        scripted models, every harness, in minutes
    hotseat bench tasks           what there is to be done, and whether its checks can tell
    hotseat bench report JOB      what a job showed, with --html as one page
    """


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        name, equals, model = word.partition("=")
        if not (name and equals and model):
            raise click.BadParameter(f"expected NAME=MODEL, found {word!r}", param_hint="--subagent")
        if name in pairs:
            raise click.BadParameter(f"two sub-agents are called {name!r}", param_hint="--subagent")
        pairs[name] = model
    return pairs

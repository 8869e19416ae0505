"""The `hotseat` command group: reads the environment, builds what a command needs, prints what it found.

Results go to stdout, everything else to stderr; an error is one line with its remedy, and the exit
code is 0 only on success. Commands import what they need when they run: `hotseat ps` should not
wait for a web framework.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import sys
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from inference.errors import HotseatError
from proxy.cli_operate import load, ps, reload, unload
from proxy.cli_options import config_option, connect, json_option, server_option, shown_size, table
from proxy.cli_prices import prices
from proxy.cli_spend import spend
from proxy.client import ClientError

if TYPE_CHECKING:
    from proxy.server import Serving

USAGE_EXIT, INTERRUPT_EXIT = 2, 130


class JoinedCommand(click.Command):
    """A command of another package, known by an import string until somebody wants it."""

    def __init__(self, name: str, place: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self._place = place

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The real command's: that is whom click then asks for help and invokes."""
        command: click.Command = pkgutil.resolve_name(self._place)
        return command.make_context(info_name, args, parent, **extra)


class HotseatGroup(click.Group):
    """Ends every failed command in one line on stderr and a non-zero exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            status = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "hotseat"
            _fail(f"{error.format_message().rstrip('.')}: see `{command} --help`", USAGE_EXIT)
        except click.ClickException as error:
            _fail(error.format_message())
        except (HotseatError, ClientError) as error:
            _fail(str(error))
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPT_EXIT)
        sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int = 1) -> NoReturn:
    click.echo(f"hotseat: {' '.join(message.split())}", err=True)
    sys.exit(status)


def _budget(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> int | Literal["auto"] | None:
    from proxy.units import parse_bytes

    if value is None:
        return None
    if value == "auto":
        return "auto"
    try:
        return parse_bytes(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


# --- the group -----------------------------------------------------------------------------------


def _version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value:
        return
    import importlib.metadata

    try:
        click.echo(f"hotseat {importlib.metadata.version('hotseat')}")
    except importlib.metadata.PackageNotFoundError:
        click.echo("hotseat, from a checkout that is not installed")
    context.exit()


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=HotseatGroup, context_settings=_SETTINGS)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="print it and exit"
)
def main() -> None:
    """Many local models on one GPU, hot-swapped behind one OpenAI endpoint.

    \b
    hotseat serve                              start the server
    hotseat chat smollm2-135m "Say hello."     ask a model
    hotseat ps                                 what is loaded
    """


@main.command()
@config_option
@click.option("--host", help="address to listen on; anything but loopback needs a key")
@click.option("--port", type=click.IntRange(0, 65535), help="0 takes any free port")
@click.option("--budget", callback=_budget, help='memory that models may fill: 300000000, "28GiB", "auto"')
@click.option("--offline", is_flag=True, help="refuse remote routes before any socket opens")
@click.option("-v", "--verbose", is_flag=True, help="one line on stderr for each request")
def serve(
    config_path: Path | None,
    host: str | None,
    port: int | None,
    budget: int | Literal["auto"] | None,
    offline: bool,
    verbose: bool,
) -> None:
    """Serve the models of models.toml until Ctrl-C or SIGTERM.

    \b
    hotseat serve --budget 300000000
    hotseat serve --config ~/models.toml --port 9000 --offline
    """
    import logging

    from proxy.config import find_config, load_config
    from proxy.server import serve as run_server

    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    path = find_config(config_path, os.environ)
    read = partial(load_config, path, os.environ, host=host, port=port, budget_bytes=budget, offline=offline)
    run_server(read, announce=_announce, log_requests=verbose)


def _announce(serving: Serving) -> None:
    from proxy.banner import banner

    click.echo(banner(serving))


@main.command()
@config_option
@server_option
@json_option
def models(config_path: Path | None, server: str | None, as_json: bool) -> None:
    """List configured models and routes: file, architecture, context, memory, state.

    Works without a server; if one answers, its states are shown. Memory in three columns: the formula,
    the engine's own dry run, and the most that the last loads took; "-" is not known yet.

    \b
    hotseat models
    hotseat models --json
    """
    from inference.gpu import open_meter
    from proxy.config import find_config, load_config
    from proxy.inventory import model_rows, survey

    config = load_config(find_config(config_path, os.environ), os.environ)
    device = open_meter(config.memory.device).device()
    rows = model_rows(config, survey(config, device), _server_states(server))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(table(_MODEL_COLUMNS, [_model_cells(row) for row in rows]))
    for row in rows:
        if row.get("error"):
            click.echo(f"{row['name']}: {row['error']}", err=True)


_MODEL_COLUMNS = (
    *("NAME", "ENGINE", "ARCHITECTURE", "QUANT", "N_CTX", "SLOTS"),
    *("ESTIMATED", "DRY RUN", "MEASURED", "STATE", "FILE"),
)


def _model_cells(row: dict[str, Any]) -> tuple[str, ...]:
    if row["kind"] == "remote":
        return (row["name"], row["provider"], *["-"] * 7, row["state"], row["model"])
    memory = tuple(shown_size(row[key]) for key in ("estimated_bytes", "dry_run_bytes", "measured_bytes"))
    facts = (row["architecture"] or "-", row["quantisation"] or "-", str(row["n_ctx"]), str(row["slots"]))
    return (row["name"], row["engine"], *facts, *memory, row["state"], Path(row["file"]).name)


def _server_states(server: str | None) -> dict[str, str]:
    """States by model, or none: the listing needs no server, unless one was named."""
    try:
        state = connect(server).state(timeout_s=2.0)
    except ClientError:
        if server is not None:
            raise
        return {}
    return {str(model["name"]): str(model["state"]) for model in state.get("models", [])}


for _command in (ps, load, unload, reload, prices, spend):
    main.add_command(_command)
main.add_command(
    JoinedCommand(
        "launch", "bench.cli:launch", "Start opencode, Codex or Claude Code on this server's models."
    )
)
main.add_command(
    JoinedCommand("bench", "bench.cli:bench", "Compare harnesses and models on tasks, counted on the wire.")
)


@main.command()
@click.argument("name")
@click.argument("prompt", required=False)
@server_option
@click.option("--system", help="system message")
@click.option("--temperature", type=click.FloatRange(0, 100))
@click.option("--max-tokens", type=click.IntRange(min=1))
def chat(
    name: str,
    prompt: str | None,
    server: str | None,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
) -> None:
    """Ask a model once, or talk to it: without PROMPT, and with a terminal, it is a conversation.

    \b
    hotseat chat smollm2-135m "Say hello."
    git diff | hotseat chat smollm2-135m
    hotseat chat smollm2-135m
    """
    from proxy.chat_session import ChatOptions, ChatSession

    options = ChatOptions(name, system, temperature, max_tokens)
    session = ChatSession(connect(server), options, sys.stdout, sys.stderr)
    if prompt is None and sys.stdin.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - importing it gives input() line editing

        session.talk(input)
        return
    text = sys.stdin.read() if prompt is None else prompt
    if not text.strip():
        raise click.UsageError("the prompt is empty")
    session.ask(text)


@main.command()
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="go on with new lines and what the pool does")
@server_option
def logs(name: str | None, follow: bool, server: str | None) -> None:
    """Show what workers wrote to stderr, also after their death.

    \b
    hotseat logs smollm2-135m
    hotseat logs -f
    """
    from proxy.log_follower import follow_logs, show_logs

    client = connect(server)
    if follow:
        follow_logs(client, name, click.echo)
    else:
        show_logs(client, name, click.echo)


@main.command()
@config_option
@json_option
def doctor(config_path: Path | None, as_json: bool) -> int:
    """Check engine, device, models, keys, port and harnesses; exit 1 if something is broken.

    \b
    hotseat doctor
    hotseat doctor --json
    """
    from proxy.doctor import Finding, examine

    verdicts = pkgutil.resolve_name("bench.harnesses.installed:verdicts")(os.environ)
    harnesses = (Finding("cli", verdict.status, verdict.text, verdict.remedy) for verdict in verdicts)
    findings = []
    for finding in chain(examine(config_path, os.environ), harnesses):
        findings.append(finding)
        if not as_json:
            remedy = f": {finding.remedy}" if finding.remedy else ""
            click.echo(f"{finding.status:<4}  {finding.area:<6}  {finding.text}{remedy}")
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in findings], indent=2))
    return 1 if any(finding.status == "fail" for finding in findings) else 0


if __name__ == "__main__":
    main()

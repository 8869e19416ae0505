"""The `hotseat` command group: reads the environment, builds what a command needs, prints what it found.

Results go to stdout, everything else to stderr; an error is one line with its remedy, and the exit
code is 0 only on success. Commands import what they need when they run: `hotseat ps` should not
wait for a web framework.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import click

from inference.errors import HotseatError
from proxy.client import DEFAULT_SERVER, NOT_DOWNLOADED, Client, ClientError

if TYPE_CHECKING:
    from proxy.server import Serving

USAGE_EXIT, INTERRUPT_EXIT = 2, 130


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


# --- options that several commands share ---------------------------------------------------------

Command = Callable[..., Any]


def _config_option(command: Command) -> Command:
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        help="models.toml to use  [default: that of this folder, of ~/.config/hotseat, of Hotseat]",
    )(command)


def _server_option(command: Command) -> Command:
    return click.option(
        "--server",
        envvar="HOTSEAT_SERVER",
        show_envvar=True,
        help=f"address of a running server  [default: {DEFAULT_SERVER}]",
    )(command)


_json_option = click.option("--json", "as_json", is_flag=True, help="print JSON, for programs")


def _client(server: str | None) -> Client:
    """The key is the first of HOTSEAT_API_KEY, which the server reads too and may hold several."""
    keys = os.environ.get("HOTSEAT_API_KEY", "").replace(",", " ").split()
    return Client(server or DEFAULT_SERVER, keys[0] if keys else None)


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
@_config_option
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
    config = load_config(path, os.environ, host=host, port=port, budget_bytes=budget, offline=offline)
    run_server(config, announce=_announce, log_requests=verbose)


def _announce(serving: Serving) -> None:
    from proxy.banner import banner

    click.echo(banner(serving))


@main.command()
@_config_option
@_server_option
@_json_option
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
    memory = tuple(_size(row[key]) for key in ("estimated_bytes", "dry_run_bytes", "measured_bytes"))
    facts = (row["architecture"] or "-", row["quantisation"] or "-", str(row["n_ctx"]), str(row["slots"]))
    return (row["name"], row["engine"], *facts, *memory, row["state"], Path(row["file"]).name)


def _server_states(server: str | None) -> dict[str, str]:
    """States by model, or none: the listing needs no server, unless one was named."""
    try:
        state = _client(server).state(timeout_s=2.0)
    except ClientError:
        if server is not None:
            raise
        return {}
    return {str(model["name"]): str(model["state"]) for model in state.get("models", [])}


@main.command()
@_server_option
@_json_option
@click.option("-a", "--all", "show_all", is_flag=True, help="models that are not loaded, too")
def ps(server: str | None, as_json: bool, show_all: bool) -> None:
    """Show what is loaded: state, memory, requests running and waiting.

    \b
    hotseat ps
    hotseat ps --json | jq .swaps
    """
    state = _client(server).state()
    if as_json:
        click.echo(json.dumps(state, indent=2))
        return
    device, rows = state["device"], state["models"]
    budget, free = _size(device["budget_bytes"]), _size(device["free_bytes"])
    click.echo(f"{device['kind']}: {free} free, budget {budget}; {state['swaps']} swaps")
    shown = [row for row in rows if show_all or _is_news(row)]
    if shown:
        click.echo(table(_PS_COLUMNS, [_ps_cells(row) for row in shown]))
    else:
        click.echo(f"none of {len(rows)} models is loaded: a model's first request loads it")


def _is_news(row: dict[str, Any]) -> bool:
    """Loaded, on its way, waited for, or failed; that a file was never downloaded is not a failure."""
    if row["state"] == "failed":
        return NOT_DOWNLOADED not in row["error"]
    return bool(row["state"] != "unloaded" or row["queued"])


_PS_COLUMNS = ("NAME", "STATE", "ESTIMATED", "DRY RUN", "MEASURED", "RUNNING", "QUEUED", "ERROR")


def _ps_cells(row: dict[str, Any]) -> tuple[str, ...]:
    state = row["state"] + (" (pinned)" if row["pinned"] else "")
    memory = tuple(_size(row[key]) for key in ("estimated_bytes", "dry_run_bytes", "measured_bytes"))
    running = f"{row['leases']}/{row['slots']}"
    return (row["name"], state, *memory, running, str(row["queued"]), row["error"] or "")


@main.command()
@click.argument("name")
@_server_option
def load(name: str, server: str | None) -> None:
    """Load a model now, and return when it is ready.

    \b
    hotseat load smollm2-135m
    """
    from proxy.progress import PoolProgress

    client = _client(server)
    with PoolProgress(client, sys.stderr) as progress:
        progress.begin()
        client.load(name)
    click.echo(f"{name} is ready")


@main.command()
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="every model")
@_server_option
def unload(name: str | None, every: bool, server: str | None) -> None:
    """Unload a model, or all: running answers finish first.

    \b
    hotseat unload smollm2-135m
    hotseat unload --all
    """
    if (name is None) != every:
        raise click.UsageError("expected either NAME or --all")
    _client(server).unload(name)
    click.echo(f"{name or 'every model'} is unloaded")


@main.command()
@click.argument("name")
@click.argument("prompt", required=False)
@_server_option
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
    session = ChatSession(_client(server), options, sys.stdout, sys.stderr)
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
@_server_option
def logs(name: str | None, follow: bool, server: str | None) -> None:
    """Show what workers wrote to stderr, also after their death.

    \b
    hotseat logs smollm2-135m
    hotseat logs -f
    """
    from proxy.log_follower import follow_logs, show_logs

    client = _client(server)
    if follow:
        follow_logs(client, name, click.echo)
    else:
        show_logs(client, name, click.echo)


@main.command()
@_config_option
@_json_option
def doctor(config_path: Path | None, as_json: bool) -> int:
    """Check engine, device, models, keys and port; exit 1 if something is broken.

    \b
    hotseat doctor
    hotseat doctor --json
    """
    from proxy.doctor import examine

    findings = []
    for finding in examine(config_path, os.environ):
        findings.append(finding)
        if not as_json:
            remedy = f": {finding.remedy}" if finding.remedy else ""
            click.echo(f"{finding.status:<4}  {finding.area:<6}  {finding.text}{remedy}")
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in findings], indent=2))
    return 1 if any(finding.status == "fail" for finding in findings) else 0


# --- printing ------------------------------------------------------------------------------------


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; the last one may be as long as it is."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in [columns, *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)


def _size(count: int | None) -> str:
    from proxy.units import format_bytes

    return "-" if count is None else format_bytes(count)


if __name__ == "__main__":
    main()

"""Commands that look after a running server: what is loaded, load, unload, reload."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from proxy.cli_options import connect, json_option, server_option, shown_size, table
from proxy.client import NOT_DOWNLOADED


@click.command()
@server_option
@json_option
@click.option("-a", "--all", "show_all", is_flag=True, help="models that are not loaded, too")
def ps(server: str | None, as_json: bool, show_all: bool) -> None:
    """Show what is loaded: state, memory, requests running and waiting.

    \b
    hotseat ps
    hotseat ps --json | jq .swaps
    """
    state = connect(server).state()
    if as_json:
        click.echo(json.dumps(state, indent=2))
        return
    device, rows = state["device"], state["models"]
    budget, free = shown_size(device["budget_bytes"]), shown_size(device["free_bytes"])
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
    memory = tuple(shown_size(row[key]) for key in ("estimated_bytes", "dry_run_bytes", "measured_bytes"))
    running = f"{row['leases']}/{row['slots']}"
    return (row["name"], state, *memory, running, str(row["queued"]), row["error"] or "")


@click.command()
@click.argument("name")
@server_option
def load(name: str, server: str | None) -> None:
    """Load a model now, and return when it is ready.

    \b
    hotseat load smollm2-135m
    """
    from proxy.progress import PoolProgress

    client = connect(server)
    with PoolProgress(client, sys.stderr) as progress:
        progress.begin()
        client.load(name)
    click.echo(f"{name} is ready")


@click.command()
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="every model")
@server_option
def unload(name: str | None, every: bool, server: str | None) -> None:
    """Unload a model, or all: running answers finish first.

    \b
    hotseat unload smollm2-135m
    hotseat unload --all
    """
    if (name is None) != every:
        raise click.UsageError("expected either NAME or --all")
    connect(server).unload(name)
    click.echo(f"{name or 'every model'} is unloaded")


@click.command()
@server_option
@json_option
def reload(server: str | None, as_json: bool) -> None:
    """Read models.toml again: models that did not change stay loaded, running answers go on.

    \b
    hotseat reload
    hotseat reload --json | jq .needs_restart
    """
    answer = connect(server).reload()
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    for what in ("kept", "changed", "added", "removed"):
        click.echo(f"{what}: {', '.join(answer[what]) or '-'}")
    if answer["needs_restart"]:
        click.echo(f"these keys wait for a restart: {', '.join(answer['needs_restart'])}", err=True)

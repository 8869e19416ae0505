"""`hotseat spend`: what the ledger says was spent, from the server or straight from the ledger itself."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from inference.errors import ConfigError
from proxy.cli_options import config_option, connect, json_option, server_option, table
from proxy.client import Unreachable

if TYPE_CHECKING:
    from proxy.ledger_queries import By

GROUPINGS = ("day", "model", "run", "key", "node", "upstream")
READ_S = 120.0
J_PER_WH = 3600


def _since(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    from proxy.units import parse_duration_s

    if value is None:
        return None
    try:
        day = datetime.date.fromisoformat(value)
    except ValueError:
        try:
            return time.time() - parse_duration_s(value)
        except ValueError as error:
            raise click.BadParameter('expected a day like 2026-11-01 (UTC), or "7d" or "12h"') from error
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp()


@click.command()
@click.option("--by", type=click.Choice(GROUPINGS), default="day", show_default=True)
@click.option("--since", callback=_since, help="a day like 2026-11-01 (UTC), or 7d, 12h")
@click.option("--csv", "as_csv", is_flag=True, help="print CSV")
@json_option
@click.option(
    "--file", "from_ledger", is_flag=True, help="read the ledger itself, whether a server runs or not"
)
@config_option
@server_option
def spend(
    by: By,
    since: float | None,
    as_csv: bool,
    as_json: bool,
    from_ledger: bool,
    config_path: Path | None,
    server: str | None,
) -> None:
    """Show requests, tokens, energy and cost, exact to the last digit, from the ledger.

    A running server is asked; without one the ledger that models.toml names is read. Days are UTC's.

    \b
    hotseat spend
    hotseat spend --by model --since 7d
    hotseat spend --by run --csv > runs.csv
    """
    if as_csv and as_json:
        raise click.UsageError("expected one of --csv and --json")
    spending = None if from_ledger else _from_server(server, by, since)
    if spending is None:
        spending = _from_ledger(config_path, by, since)
    if as_json:
        click.echo(json.dumps(spending, indent=2))
    elif as_csv:
        click.echo(_csv(by, spending["groups"]), nl=False)
    else:
        click.echo(_table(by, spending))
    if not spending["is_complete"]:
        click.echo("there are more groups than are shown: narrow it with --since", err=True)


def _from_server(server: str | None, by: By, since: float | None) -> dict[str, Any] | None:
    """None: none runs, and none was named."""
    try:
        return connect(server).spending(by, since)
    except Unreachable:
        if server is not None:
            raise
        return None


def _from_ledger(config_path: Path | None, by: By, since: float | None) -> dict[str, Any]:
    import msgspec

    from proxy.config import find_config, load_config
    from proxy.ledger_journal import segment_paths
    from proxy.ledger_queries import spending
    from proxy.ledger_store import StoreError, open_store

    config = load_config(find_config(config_path, os.environ), os.environ).ledger
    if config is None:
        raise ConfigError("no ledger is kept: set enabled = true under [ledger] in models.toml")
    if config.path is not None and not config.path.exists():
        raise ConfigError(
            f"there is no ledger at {config.path} yet: it begins with the first `hotseat serve`"
        )
    if segment_paths(config.journal):
        click.echo(
            f"rows that are still in {config.journal}.* come with the next start of the server", err=True
        )
    try:
        store = open_store(config)
        with store.reading(READ_S) as connection:
            found = spending(connection, by, since)
        store.close()
    except StoreError as error:
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        raise ConfigError(f"the ledger {config.place} cannot be read: {cause}: check [ledger]") from error
    return dict(msgspec.to_builtins(found))


_COUNTS = (
    *("requests", "attempts", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens"),
    *("reasoning_tokens", "tool_calls", "cost_usd", "unpriced", "energy_j"),
)


def _csv(by: str, groups: list[dict[str, Any]]) -> str:
    """Failures one column for each fault."""
    from inference.errors import Fault

    faults = get_args(Fault)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([by, *_COUNTS, *(f"failed_{fault}" for fault in faults)])
    for group in groups:
        failures = group["failures"]
        counts = ("" if group[name] is None else group[name] for name in _COUNTS)
        lines.writerow([_cell(group["group"]), *counts, *(failures.get(fault, 0) for fault in faults)])
    return text.getvalue()


def _cell(text: str) -> str:
    """Spreadsheets take what begins so for a formula; names come from clients."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _table(by: str, spending: dict[str, Any]) -> str:
    columns = (
        by.upper(),
        "REQUESTS",
        "FAILED",
        "INPUT",
        "CACHED",
        "OUTPUT",
        "REASONING",
        "ENERGY",
        "COST USD",
    )
    rows = [_row(_shown(group["group"]), group) for group in spending["groups"]]
    return table(columns, [*rows, _row("total", spending["total"])])


def _row(name: str, totals: dict[str, Any]) -> tuple[str, ...]:
    counts = (
        totals["input_tokens"],
        totals["cached_tokens"],
        totals["output_tokens"],
        totals["reasoning_tokens"],
    )
    energy_j = totals["energy_j"]
    energy = "-" if energy_j is None else f"{energy_j / J_PER_WH:.3g} Wh"
    failed = sum(totals["failures"].values())
    return (name, str(totals["requests"]), str(failed), *map(str, counts), energy, _cost(totals))


def _cost(totals: dict[str, Any]) -> str:
    """All its digits, but zeros at the end."""
    cost = Decimal(totals["cost_usd"])
    text = f"{cost:f}".rstrip("0").rstrip(".") if "." in f"{cost:f}" else f"{cost:f}"
    unpriced = totals["unpriced"]
    return f"{text} and {unpriced} of unknown cost" if unpriced else text


def _shown(group: str) -> str:
    return group if group.isprintable() and group else "-" if not group else ascii(group)

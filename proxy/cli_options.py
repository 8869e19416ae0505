"""What several commands of `hotseat` share: options, the connection to a server, tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from proxy.client import DEFAULT_SERVER, Client

Command = Callable[..., Any]


def config_option(command: Command) -> Command:
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        help="models.toml to use  [default: that of this folder, of ~/.config/hotseat, of Hotseat]",
    )(command)


def server_option(command: Command) -> Command:
    return click.option(
        "--server",
        envvar="HOTSEAT_SERVER",
        show_envvar=True,
        help=f"address of a running server  [default: {DEFAULT_SERVER}]",
    )(command)


json_option = click.option("--json", "as_json", is_flag=True, help="print JSON, for programs")


def connect(server: str | None) -> Client:
    """The key is the first of HOTSEAT_API_KEY, which the server reads too and may hold several."""
    keys = os.environ.get("HOTSEAT_API_KEY", "").replace(",", " ").split()
    return Client(server or DEFAULT_SERVER, keys[0] if keys else None)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; the last one may be as long as it is."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in [columns, *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)


def shown_size(count: int | None) -> str:
    from proxy.units import format_bytes

    return "-" if count is None else format_bytes(count)

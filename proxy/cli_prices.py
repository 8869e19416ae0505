"""`hotseat prices`: the book that requests are priced by, and its update from OpenRouter's catalogue."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy.cli_options import config_option, json_option, table

if TYPE_CHECKING:
    from proxy.config_file import FileSections
    from proxy.price_catalogue import Change
    from proxy.prices import PriceEntry, Rates

MAX_SHOWN_CHANGES = 40


@click.group(invoke_without_command=True)
@config_option
@json_option
@click.option("--all", "show_all", is_flag=True, help="earlier prices, too")
@click.pass_context
def prices(context: click.Context, config_path: Path | None, as_json: bool, show_all: bool) -> None:
    """List what tokens cost, in USD per million: the shipped price book, and yours over it.

    \b
    hotseat prices
    hotseat prices --json | jq '.[] | select(.provider == "anthropic")'
    hotseat prices update
    """
    if context.invoked_subcommand is not None:
        return
    from proxy.config import find_config, load_config

    book = load_config(find_config(config_path, os.environ), os.environ).money.book
    today = datetime.datetime.now(datetime.UTC).date()
    entries = [e for e in book.entries if show_all or e is book.find(e.provider, e.model, today)]
    if as_json:
        click.echo(json.dumps([_as_json(entry) for entry in entries], indent=2))
    elif entries:
        click.echo(table(_COLUMNS, [_cells(entry) for entry in entries]))
    else:
        click.echo("no prices: `hotseat prices update` gets those of OpenRouter")


@prices.command()
@config_option
@click.option("--provider", default="openrouter", show_default=True, help="one of [providers]")
@click.option("--dry-run", is_flag=True, help="show what would change, and write nothing")
@click.option(
    "--offline", is_flag=True, envvar="HOTSEAT_OFFLINE", show_envvar=True, help="refuse: this needs a network"
)
def update(config_path: Path | None, provider: str, dry_run: bool, offline: bool) -> None:
    """Read OpenRouter's catalogue, and write what changed into your price book, dated today.

    \b
    hotseat prices update
    hotseat prices update --dry-run
    """
    import asyncio

    from inference.errors import ConfigError
    from proxy.config import find_config
    from proxy.money_config import user_book
    from proxy.price_update import own_book, update_from, write_book

    if offline:
        raise ConfigError("prices are updated from the network, and this is --offline: nothing was changed")
    file = find_config(config_path, os.environ)
    sections = _sections(file)
    path = user_book(sections.prices, file.absolute().parent, os.environ)
    today = datetime.datetime.now(datetime.UTC).date()
    base_url = _base_url(sections, provider)
    found = asyncio.run(update_from(base_url, provider, own_book(path), today))
    for change in found.changes[:MAX_SHOWN_CHANGES]:
        click.echo(f"{change.kind:<8} {change.model}: {_shown_change(change)}")
    if len(found.changes) > MAX_SHOWN_CHANGES:
        click.echo(f"… and {len(found.changes) - MAX_SHOWN_CHANGES} more")
    click.echo(f"{len(found.changes)} changes, {found.n_unchanged} prices as before")
    if dry_run:
        click.echo(f"{path} is as it was")
    else:
        write_book(path, found.book)
        click.echo(f"{path} is written; a running server takes it with `hotseat reload`")


def _sections(file: Path) -> FileSections:
    """Checked like a server's, but for what is not there yet: the book that this writes."""
    from proxy.config import read_config_text
    from proxy.config_file import read_sections

    return read_sections(read_config_text(file), str(file))


def _base_url(sections: FileSections, provider: str) -> str:
    from inference.errors import ConfigError
    from proxy.config_file import near_names
    from proxy.providers import kind_of

    section = sections.providers.get(provider)
    if section is None:
        known = near_names(provider, sorted(sections.providers))
        raise ConfigError(f"no [providers.{provider}] in models.toml; {known}")
    base_url = section.base_url or kind_of(section.kind or provider).base_url
    if not base_url:
        raise ConfigError(f"providers.{provider} has no base_url: add it")
    return base_url


_COLUMNS = (
    "PROVIDER",
    "MODEL",
    "INPUT",
    "CACHED",
    "CACHE WRITE",
    "OUTPUT",
    "REASONING",
    "SINCE",
    "LONG PROMPTS",
)


def _cells(entry: PriceEntry) -> tuple[str, ...]:
    rates = entry.rates
    given = (rates.input, rates.cached_input, rates.cache_write, rates.output, rates.reasoning)
    long_prompt = "-"
    if entry.long_prompt is not None:
        dear = _shown_rates(entry.long_prompt.rates)
        long_prompt = f"above {entry.long_prompt.above_tokens} tokens {dear}"
    return (entry.provider, entry.model, *(_million(r) for r in given), entry.date.isoformat(), long_prompt)


def _million(rate: Any) -> str:
    return "-" if rate is None else f"{(rate * 1_000_000).normalize():f}"


def _shown_rates(rates: Rates) -> str:
    return f"{_million(rates.input)} / {_million(rates.output)}"


def _shown_change(change: Change) -> str:
    shown = [_shown_rates(rates) for rates in (change.was, change.now) if rates is not None]
    return " -> ".join(shown) + (", no longer offered" if change.now is None else "")


def _as_json(entry: PriceEntry) -> dict[str, Any]:
    """USD for one token, as text: a float would not be exact."""
    shown: dict[str, Any] = {
        "provider": entry.provider,
        "model": entry.model,
        "since": entry.date.isoformat(),
        "source": entry.source,
        "usd_per_token": _rates_json(entry.rates),
    }
    if entry.long_prompt is not None:
        above = {"above_tokens": entry.long_prompt.above_tokens}
        shown["long_prompt"] = above | {"usd_per_token": _rates_json(entry.long_prompt.rates)}
    return shown


def _rates_json(rates: Rates) -> dict[str, str | None]:
    from proxy.prices import RATE_CLASSES

    given = {name: getattr(rates, name) for name in RATE_CLASSES}
    return {name: None if rate is None else f"{rate:f}" for name, rate in given.items()}

"""[keys], [budgets], [energy], [prices] of models.toml: what is read and refused, and that no key shows."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from inference.errors import ConfigError
from proxy.callers import Budget, Caller
from proxy.config import Config, load_config
from proxy.money_config import SHIPPED_BOOK, MoneyConfig, digest_of, read_book, read_secret
from proxy.rates import Rate

CANARY = "canary-0123456789-abcdef"
ENVIRON = {"CI_KEY": CANARY, "OTHER_KEY": "another-0123456789-abcdef"}


def load(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    path = folder / "models.toml"
    path.write_text(text)
    return load_config(path, {"HOTSEAT_HOME": str(folder / "home"), **ENVIRON, **(environ or {})})


def test_nothing_said_gives_the_shipped_prices_and_no_limits(tmp_path: Path) -> None:
    money = load(tmp_path, "").money
    assert money == MoneyConfig(book=read_book(SHIPPED_BOOK))


def test_a_key_with_all_it_may_have(tmp_path: Path) -> None:
    money = load(
        tmp_path,
        '[keys.ci]\nenv = "CI_KEY"\nmodels = ["opus-*", "x/y"]\nrate = "60/min"\n'
        'budget = { usd = "5.00", per = "day" }\n'
        '[keys.boss]\nenv = "OTHER_KEY"\nadmin = true\n'
        '[budgets]\nusd_per_day = "20"\nreserve_usd = "0.25"\n[energy]\nusd_per_kwh = "0.31"\n',
    ).money
    ci, boss = money.keys
    assert ci.caller == Caller(
        "ci",
        models=("opus-*", "x/y"),
        budget=Budget(Decimal("5.00"), "day"),
        rate=Rate(60, 60.0),
        is_admin=False,
    )
    assert boss.caller == Caller("boss", is_admin=True)
    assert ci.digest == digest_of(CANARY.encode())
    assert (money.usd_per_day, money.reserve_usd, money.usd_per_kwh) == (
        Decimal(20),
        Decimal("0.25"),
        Decimal("0.31"),
    )


def secret_file(folder: Path, text: str = f"{CANARY}\n", mode: int = 0o600) -> Path:
    path = folder / "ci.key"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_from_a_file_of_the_owner_alone(tmp_path: Path) -> None:
    secret_file(tmp_path)
    (key,) = load(tmp_path, '[keys.ci]\nfile = "ci.key"').money.keys
    assert key.digest == digest_of(CANARY.encode())


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    secret_file(tmp_path, mode=mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 600"):
        load(tmp_path, '[keys.ci]\nfile = "ci.key"')


def test_a_fifo_or_a_folder_is_no_key_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ci.key", 0o600)
    with pytest.raises(ValueError, match="no regular file"):
        read_secret(tmp_path / "ci.key")
    with pytest.raises(OSError, match=r"ci\.keys"):
        read_secret(tmp_path / "ci.keys")
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises((ValueError, OSError)):
        read_secret(tmp_path / "folder")


REFUSED = {
    "no source": ("[keys.ci]\n", ["keys.ci", "one of env and file", "neither"]),
    "two sources": (
        f'[keys.ci]\nenv = "CI_KEY"\nfile = "{CANARY}"',
        ["keys.ci", "one of env and file", "both"],
    ),
    "variable not set": ('[keys.ci]\nenv = "NOPE"', ["keys.ci.env", "NOPE is not set"]),
    "key instead of its variable": (f'[keys.ci]\nenv = "{CANARY}"', ["keys.ci.env", "not the key"]),
    "key instead of its file": (f'[keys.ci]\nfile = "{CANARY}"', ["keys.ci.file", "No such file"]),
    "key as a value": (f'[keys]\nci = "{CANARY}"', ["keys.ci", "a table"]),
    "key under a made-up name": (f'[keys.ci]\nkey = "{CANARY}"', ["keys.ci.key", "unknown key"]),
    "key among the models": (f'[keys.ci]\nenv = "CI_KEY"\nmodels = "{CANARY}"', ["keys.ci.models", "a list"]),
    "short key": ('[keys.ci]\nenv = "SHORT"', ["keys.ci.env", "16 to 1000", "openssl rand"]),
    "key with blanks": ('[keys.ci]\nenv = "BLANKS"', ["keys.ci.env", "without blanks"]),
    "same key twice": (
        '[keys.ci]\nenv = "CI_KEY"\n[keys.cd]\nenv = "CI_KEY"',
        ["keys.cd", "same value as keys.ci"],
    ),
    "same key as an unscoped one": (
        '[server]\napi_keys_env = "CI_KEY"\n[keys.ci]\nenv = "CI_KEY"',
        ["keys.ci", "server.api_keys_env"],
    ),
    "budget as a number": (
        '[keys.ci]\nenv = "CI_KEY"\nbudget = { usd = 5.0, per = "day" }',
        ["keys.ci.budget.usd", '"5.00"'],
    ),
    "budget of an unknown time": (
        '[keys.ci]\nenv = "CI_KEY"\nbudget = { usd = "5", per = "week" }',
        ["keys.ci.budget.per", "'day' or 'total'"],
    ),
    "budget below zero": ('[budgets]\nusd_per_day = "-1"', ["budgets.usd_per_day", '"5.00"']),
    "reserve of nothing": ('[budgets]\nreserve_usd = "0"', ["budgets.reserve_usd", "more than 0"]),
    "rate": ('[keys.ci]\nenv = "CI_KEY"\nrate = "60"', ["keys.ci.rate", "60/min"]),
    "model pattern": ('[keys.ci]\nenv = "CI_KEY"\nmodels = ["a b"]', ["keys.ci.models", "any text"]),
    "no models at all": ('[keys.ci]\nenv = "CI_KEY"\nmodels = []', ["keys.ci.models"]),
    "misspelt": ('[keys.ci]\nenv = "CI_KEY"\nmodel = ["a"]', ["keys.ci.model", "did you mean 'models'"]),
    "book that is not there": (
        '[prices]\nbook = "none.toml"',
        ["prices.book", "does not exist", "prices update"],
    ),
    "tariff": ('[energy]\nusd_per_kwh = "cheap"', ["energy.usd_per_kwh"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_and_no_key_is_shown(tmp_path: Path, text: str, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, {"SHORT": "canary-0123456", "BLANKS": f"{CANARY} {CANARY}"})
    message = caught.value.message
    for part in expected:
        assert part in message
    assert "canary" not in message
    assert "\n" not in message


def test_the_configuration_holds_no_key(tmp_path: Path) -> None:
    secret_file(tmp_path, "filed-canary-0123456789")
    config = load(tmp_path, '[keys.ci]\nenv = "CI_KEY"\n[keys.cd]\nfile = "ci.key"')
    shown = repr(config) + repr(config.money.keys) + str(dataclasses.asdict(config.money.keys[0]))
    assert "canary" not in shown


OWN_BOOK = """
[[price]]
provider = "anthropic"
model = "claude-opus-4-7"
date = 2026-01-01
source = "a contract"
input = "0.000001"
output = "0.000002"
"""


def test_the_users_book_wins_over_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(OWN_BOOK)
    book = load(tmp_path, '[prices]\nbook = "mine.toml"').money.book
    (opus,) = [e for e in book.entries if e.model == "claude-opus-4-7"]
    assert opus.source == "a contract"
    assert any(e.model == "gpt-5.4" for e in book.entries)


def test_a_book_in_hotseats_home_is_found_without_being_named(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "prices.toml").write_text(OWN_BOOK)
    assert any(e.source == "a contract" for e in load(tmp_path, "").money.book.entries)


def test_a_wrong_book_is_an_error_of_that_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"mine.toml: not UTF-8 at byte 0"):
        load(tmp_path, '[prices]\nbook = "mine.toml"')
    (tmp_path / "mine.toml").write_text("[[price]]\n")
    with pytest.raises(ConfigError, match=r"mine.toml: price 1: date"):
        load(tmp_path, '[prices]\nbook = "mine.toml"')

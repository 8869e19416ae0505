"""Tokens of announced runs: random, hashed, expiring, bounded."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from proxy.errors import NoSuchRun, RunTaken, TooManyRuns
from proxy.run_tokens import TOKEN_PREFIX, RunTerms, RunTokens

NO_TERMS = RunTerms()


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def numbered() -> Callable[[int], str]:
    numbers = itertools.count(1)
    return lambda n_bytes: f"{next(numbers):0{2 * n_bytes}x}"


def test_a_token_finds_its_run() -> None:
    runs = RunTokens()
    minted = runs.mint("night", NO_TERMS)
    assert runs.find(minted.token.encode()) is minted.run
    assert minted.run.caller.name == minted.run.caller.run == "night"
    assert not minted.run.caller.is_admin


def test_tokens_are_long_and_never_the_same() -> None:
    runs = RunTokens()
    tokens = [runs.mint(None, NO_TERMS).token for _ in range(20)]
    secrets = {token.rsplit("-", 1)[1] for token in tokens}
    assert len(secrets) == 20
    assert {len(secret) for secret in secrets} == {64}
    assert len({runs.find(token.encode()) for token in tokens}) == 20


def test_nothing_that_is_kept_shows_a_token() -> None:
    runs = RunTokens()
    minted = runs.mint("a", NO_TERMS)
    secret = minted.token.rsplit("-", 1)[1]
    assert secret not in repr(minted)
    assert secret not in repr(list(runs.under_way()))
    assert secret.encode() not in minted.run.digest


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1],
        lambda token: token + "0",
        lambda token: token[:-1] + ("0" if token[-1] != "0" else "1"),
        lambda token: token.upper(),
        lambda token: token.removeprefix(TOKEN_PREFIX.decode()),
        lambda token: token.rsplit("-", 1)[0],
        lambda token: token.rsplit("-", 1)[0] + "-",
        lambda token: TOKEN_PREFIX.decode(),
        lambda token: "",
    ],
)
def test_a_token_that_is_not_quite_it_is_nothing(change: Callable[[str], str]) -> None:
    runs = RunTokens()
    token = runs.mint("a", NO_TERMS).token
    assert runs.find(change(token).encode()) is None


def test_one_runs_secret_does_not_open_another() -> None:
    runs = RunTokens()
    first, second = runs.mint("a", NO_TERMS).token, runs.mint("b", NO_TERMS).token
    assert runs.find(f"{first.rsplit('-', 1)[0]}-{second.rsplit('-', 1)[1]}".encode()) is None


def test_tokens_expire() -> None:
    clock = Clock()
    runs = RunTokens(clock=clock)
    token = runs.mint("a", NO_TERMS, ttl_s=60.0).token.encode()
    clock.now += 59.9
    assert runs.find(token) is not None
    clock.now += 0.1
    assert runs.find(token) is None
    assert runs.get("a") is None
    assert runs.under_way() == []


def test_an_ended_run_is_gone() -> None:
    runs = RunTokens()
    token = runs.mint("a", NO_TERMS).token.encode()
    runs.end("a")
    assert runs.find(token) is None
    with pytest.raises(NoSuchRun):
        runs.end("a")


def test_a_name_is_taken_while_its_run_is_under_way() -> None:
    clock = Clock()
    runs = RunTokens(clock=clock)
    old = runs.mint("a", NO_TERMS, ttl_s=10.0).token.encode()
    with pytest.raises(RunTaken, match="DELETE /api/runs/a"):
        runs.mint("a", NO_TERMS)
    clock.now += 10.0
    new = runs.mint("a", NO_TERMS).token.encode()
    assert runs.find(new) is not None
    assert runs.find(old) is None


def test_there_are_only_so_many() -> None:
    clock = Clock()
    runs = RunTokens(clock=clock, random_hex=numbered(), max_runs=2)
    runs.mint(None, NO_TERMS, ttl_s=10.0)
    runs.mint(None, NO_TERMS, ttl_s=20.0)
    with pytest.raises(TooManyRuns, match="2 runs"):
        runs.mint(None, NO_TERMS)
    clock.now += 10.0
    assert runs.mint(None, NO_TERMS).run.name.startswith("run-")

"""Runs that were announced, and the tokens that act as keys for them.

A token is "hotseat-run-<id>-<secret>". What is kept of it is the id, by which it is found, and the SHA-256
of the secret, which is compared in constant time. Runs live in memory: they end with the server.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from proxy.callers import OWNER, Caller
from proxy.errors import NoSuchRun, RunTaken, TooManyRuns
from proxy.money_config import digest_of

TOKEN_PREFIX = b"hotseat-run-"
MAX_RUNS = 1000
DEFAULT_TTL_S, MAX_TTL_S = 24 * 3600.0, 30 * 86400.0
_ID_CHARS = 16


@dataclass(frozen=True, slots=True)
class RunTerms:
    """What a run may do in all; None: no limit of its own. `models`: names and patterns."""

    budget_usd: Decimal | None = None
    max_requests: int | None = None
    models: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Run:
    name: str
    terms: RunTerms
    expires_at: float  # epoch
    token_id: bytes
    digest: bytes = field(repr=False)
    caller: Caller


@dataclass(frozen=True, slots=True)
class Minted:
    """The only place where the token is ever text."""

    run: Run
    token: str = field(repr=False)


class RunTokens:
    """`clock`: epoch. `random_hex` gives twice as many characters as asked for."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        random_hex: Callable[[int], str] = secrets.token_hex,
        max_runs: int = MAX_RUNS,
    ) -> None:
        self._clock = clock
        self._random_hex = random_hex
        self._max_runs = max_runs
        self._by_name: dict[str, Run] = {}
        self._by_id: dict[bytes, Run] = {}

    def mint(
        self, name: str | None, terms: RunTerms, ttl_s: float = DEFAULT_TTL_S, creator: Caller = OWNER
    ) -> Minted:
        """`creator`: who announces it; the gate holds the run to that one's limits too. Raises RunTaken,
        TooManyRuns."""
        self._drop_expired()
        if name is not None and name in self._by_name:
            raise RunTaken(
                f"the run {name!r} is under way: end it with DELETE /api/runs/{name}, or take another name"
            )
        if len(self._by_name) >= self._max_runs:
            raise TooManyRuns(f"{self._max_runs} runs are under way: end some with DELETE /api/runs/NAME")
        name = name or f"run-{self._random_hex(6)}"
        token_id, secret = self._random_hex(_ID_CHARS // 2), self._random_hex(32)
        run = Run(
            name=name,
            terms=terms,
            expires_at=self._clock() + ttl_s,
            token_id=token_id.encode(),
            digest=digest_of(secret.encode()),
            caller=Caller(
                name=name,
                run=name,
                models=creator.models if terms.models is None else terms.models,
                is_admin=False,
                creator=creator.name,
            ),
        )
        self._by_name[name] = self._by_id[run.token_id] = run
        return Minted(run, f"{TOKEN_PREFIX.decode()}{token_id}-{secret}")

    def find(self, presented: bytes) -> Run | None:
        """Whose token it is; None for one that is wrong, ended or expired."""
        token_id, _, secret = presented.removeprefix(TOKEN_PREFIX).partition(b"-")
        run = self._by_id.get(token_id) if presented.startswith(TOKEN_PREFIX) else None
        if run is None or not hmac.compare_digest(digest_of(secret), run.digest):
            return None
        return run if self.get(run.name) is run else None

    def get(self, name: str) -> Run | None:
        """The announced run of this name, if it is under way."""
        run = self._by_name.get(name)
        if run is not None and self._clock() >= run.expires_at:
            self._drop(run)
            return None
        return run

    def under_way(self) -> list[Run]:
        self._drop_expired()
        return list(self._by_name.values())

    def end(self, name: str) -> Run:
        """Its token is worth nothing from now on; what runs goes on. Raises NoSuchRun."""
        run = self.get(name)
        if run is None:
            raise NoSuchRun(f"no run {name[:64]!r} is under way: it ended, expired, or was never announced")
        self._drop(run)
        return run

    def _drop_expired(self) -> None:
        now = self._clock()
        for run in [run for run in self._by_name.values() if now >= run.expires_at]:
            self._drop(run)

    def _drop(self, run: Run) -> None:
        del self._by_name[run.name], self._by_id[run.token_id]

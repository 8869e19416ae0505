"""Who asks: what a key or a run's token lets its holder do. Pure values.

auth.py finds the caller of a request and puts it into the scope; gate.py holds it to its limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from proxy.rates import Rate

CALLER = "hotseat.caller"
"""Key of the scope: the request's Caller."""

Period = Literal["day", "total"]


@dataclass(frozen=True, slots=True)
class Budget:
    usd: Decimal
    per: Period


@dataclass(frozen=True, slots=True)
class Caller:
    """`name`: of the scoped key, or the run of a run's token; "": a key without a scope, or none was asked
    for. `models`: names and patterns of them; None: any. `run` is set by a run's token alone, and `creator`
    then names the key that announced it, if that has a name."""

    name: str = ""
    run: str | None = None
    models: tuple[str, ...] | None = None
    budget: Budget | None = None
    rate: Rate | None = None
    is_admin: bool = True
    creator: str = ""

    @property
    def payer(self) -> str:
        """The name of the key whose budgets are charged; "": of none."""
        return self.name if self.run is None else self.creator


OWNER = Caller()


@dataclass(frozen=True, slots=True)
class ScopedKey:
    """A named key of the configuration: who it makes its holder, and the SHA-256 of its text, which is not
    kept."""

    caller: Caller
    digest: bytes

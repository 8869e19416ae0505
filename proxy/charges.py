"""What budgets are charged with for an attempt at an upstream. Pure.

    cost known                              that
    a provider was asked, cost not known    what it was assumed to cost at most when it was admitted
    of this machine, or of a recording,
    and not known                           nothing

It is decided here once: what a running server counts and what the ledger keeps for the next one is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from proxy.prices import LOCAL, REPLAY, believed


class Priced(Protocol):
    """A record, and an attempt of it that failed, when they have ended."""

    @property
    def upstream(self) -> str: ...
    @property
    def reported_cost_usd(self) -> Decimal | None: ...
    @property
    def cost_usd(self) -> Decimal | None: ...
    @property
    def price_source(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Charge:
    """`cost_usd` None: nobody knows. `assumed_usd`: what stands for it then."""

    cost_usd: Decimal | None
    source: str
    assumed_usd: Decimal | None

    @property
    def usd(self) -> Decimal:
        if self.source == REPLAY:
            return Decimal(0)
        return (self.assumed_usd if self.cost_usd is None else self.cost_usd) or Decimal(0)


def charge_of(priced: Priced, number: int, assumed_usd: Decimal | None) -> Charge:
    """`number`: of the attempt; 0: nobody was asked. Where no price was found, what the provider said is the
    price."""
    cost_usd, source = believed(priced.cost_usd), priced.price_source
    if cost_usd is None and not source:
        cost_usd = believed(priced.reported_cost_usd)
        source = "" if cost_usd is None else "provider"
    is_unknown = cost_usd is None and number > 0 and priced.upstream != LOCAL and source != REPLAY
    return Charge(cost_usd, source, assumed_usd if is_unknown else None)

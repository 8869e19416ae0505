"""What keeps the accounts of a server, put together: runs and their tokens, the gate, and prices."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.budgets import Budgets
from proxy.gate import MoneyGate
from proxy.live import Live
from proxy.pricing import PowerSamples, Pricing
from proxy.run_tokens import RunTokens
from proxy.spent_before import SpentBefore, SpentByOthers


@dataclass(frozen=True, slots=True)
class Accounting:
    runs: RunTokens
    gate: MoneyGate
    pricing: Pricing


def accounting(live: Live, power: PowerSamples | None, before: SpentBefore | None = None) -> Accounting:
    """`power`: the device's samples. `before`: what the ledger knows of earlier spending."""
    runs = RunTokens()
    budgets = Budgets(remembers=before is not None)
    others = SpentByOthers(budgets, before)
    return Accounting(
        runs=runs,
        gate=MoneyGate(lambda: live.now.config.money, budgets, others, runs),
        pricing=Pricing(lambda: live.now.config.money, power),
    )

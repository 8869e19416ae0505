"""Consent to models that cost money: which would be asked, and whether somebody has said so.

It is given by --yes, or at the terminal; where there is none, nothing that costs money is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from bench.errors import PlanError
from bench.plan import Plan
from bench.session import chosen_models
from bench.trial import Ground


def sold_models(plan: Plan, ground: Ground, judge: str | None = None) -> list[str]:
    """The models of the plan, and a judge by its name, alias or role, that other servers answer. A plan that
    replays asks none of its own, and its judge all the same."""
    offers = {name: contestant.server.offer for name, contestant in ground.contestants.items()}
    asking = [one for one in plan.configurations if one.harness in offers and plan.replay is None]
    models = [model for one in asking for model in chosen_models(offers[one.harness], one)]
    if judge is not None:
        models += [model for offer in offers.values() if (model := offer.named(judge)) is not None]
    return list(dict.fromkeys(model.name for model in models if not model.is_local))


def agree(sold: Sequence[str], *, yes: bool, them: str = "them") -> None:
    """Raises PlanError where nobody can be asked, and click.Abort where somebody says no."""
    if not sold or yes:
        return
    names = ", ".join(sold)
    if not sys.stdin.isatty():
        raise PlanError(f"{names} may cost money: add --yes to have {them} asked")
    click.confirm(f"{names} may cost money. Go on?", abort=True, err=True)

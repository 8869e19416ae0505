"""The models of a configuration under names that say nothing, the same in every configuration. Pure.

Harnesses go by names: opencode picks its system prompt by the model's, and tells the model its name in it.
With one neutral name for whatever is the main model, all of them are told the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bench.plan import Configuration
from bench.server import Offer


@dataclass(frozen=True, slots=True)
class Cast:
    """What a harness is told. `aliases`: the name there -> the model's name at the server; empty: they are
    called what they are called."""

    configuration: Configuration
    offer: Offer
    aliases: Mapping[str, str] = field(default_factory=dict)

    def meant(self, name: str) -> str:
        return self.aliases.get(name, name)


def neutral(offer: Offer, configuration: Configuration) -> Cast:
    """`offer`: of the configuration's own models alone. The main model is model-1; a model has one name, in
    however many roles it is."""
    aliases: dict[str, str] = {}  # by the model's name at the server
    told: dict[str, str] = {}  # by the configuration's name for it
    for name in configuration.models:
        model = offer.named(name)
        if model is not None:
            told[name] = aliases.setdefault(model.name, f"model-{len(aliases) + 1}")
    models = [replace(m, name=aliases[m.name], aliases=()) for m in offer.models if m.name in aliases]
    renamed = replace(
        configuration,
        main=told.get(configuration.main, configuration.main),
        small=told.get(configuration.small, configuration.small),
        subagents={agent: told.get(model, model) for agent, model in configuration.subagents.items()},
    )
    by_alias = {alias: name for name, alias in aliases.items()}
    return Cast(renamed, replace(offer, models=tuple(models), roles={}), by_alias)


def capped(offer: Offer, context: int | None) -> Offer:
    """With no model's context longer than that."""
    if context is None:
        return offer
    models = [replace(m, context_length=min(m.context_length or context, context)) for m in offer.models]
    return replace(offer, models=tuple(models))


def replayed(offer: Offer) -> Offer:
    """As it is for runs that replay: a provider that cannot be asked is not asked."""
    return replace(offer, models=tuple(m if m.is_local else replace(m, problem=None) for m in offer.models))

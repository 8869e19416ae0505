"""What a harness is told of the models of its configuration."""

from __future__ import annotations

from typing import Any

import pytest

from bench.aliases import capped, neutral, replayed
from bench.plan import Configuration
from bench.server import Offer, OfferedModel


def model(name: str, **given: Any) -> OfferedModel:
    fields: dict[str, Any] = {
        "name": name,
        "context_length": 32_000,
        "max_output_tokens": None,
        "aliases": (),
        "embeddings": False,
        "is_local": True,
        "problem": None,
    }
    return OfferedModel(**(fields | given))


def configuration(main: str, small: str = "", **subagents: str) -> Configuration:
    return Configuration("c", "opencode", main, small or main, subagents, None, "native")


OFFER = Offer(
    "http://x", (model("gpt-oss"), model("claude-ish", aliases=("cl",)), model("kimi")), {"small": "kimi"}
)


@pytest.mark.parametrize("main", ["gpt-oss", "claude-ish", "cl", "kimi", "small"])
def test_whatever_is_the_main_model_has_the_same_name(main: str) -> None:
    cast = neutral(OFFER, configuration(main))
    assert (cast.configuration.main, cast.configuration.small) == ("model-1", "model-1")
    assert [one.name for one in cast.offer.models] == ["model-1"]
    assert cast.meant("model-1") == {"cl": "claude-ish", "small": "kimi"}.get(main, main)


def test_each_model_has_one_name_in_all_its_roles_and_nothing_else_shows() -> None:
    cast = neutral(OFFER, configuration("kimi", "cl", a="claude-ish", b="gpt-oss", c="kimi"))
    assert cast.aliases == {"model-1": "kimi", "model-2": "claude-ish", "model-3": "gpt-oss"}
    assert cast.configuration.small == "model-2"
    assert cast.configuration.subagents == {"a": "model-2", "b": "model-3", "c": "model-1"}
    assert cast.offer.roles == {}
    assert {one.aliases for one in cast.offer.models} == {()}
    said = repr(cast.offer) + repr(cast.configuration)
    assert not [name for name in ("gpt-oss", "claude-ish", "kimi") if name in said]


def test_a_context_is_capped_and_never_made_longer() -> None:
    offer = Offer(
        "http://x", (model("a"), model("b", context_length=None), model("c", context_length=900)), {}
    )
    assert [one.context_length for one in capped(offer, 4096).models] == [4096, 4096, 900]
    assert capped(offer, None) is offer


def test_in_a_replay_a_provider_needs_no_key() -> None:
    offer = Offer(
        "http://x", (model("a", problem="bad file"), model("b", is_local=False, problem="no key")), {}
    )
    assert [one.problem for one in replayed(offer).models] == ["bad file", None]

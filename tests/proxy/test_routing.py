"""Requested names: models, aliases, roles, remote routes, and the many that mean nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import UnknownModel
from inference.model_spec import ModelSpec
from proxy.config import Config, ModelEntry, ProviderConfig, RouteConfig
from proxy.errors import OfflineRefusal
from proxy.guests import Seat, stand_in
from proxy.routing import MAX_NAME_CHARS, Route, RouteTable, matches, route_table


def table(
    *, offline: bool = False, background: tuple[str, ...] = (), small: str = "smollm2-135m"
) -> RouteTable:
    names = {"qwen3.6-35b-a3b": ("qwen3.6", "coder"), "smollm2-135m": ()}
    return route_table(
        Config(
            path=Path("models.toml"),
            models={
                name: ModelEntry(ModelSpec(name=name, path="x", aliases=aliases), source="x")
                for name, aliases in names.items()
            },
            roles={"main": "qwen3.6-35b-a3b", "small": small, "subagent": "opus"},
            providers={"openrouter": ProviderConfig("openrouter", "https://openrouter.ai/api/v1")},
            routes={"opus": RouteConfig("opus", "openrouter", "anthropic/opus")},
            offline=offline,
            background=background,
        )
    )


@pytest.mark.parametrize(
    ("requested", "model"),
    [
        ("smollm2-135m", "smollm2-135m"),
        ("qwen3.6", "qwen3.6-35b-a3b"),
        ("coder", "qwen3.6-35b-a3b"),
        ("main", "qwen3.6-35b-a3b"),
    ],
)
def test_local_names(requested: str, model: str) -> None:
    assert table().resolve(requested) == Route("local", model)


@pytest.mark.parametrize("requested", ["opus", "subagent"])
def test_remote_routes(requested: str) -> None:
    assert table().resolve(requested) == Route("openrouter", "anthropic/opus")
    assert table().is_remote(requested)
    with pytest.raises(OfflineRefusal, match="--offline"):
        table(offline=True).resolve(requested)


@pytest.mark.parametrize(
    "requested",
    [
        "",
        " smollm2-135m",
        "SmolLM2-135M",
        "smollm2-135m\0",
        "../../etc/passwd",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://169.254.169.254/",
        "claude-haiku-4-5",
        "n" * 10_000,
        "\n\n{}",
    ],
)
def test_what_is_not_configured_does_not_exist(requested: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        table().resolve(requested)
    assert caught.value.param == "model"
    assert len(caught.value.message) < 600
    assert "\0" not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("requested", "near"), [("smollm2-135", "smollm2-135m"), ("QWEN3.6", "qwen3.6"), ("opsu", "opus")]
)
def test_near_names(requested: str, near: str) -> None:
    with pytest.raises(UnknownModel, match=f"near names: {near}"):
        table().resolve(requested)


def test_far_names_get_the_list() -> None:
    with pytest.raises(UnknownModel, match=r"this server has: qwen3\.6-35b-a3b, smollm2-135m"):
        table().resolve("zzzzzzzzzzzz")


# --- background names -----------------------------------------------------------------------------

PATTERNS = ("claude-haiku-*", "claude-3-5-haiku-*", "gpt-*-mini", "small_model", "qwen*")
GUEST = Route("local", "smollm2-135m", is_background=True)


@pytest.mark.parametrize(
    "requested",
    [
        "small",
        "background",
        "claude-haiku-4-5",
        "claude-haiku-4-5-20251001",
        "claude-3-5-haiku-latest",
        "gpt-5-mini",
        "small_model",
        "qwen-of-another-kind",
    ],
)
def test_background_names_mean_the_small_role(requested: str) -> None:
    assert table(background=PATTERNS).resolve(requested) == GUEST


def test_exact_names_win_over_patterns() -> None:
    for name in ("qwen3.6", "qwen3.6-35b-a3b"):
        assert table(background=PATTERNS).resolve(name) == Route("local", "qwen3.6-35b-a3b")


@pytest.mark.parametrize(
    "requested",
    [
        "claude-opus-4-5",
        "claude-haiku",
        "Claude-haiku-4-5",
        "gpt-5-mini-2",
        "claude-haiku-" + "4" * MAX_NAME_CHARS,
    ],
)
def test_fault_8_a_name_without_a_pattern_stays_unknown(requested: str) -> None:
    with pytest.raises(UnknownModel):
        table(background=PATTERNS).resolve(requested)


def test_background_of_a_remote_small_role_is_that_route() -> None:
    routes = table(background=PATTERNS, small="opus", offline=True)
    for name in ("small", "background", "claude-haiku-4-5"):
        with pytest.raises(OfflineRefusal, match=name):
            routes.resolve(name)


@given(
    parts=st.lists(st.text("ab", max_size=3), min_size=1, max_size=5),
    name=st.text("ab", max_size=12),
    fillings=st.lists(st.text("ab", max_size=2), min_size=5, max_size=5),
)
def test_matches_as_a_regular_expression_would(parts: list[str], name: str, fillings: list[str]) -> None:
    near = "".join(part + filling for part, filling in zip(parts, fillings, strict=False))
    for tried in (name, near):
        assert matches("*".join(parts), tried) == bool(re.fullmatch(".*".join(parts), tried))


@pytest.mark.parametrize(
    ("seats", "answerer"),
    [
        ([], "s"),
        ([Seat("s", "ready"), Seat("m", "ready", 9)], "s"),
        ([Seat("s", "unloaded"), Seat("m", "ready", 2), Seat("n", "ready", 3)], "n"),
        ([Seat("s", "loading"), Seat("m", "ready")], "m"),
        ([Seat("s", "failed"), Seat("m", "ready")], "m"),
        ([Seat("s", "loading"), Seat("m", "loading", 7)], "s"),
        ([Seat("s", "unloaded"), Seat("m", "loading")], "m"),
        ([Seat("s", "unloaded"), Seat("m", "unloading", 5)], "s"),
        ([Seat("s", "unloaded"), Seat("m", "unloaded", 5)], "s"),
    ],
)
def test_stand_in(seats: list[Seat], answerer: str) -> None:
    assert stand_in("s", seats) == answerer
    assert stand_in("s", seats[::-1]) == answerer

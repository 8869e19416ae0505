"""Requested names: models, aliases, roles, remote routes, and the many that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.errors import UnknownModel
from inference.model_spec import ModelSpec
from proxy.config import Config, ModelEntry, ProviderConfig, RouteConfig
from proxy.errors import OfflineRefusal, RouteNotServed
from proxy.routing import Route, RouteTable, route_table


def table(*, offline: bool = False) -> RouteTable:
    names = {"qwen3.6-35b-a3b": ("qwen3.6", "coder"), "smollm2-135m": ()}
    return route_table(
        Config(
            path=Path("models.toml"),
            models={
                name: ModelEntry(ModelSpec(name=name, path="x", aliases=aliases), source="x")
                for name, aliases in names.items()
            },
            roles={"main": "qwen3.6-35b-a3b", "small": "smollm2-135m", "subagent": "opus"},
            providers={"openrouter": ProviderConfig("openrouter", "https://openrouter.ai/api/v1")},
            routes={"opus": RouteConfig("opus", "openrouter", "anthropic/opus")},
            offline=offline,
        )
    )


@pytest.mark.parametrize(
    ("requested", "model"),
    [
        ("smollm2-135m", "smollm2-135m"),
        ("qwen3.6", "qwen3.6-35b-a3b"),
        ("coder", "qwen3.6-35b-a3b"),
        ("main", "qwen3.6-35b-a3b"),
        ("small", "smollm2-135m"),
    ],
)
def test_local_names(requested: str, model: str) -> None:
    assert table().resolve(requested) == Route("local", model)


@pytest.mark.parametrize("requested", ["opus", "subagent"])
def test_remote_routes_are_refused_by_name(requested: str) -> None:
    with pytest.raises(RouteNotServed, match="not served by this version"):
        table().resolve(requested)
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

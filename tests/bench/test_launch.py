"""Which model `hotseat launch` gives which role, and the script it would print."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench.harnesses.base import Recipe
from bench.harnesses.installed import HARNESSES
from bench.launch import (
    Composed,
    Launch,
    LaunchError,
    Wishes,
    compose,
    data_home,
    environment,
    first_key,
    require_program,
    script,
)
from bench.server import Offer, OfferedModel
from tests.bench.harness_setups import HOME, KEY, WORK, setup

CODEX = HARNESSES["codex"]


def model(name: str, context: int | None = 131_072, *aliases: str) -> OfferedModel:
    return OfferedModel(name, context, None, aliases, embeddings=False, is_local=True, problem=None)


BIG, MID, TINY = model("big", 131_072, "b"), model("mid", 65_536), model("tiny", 16_384)
EMBED = replace(model("embed"), embeddings=True)
ABSENT = replace(model("absent"), problem="model 'absent': not downloaded")
ROLES_DECIDE = Wishes()
ROLES = {"main": "big", "small": "tiny", "subagent": "mid"}


def offer(*models: OfferedModel, **roles: str) -> Offer:
    return Offer("http://127.0.0.1:8080", models or (BIG, MID, TINY, EMBED, ABSENT), roles)


def composed(offered: Offer, wishes: Wishes = ROLES_DECIDE, harness: str = "codex") -> Composed:
    return compose(offered, wishes, HARNESSES[harness], key=KEY, home=HOME, workdir=WORK)


def test_roles_of_the_server_are_the_defaults() -> None:
    made = composed(offer(**ROLES)).setup
    assert (made.main, made.small) == ("big", "small")
    assert [(agent.name, agent.model) for agent in made.subagents] == [("helper", "mid")]
    assert {card.name: card.context_length for card in made.models} == {
        "big": 131_072,
        "mid": 65_536,
        "tiny": 16_384,
        "small": 16_384,  # the role itself: such a request is answered without a swap
    }
    assert made.card("big").max_output_tokens == 32_000
    assert made.card("tiny").max_output_tokens == 4096


def test_wishes_win_by_name_alias_or_role() -> None:
    made = composed(offer(**ROLES), Wishes("subagent", "b", {"scout": "tiny", "main": "main"})).setup
    assert (made.main, made.small) == ("mid", "big")
    assert [(agent.name, agent.model) for agent in made.subagents] == [("scout", "tiny"), ("main", "big")]
    assert composed(offer(**ROLES), Wishes(subagents={})).setup.subagents == ()


def test_without_roles() -> None:
    alone = composed(offer(BIG, EMBED)).setup
    assert (alone.main, alone.small, alone.subagents) == ("big", "big", ())
    with pytest.raises(LaunchError, match="no role 'main': add --main with one of big, mid, tiny"):
        composed(offer())


def test_a_role_that_cannot_answer_is_no_default_but_an_error_for_main() -> None:
    made = composed(offer(main="big", small="absent", subagent="embed")).setup
    assert (made.small, made.subagents) == ("big", ())
    with pytest.raises(LaunchError, match=r"^model 'absent': not downloaded$"):
        composed(offer(main="absent"))


def test_no_helper_on_the_main_model() -> None:
    assert composed(offer(main="big", subagent="b")).setup.subagents == ()


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        (Wishes(main="bigg"), r"no model 'bigg': it has big"),
        (Wishes(main="zzzzzz"), r"no model 'zzzzzz': it has absent, b, big, embed, main, mid, small"),
        (Wishes(small="embed"), r"'embed' makes embeddings"),
        (Wishes(subagents={"x": "absent"}), r"not downloaded"),
        (Wishes(subagents={"X y": "big"}), r"sub-agent 'X y'"),
    ],
)
def test_what_cannot_be_had(wishes: Wishes, said: str) -> None:
    with pytest.raises(LaunchError, match=said):
        composed(offer(**ROLES), wishes)


def test_a_server_with_nothing_to_offer() -> None:
    with pytest.raises(LaunchError, match="no model that can answer"):
        composed(offer(EMBED, ABSENT))


def test_a_window_that_the_harness_fills_by_itself_is_pointed_out() -> None:
    small = offer(model("tiny", 4096))
    (note,) = composed(small, harness="claude").notes
    assert "tiny has 4096 tokens of context, and claude-code's own prompt takes about 12500" in note
    assert composed(offer(**ROLES), harness="claude").notes == ()


def test_a_remote_model_may_keep_its_limits_to_itself() -> None:
    far = replace(model("far", None), is_local=False)
    made = composed(offer(far, BIG, main="far"))
    assert made.setup.card("far").context_length == 128_000
    assert made.setup.card("far").is_local is False
    assert "far: its limits are not known" in made.notes[0]
    assert composed(offer(far, BIG, main="big")).notes == ()


# --- environment and script ----------------------------------------------------------------------


def launch(tmp_path: Path, *arguments: str) -> Launch:
    program = tmp_path / "fake codex"
    program.write_text('#!/bin/sh\nenv; for word; do printf "argument: %s\\n" "$word"; done\n')
    program.chmod(0o755)
    made = setup(home=tmp_path / "it's home")
    return Launch(CODEX, made, CODEX.interactive(made), program, arguments)


def test_what_would_send_the_harness_elsewhere_is_taken_away(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": "sk-real", "CODEX_HOME": "/mine", "EDITOR": "vi", "HOTSEAT_API_KEY": "a,b"}
    env = environment(launch(tmp_path), environ)
    assert "OPENAI_API_KEY" not in env
    assert env["CODEX_HOME"] == str(tmp_path / "it's home" / "codex")
    assert (env["EDITOR"], env["HOTSEAT_API_KEY"]) == ("vi", KEY)
    assert "NO_PROXY" not in env


@pytest.mark.parametrize("excepted", [{}, {"NO_PROXY": "box.lan"}, {"no_proxy": "box.lan"}])
def test_a_proxy_is_not_asked_for_the_server(tmp_path: Path, excepted: Mapping[str, str]) -> None:
    env = environment(launch(tmp_path), {"https_proxy": "", "HTTP_PROXY": "http://proxy:3128", **excepted})
    assert env["NO_PROXY"] == env["no_proxy"] == ("box.lan,127.0.0.1" if excepted else "127.0.0.1")


def test_the_script_does_what_launch_does(tmp_path: Path) -> None:
    started = launch(tmp_path, "exec", "it's $HOME\n'quoted'")
    environ = {
        "PATH": "/usr/bin:/bin",
        "HOTSEAT_API_KEY": f"{KEY}, other",
        "OPENAI_BASE_URL": "x",
        "EDITOR": "vi",
    }
    text = script(started, environ)
    assert KEY not in text
    assert "\nenv " not in text  # whose arguments everybody could read, the key once expanded among them
    for _ in range(2):
        done = subprocess.run(["sh", "-c", text], env=environ, capture_output=True, text=True, check=True)
    printed, _, words = done.stdout.partition("argument: ")
    expected = environment(started, environ)
    said = dict(line.split("=", 1) for line in printed.splitlines())
    assert {
        name: value for name, value in said.items() if name not in ("PWD", "OLDPWD", "SHLVL", "_")
    } == expected
    assert words == "exec\nargument: it's $HOME\n'quoted'\n"
    for path, content in started.recipe.files.items():
        assert path.read_text() == content
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_script_writes_what_begins_like_its_own_marks_and_keeps_seeds(tmp_path: Path) -> None:
    text = "HOTSEAT_END\n$HOME `id`\n"
    seed = tmp_path / "seed"
    seed.write_text("mine")
    recipe = Recipe({tmp_path / "file": text}, {}, ("true",), None, {seed: "yours"})
    made = Launch(CODEX, setup(), recipe, Path("/bin/true"))
    subprocess.run(["sh", "-c", script(made, {})], env={"PATH": "/usr/bin:/bin"}, check=True)
    assert ((tmp_path / "file").read_text(), seed.read_text()) == (text, "mine")


def test_places_and_keys(tmp_path: Path) -> None:
    assert data_home("codex", {"HOME": "/h"}) == Path("/h/.local/share/hotseat/launch/codex")
    assert data_home("codex", {"HOME": "/h", "XDG_DATA_HOME": "/d"}) == Path("/d/hotseat/launch/codex")
    assert first_key({"HOTSEAT_API_KEY": " , a b,c"}) == "a"
    assert first_key({}) is None


def test_a_harness_that_is_not_there() -> None:
    class Nowhere:
        name = binary = "no-such-harness"
        prompt_tokens = 0
        foreign = ()
        interactive = headless = parse = CODEX.interactive

    with pytest.raises(LaunchError, match="no-such-harness is not installed: run scripts/install-harnesses"):
        require_program(Nowhere(), {"PATH": "/bin"})  # type: ignore[arg-type]

"""What every adapter owes: nothing outside its home, no key and no prompt where others can read them."""

from __future__ import annotations

import dataclasses
import fnmatch
from pathlib import Path

import pytest

from bench.harnesses.base import Harness, ModelCard, Recipe, SubAgent, UnsuitedSetup
from bench.harnesses.installed import HARNESSES
from tests.bench.harness_setups import CARDS, HELPER, HOME, KEY, setup

PROMPT = "Write the\nfile — now"
RECIPES = [
    pytest.param(harness, recipe, id=f"{word}-{kind}")
    for word, harness in HARNESSES.items()
    for kind, recipe in (
        ("interactive", harness.interactive(setup())),
        ("headless", harness.headless(setup(), PROMPT)),
    )
]


@pytest.mark.parametrize(("harness", "recipe"), RECIPES)
def test_everything_is_written_below_the_home(harness: Harness, recipe: Recipe) -> None:
    written = [*recipe.files, *recipe.seeds]
    assert written
    assert all(path.is_relative_to(HOME) and ".." not in path.parts for path in written)
    assert not recipe.files.keys() & recipe.seeds.keys()


@pytest.mark.parametrize(("harness", "recipe"), RECIPES)
def test_the_key_is_in_the_environment_and_nowhere_else(harness: Harness, recipe: Recipe) -> None:
    assert [name for name, value in recipe.env.items() if value == KEY] in (
        ["HOTSEAT_API_KEY"],
        ["ANTHROPIC_AUTH_TOKEN"],
    )
    assert not any(KEY in content for content in [*recipe.files.values(), *recipe.seeds.values()])
    assert not any(KEY in word for word in recipe.argv)
    assert KEY not in repr(recipe)
    assert KEY not in repr(setup())


@pytest.mark.parametrize("harness", HARNESSES.values(), ids=HARNESSES)
def test_the_prompt_comes_by_stdin(harness: Harness) -> None:
    recipe = harness.headless(setup(), PROMPT)
    assert recipe.stdin == PROMPT
    assert not any(PROMPT in word for word in recipe.argv)
    assert harness.interactive(setup()).stdin is None


@pytest.mark.parametrize("harness", HARNESSES.values(), ids=HARNESSES)
def test_a_person_keeps_their_home_and_is_asked_and_a_sandbox_does_neither(harness: Harness) -> None:
    interactive, headless = harness.interactive(setup()), harness.headless(setup(), PROMPT)
    assert "HOME" not in interactive.env
    assert Path(headless.env["HOME"]) == HOME
    unguarded = "dangerously|danger-full-access|--auto|IS_SANDBOX|'permission': 'allow'".split("|")
    everything = f"{interactive.argv} {dict(interactive.env)} {dict(interactive.files)}".replace('"', "'")
    assert not [word for word in unguarded if word in everything]
    assert [word for word in unguarded if word in f"{headless.argv}"]


@pytest.mark.parametrize("harness", HARNESSES.values(), ids=HARNESSES)
def test_what_a_recipe_sets_is_taken_from_the_users_environment_first(harness: Harness) -> None:
    """So a variable that a recipe sets sometimes is not the user's the other times."""
    own = {"HOME", "TMPDIR", "HOTSEAT_API_KEY", "IS_SANDBOX"}
    for recipe in (harness.interactive(setup()), harness.headless(setup(), PROMPT)):
        kept = [
            name
            for name in recipe.env.keys() - own
            if not name.startswith("XDG_") and not any(fnmatch.fnmatch(name, p) for p in harness.foreign)
        ]
        assert kept == []


@pytest.mark.parametrize("harness", HARNESSES.values(), ids=HARNESSES)
def test_a_run_has_its_own_address(harness: Harness) -> None:
    recipe = harness.headless(setup(base_url="http://127.0.0.1:8080/r/run-7"), PROMPT)
    everything = " ".join([*recipe.files.values(), *recipe.env.values()])
    assert "http://127.0.0.1:8080/r/run-7" in everything
    assert "8080/v1" not in everything


@pytest.mark.parametrize("harness", HARNESSES.values(), ids=HARNESSES)
def test_what_is_no_event_is_no_answer(harness: Harness) -> None:
    noise = ["", "npm warn", '{"type":', "[1]", "null", '{"type": 3}', '{"type":"item.completed","item":7}']
    noise += ['{"type":"assistant","message":{"content":[1,{"type":"text","text":null}]}}', "[" * 100_000]
    transcript = harness.parse(noise)
    assert transcript.is_error
    assert (transcript.final_text, transcript.session_id, transcript.tool_calls) == ("", "", 0)
    assert dataclasses.astuple(transcript.claimed) == (None, None, None, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"main": "bog"}, "no model 'bog' among big, org/Qwen 3.6, helper, tiny"),
        ({"small": "bog"}, "no model 'bog'"),
        ({"subagents": (dataclasses.replace(HELPER, model="bog"),)}, "no model 'bog'"),
        ({"subagents": (dataclasses.replace(HELPER, name="../x"),)}, r"sub-agent '\.\./x'"),
        ({"subagents": (HELPER, HELPER)}, "the same name"),
        ({"api_key": ""}, "no empty key"),
    ],
)
def test_a_setup_that_cannot_work_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UnsuitedSetup, match=said):
        setup(**changes)


def test_cards_are_found_by_name() -> None:
    assert setup().card("tiny") == ModelCard("tiny", 4096, 1024)
    assert (
        setup(models=(*CARDS, ModelCard("far", 200_000, 32_000, is_local=False))).card("far").is_local
        is False
    )
    assert SubAgent("a", "b", "c", "d").tools == ()

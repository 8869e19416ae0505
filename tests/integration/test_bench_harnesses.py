"""`hotseat bench run` with the real CLIs: every token counted on the wire, delegation proven there, phases in
one session, and a sub-agent that cannot work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.evidence import gap_sentence
from bench.plan import PLANS
from bench.results import Tokens, TrialResult, results_of
from bench.watch import LOOP_ROUNDS
from tests.integration.harness_rig import LONG, require
from tests.integration.harness_scripts import HANDS, call, script, turn

pytestmark = [pytest.mark.harness, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = {"opencode": "opencode", "codex": "codex", "claude": "claude-code"}

TASK = """
[metadata.hotseat]
protected = ["notes.txt"]
[[steps]]
name = "build"
[[steps]]
name = "validate"
"""
CHECK = """
set -u
a=0; b=0
[ "$(cat "$HOTSEAT_APP/first.txt" 2>/dev/null)" = one ] && a=1
[ "$(cat "$HOTSEAT_APP/second.txt" 2>/dev/null)" = two ] && b=1
printf '{"reward": %s, "first": %s, "second": %s}' "$((a * b))" $a $b > "$HOTSEAT_LOGS/verifier/reward.json"
"""


def bench_run(folder: Path, plan: Path | str, *options: str) -> dict[str, TrialResult]:
    """By configuration, of a job with one attempt."""
    job = folder / "job"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "proxy.cli",
            "bench",
            "run",
            str(plan),
            "--job",
            str(job),
            "--quiet",
            *options,
        ],
        cwd=ROOT,
        env={**os.environ, "HOTSEAT_HOME": str(folder / "home"), "HOTSEAT_SERVER": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {result.configuration: result for result in results_of(job)}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrialResult]:
    """The shipped plan, one attempt of each."""
    for name in CONFIGURATIONS:
        require(name)
    return bench_run(tmp_path_factory.mktemp("demo"), "demo", "--attempts", "1")


# What the scripts say: turns x (input, cached, output), of the main model and of the helper.
TRUTH = {
    "opencode": (Tokens(input=4 * 1200, cached=3 * 200, output=4 * 40), 4),
    "codex": (Tokens(input=5 * 1200, cached=4 * 200, output=5 * 40), 5),
    "claude-code": (Tokens(input=4 * 1200, cached=3 * 200, output=4 * 40), 4),
}
HELPER = Tokens(input=2 * 500, cached=0, output=2 * 30)


@pytest.mark.parametrize("name", CONFIGURATIONS.values())
def test_the_wire_has_what_the_script_said_to_the_token(demo: dict[str, TrialResult], name: str) -> None:
    result = demo[name]
    main, helper = result.nodes
    tokens, requests = TRUTH[name]
    assert (main.role, main.requests, main.failed_requests, main.tokens) == ("main", requests, 0, tokens)
    assert (helper.role, helper.requests, helper.failed_requests, helper.tokens) == ("subagent", 2, 0, HELPER)
    assert helper.parent_node == main.node
    assert result.tokens == tokens + HELPER
    assert (result.delegations, result.validity, result.reward) == (1, "VALID", 1.0), result.invalid_because
    assert (len(result.brief_chars), len(result.return_chars)) == (1, 1)
    assert result.manifest.harness_version
    assert set(result.manifest.system_sha) == {"main", "subagent"}


def test_what_a_harness_says_of_itself_is_shown_beside_the_wire(demo: dict[str, TrialResult]) -> None:
    for name in ("opencode", "codex"):  # neither counts its sub-agents
        claim = demo[name].claimed.tokens
        assert (claim["input"].wire, claim["input"].claimed) == (
            TRUTH[name][0].input + 1000,
            TRUTH[name][0].input,
        )
        assert "claimed" in gap_sentence(demo[name].claimed)
    assert gap_sentence(demo["claude-code"].claimed) == ""
    assert demo["claude-code"].claimed.cost_usd  # made up: there is no price for a script
    assert not demo["claude-code"].cost_usd


def test_rewards_are_graded(demo: dict[str, TrialResult]) -> None:
    rewards = {name: result.reward for name, result in demo.items()}
    assert rewards == {
        **dict.fromkeys((*CONFIGURATIONS.values(), "oracle"), 1.0),
        "opencode-alone": 0.5,
        "nop": 0.0,
    }
    assert demo["opencode-alone"].delegations == 0


def test_the_plan_runs_from_an_installation(demo: dict[str, TrialResult]) -> None:
    """What it names lies beside it, as package data."""
    assert (PLANS / "demo.toml").is_file()
    assert {result.validity for result in demo.values()} == {"VALID"}


@LONG[0]
@LONG[1]
def test_two_phases_are_one_session(tmp_path: Path) -> None:
    """The second prompt finds the first one's conversation, and what it used is counted with it."""
    lines = ['name = "phases"', 'config = "models.toml"', "attempts = 1", 'tasks = ["./task-two"]']
    models = ['[defaults]\nengine = "scripted"\nn_ctx = 128000']
    for name, configuration in CONFIGURATIONS.items():
        require(name)
        write = HANDS[name].write
        (tmp_path / f"{name}.toml").write_text(
            script(
                turn("first", write("first.txt", "one\n"), match={"step": 1, "user_contains": "phase one"}),
                turn("built", text="Built.", match={"step": 2}),
                turn("second", write("second.txt", "two\n"), match={"step": 3, "user_contains": "phase two"}),
                turn("validated", text="Validated.", match={"step": 4}),
            )
        )
        models.append(f'[models.{name}]\npath = "{name}.toml"')
        lines.append(f'[configurations.{configuration}]\nharness = "{configuration}"\nmain = "{name}"')
    _write_task(tmp_path / "task-two")
    (tmp_path / "models.toml").write_text("\n".join(models))
    plan = tmp_path / "phases.toml"
    plan.write_text("\n".join(lines))
    results = bench_run(tmp_path, plan)
    for name in CONFIGURATIONS.values():
        result = results[name]
        said = (tmp_path / "job" / "trials" / result.trial / "validate.stdout").read_text()
        assert (result.reward, result.error, result.validity) == (1.0, "", "VALID"), said[-3000:]
        assert [node.requests for node in result.nodes] == [4]
        assert gap_sentence(result.claimed) == "", name


def _write_task(folder: Path) -> None:
    files = {
        "task.toml": TASK,
        "steps/build/instruction.md": "This is phase one.",
        "steps/validate/instruction.md": "This is phase two.",
        "environment/workspace/notes.txt": "Leave me.\n",
        "tests/test.sh": CHECK,
        "solution/solve.sh": "echo one > first.txt; echo two > second.txt\n",
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def test_a_sub_agent_whose_model_is_not_found_makes_no_zero_delegations(tmp_path: Path) -> None:
    require("codex")
    hands = HANDS["codex"]
    fault = '[[turn]]\n[turn.fault]\nkind = "error"\ncode = "model_not_found"\nmessage = "no such model"\n'
    first, wait = hands.delegate
    (tmp_path / "ghost.toml").write_text(fault)
    (tmp_path / "main.toml").write_text(
        script(
            {**first, "match": {"step": 1}},
            {**wait, "match": {**wait["match"], "step": 2}},
            turn("end", text="I did it all by myself.", match={"step": 3}),
        )
    )
    (tmp_path / "models.toml").write_text(
        '[defaults]\nengine = "scripted"\nn_ctx = 128000\n'
        '[models.main]\npath = "main.toml"\n[models.ghost]\npath = "ghost.toml"\n'
    )
    plan = tmp_path / "ghost-plan.toml"
    plan.write_text(
        'name = "ghost"\nconfig = "models.toml"\nattempts = 1\ntasks = ["smoke"]\n'
        '[configurations.codex]\nharness = "codex"\nmain = "main"\nsubagents = { helper = "ghost" }\n'
    )
    result = bench_run(tmp_path, plan)["codex"]
    assert (result.validity, result.delegations) == ("INVALID", 0)
    assert any("ghost was never answered (404" in reason for reason in result.invalid_because), result
    assert not result.counts


# --- equal footing ---------------------------------------------------------------------------------


@LONG[0]
@LONG[1]
@pytest.mark.timeout(600)  # four starts of opencode
def test_opencode_tells_every_model_the_same_unless_it_is_told_their_names(tmp_path: Path) -> None:
    """It has a prompt for each family of models, and finds the family in the name."""
    require("opencode")
    (tmp_path / "hello.toml").write_text(script(turn("hello", text="Hello.")))
    models = ("gpt-5-mini", "claude-haiku")
    tables = (f'[models.{name}]\npath = "hello.toml"' for name in models)
    _write_models(tmp_path, *tables)
    plan = 'name = "{}"\nconfig = "models.toml"\nattempts = 1\ntasks = ["smoke"]\nnative_names = {}\n'
    cells = "".join(f'[configurations.{name}]\nharness = "opencode"\nmain = "{name}"\n' for name in models)
    told: dict[str, set[str]] = {}
    for native in ("false", "true"):
        path = tmp_path / f"{native}.toml"
        path.write_text(plan.format(native, native) + cells)
        (tmp_path / native).mkdir()
        results = bench_run(tmp_path / native, path)
        assert {one.validity for one in results.values()} == {"VALID"}
        assert {node.model for one in results.values() for node in one.nodes} == set(models)
        told[native] = {one.manifest.system_sha["main"] for one in results.values()}
        aliases = [one.manifest.aliases for one in results.values()]
        assert aliases == [{name: "model-1"} if native == "false" else {} for name in results]
    assert len(told["false"]) == 1
    assert len(told["true"]) == 2


# --- while it runs ---------------------------------------------------------------------------------


def test_a_harness_in_a_circle_is_ended(tmp_path: Path) -> None:
    """Its model asks for the same thing again and again, and the harness goes on asking it."""
    require("codex")
    (tmp_path / "again.toml").write_text(script(turn("again", HANDS["codex"].run("true"))))
    _write_models(tmp_path, '[models.again]\npath = "again.toml"')
    plan = tmp_path / "circle.toml"
    plan.write_text(
        'name = "circle"\nconfig = "models.toml"\nattempts = 1\ntasks = ["smoke"]\n'
        '[configurations.codex]\nharness = "codex"\nmain = "again"\n'
    )
    result = bench_run(tmp_path, plan)["codex"]
    assert (result.why_ended, result.outcome, result.validity) == ("loop", "capped", "VALID")
    assert result.wall_s < 60
    rows = (tmp_path / "job" / "trials" / result.trial / "rows.jsonl").read_text().splitlines()
    answers = [json.loads(row)["answer_sha"] for row in rows if json.loads(row)["status"] == 200]
    assert len(answers) >= LOOP_ROUNDS
    assert len(set(answers)) == 1


def test_two_sub_agents_at_once_are_seen_at_once(tmp_path: Path) -> None:
    """Both are sent out in one answer, and both take their time."""
    require("claude")
    sent = [
        call("Agent", description=f"chore {i}", prompt=f"Chore {i}.", subagent_type="helper") for i in "12"
    ]
    (tmp_path / "main.toml").write_text(
        script(
            turn("delegate", *sent, match={"step": 1}), turn("end", text="Both are done.", match={"step": 2})
        )
    )
    (tmp_path / "slow.toml").write_text(
        script(turn("chore", text="word " * 60), defaults={"tokens_per_second": 20})
    )
    _write_models(
        tmp_path, '[models.main]\npath = "main.toml"', '[models.slow]\npath = "slow.toml"\nslots = 2'
    )
    plan = tmp_path / "pair.toml"
    plan.write_text(
        'name = "pair"\nconfig = "models.toml"\nattempts = 1\ntasks = ["smoke"]\n'
        '[configurations.claude]\nharness = "claude-code"\nmain = "main"\nsubagents = { helper = "slow" }\n'
    )
    result = bench_run(tmp_path, plan)["claude"]
    assert (result.validity, result.delegations) == ("VALID", 2), result.invalid_because
    first, second = (node for node in result.nodes if node.role == "subagent")
    assert max(first.first_s, second.first_s) < min(first.last_s, second.last_s)
    assert result.parallel_s > 1.0
    assert {first.parent_node, second.parent_node} == {result.nodes[0].node}


def _write_models(folder: Path, *tables: str) -> None:
    head = '[defaults]\nengine = "scripted"\nn_ctx = 128000'
    (folder / "models.toml").write_text("\n".join((head, *tables)))

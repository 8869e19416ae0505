"""opencode, Codex and Claude Code do a job through their own tools, and give a part of it to another model.

The models are scripted; everything else is real: CLI, HTTP, dialect, pool, worker processes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.harnesses.installed import HARNESSES
from tests.integration.harness_rig import MAIN, NAMES, SUB, Bench, Job, Server, bench, require, run
from tests.integration.harness_scripts import CHORE, HANDS, REPORT, script, turn

pytestmark = pytest.mark.harness

PROMPT = "Make answer.py, which prints the answer."
SUB_SCRIPT = script(turn("report", text=REPORT))


def job_script(name: str) -> str:
    """Each turn but the first wants to have seen what the one before it did."""
    hands = HANDS[name]
    first, *others = hands.delegate
    return script(
        turn("write", hands.write("answer.py", "print(1)\n"), text="I begin.", match={"step": 1}),
        turn("read", hands.read("answer.py"), match={"step": 2}),
        turn(
            "edit",
            hands.edit("answer.py", "print(1)", "print(6 * 7)"),
            match={"step": 3, "tool_result_contains": "print(1)"},
        ),
        turn("run", hands.run("python3 answer.py"), match={"step": 4}),
        {**first, "match": {"step": 5, "tool_result_contains": "42"}},
        *others,
        turn("end", text="Done: 42.", match={"tool_result_contains": REPORT}),
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_job_with_files_a_command_and_a_sub_agent(name: str, tmp_path: Path) -> None:
    require(name)

    async def main() -> None:
        async with bench(tmp_path, Server({MAIN: job_script(name), SUB: SUB_SCRIPT})) as here:
            outcome = await here.work(name, Job(PROMPT))
            assert outcome.said.final_text == "Done: 42.", outcome.ended
            assert (outcome.said.is_error, outcome.said.errors) == (False, ())
            assert outcome.ended.exit_code == 0
            assert outcome.strangers == ()
            assert (here.workdir(name) / "answer.py").read_text() == "print(6 * 7)\n"
            _check_what_the_models_saw(here, name)
            await _check_the_records(here, name, outcome.said.session_id)

    run(main())


async def _check_the_records(here: Bench, name: str, session: str) -> None:
    """Who asked is told by the CLI's own headers."""
    mains, subs = await here.records(MAIN), await here.records(SUB)
    assert {record["status"] for record in (*mains, *subs)} == {200}
    assert {record["harness"] for record in (*mains, *subs)} == {HARNESSES[name].name}
    assert {(record["role"], record["node"], record["parent_node"]) for record in mains} == {
        ("main", session, "")
    }
    [sub] = subs
    assert (sub["role"], sub["parent_node"]) == ("subagent", session)
    assert sub["node"] not in ("", session)
    # What a prompt begins with stays the same, so that its computation can be used again.
    assert len({(record["system_sha"], record["tools_sha"]) for record in mains}) == 1


def _check_what_the_models_saw(here: Bench, name: str) -> None:
    expected = ["write", "read", "edit", "run", *(turn["name"] for turn in HANDS[name].delegate), "end"]
    assert here.turns() == expected
    first, last = here.seen()[0], here.seen()[-1]
    assert PROMPT in first.texts("user")[-1]
    results = last.texts("tool")
    assert len(results) == len(expected) - 1  # every call has its result, and it stays in the conversation
    assert "print(1)" in results[1]
    assert results[3].rstrip().endswith("42")
    assert REPORT in results[-1]
    (chore,) = here.seen(SUB)
    assert CHORE in chore.texts("user")[-1]
    assert any("You are a small local helper." in text for text in chore.texts("system", "developer"))

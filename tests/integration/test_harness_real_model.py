"""The harnesses on a real model, on the CPU. It is far too small for any task, but it can repeat a tool call:
the harness's tools are in its prompt, the call is read out of its words, and the harness carries it out.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.harness_rig import LONG, MAIN, NAMES, Job, Server, bench, require, run

pytestmark = [pytest.mark.harness, pytest.mark.slow, pytest.mark.timeout(400)]

PATIENCE_S = 300.0  # a busy machine reads 50 tokens a second
N_CTX = 8192
ONE_AT_A_TIME_AND_GREEDY = "slots = 1\nsampling = { temperature = 0 }"


def _call(name: str, **arguments: str) -> str:
    return json.dumps({"name": name, "arguments": arguments})


_ONE_TOOL = json.dumps({"build": {"prompt": "You are a coding agent.", "tools": {"*": False, "read": True}}})

# Lean prompts, 800 to 2000 tokens: the whole ones take minutes on a CPU. Each way to ask is one that
# the model was seen to follow.
JOBS = {
    "opencode": Job(
        "Say this:\n" + _call("read", filePath="notes.txt"),
        replaced={'"agent": {}': f'"agent": {_ONE_TOOL}'},
        max_output_tokens=64,
    ),
    "codex": Job(
        f"Repeat this tool call:\n<tool_call>\n{_call('exec_command', cmd='cat notes.txt')}\n</tool_call>",
        replaced={
            'web_search = "disabled"': 'web_search = "disabled"\ninclude_permissions_instructions = false'
        },
    ),
    "claude": Job(
        "Say this:\n" + _call("Bash", command="cat notes.txt"),
        options=("--bare",),
        environment={"ANTHROPIC_API_KEY": "none"},
        max_output_tokens=256,
    ),
}


@LONG[0]
@LONG[1]
@pytest.mark.parametrize("name", NAMES)
def test_a_real_model_calls_a_tool_and_reads_its_result(
    name: str, smollm2_path: Path, tmp_path: Path
) -> None:
    require(name)
    job = replace(JOBS[name], files={"notes.txt": "apple\n"}, context=N_CTX, limit_s=PATIENCE_S)
    server = Server(gguf_files={MAIN: smollm2_path}, n_ctx=N_CTX, keys=ONE_AT_A_TIME_AND_GREEDY)

    async def main() -> None:
        async with bench(tmp_path, server) as here:
            outcome = await here.work(name, job)
            assert (outcome.said.is_error, outcome.said.errors) == (False, ()), outcome.ended
            assert outcome.said.tool_calls == 1, outcome.ended
            assert outcome.said.final_text != ""
            assert outcome.strangers == ()
            records = await here.records(MAIN)
            assert {record["status"] for record in records} == {200}
            first, second = records[0], records[1]
            assert first["input_tokens"] > 600  # most of it are tools
            assert second["cached_tokens"] >= first["input_tokens"]

    run(main(), patience_s=PATIENCE_S + 60)

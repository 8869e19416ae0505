"""/v1/responses over HTTP: the openai SDK and plain requests against real workers with scripted engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from openai.types.responses import ResponseCustomToolCall, ResponseFunctionToolCall, ResponseReasoningItem
from pydantic import BaseModel

from proxy.config import Limits
from tests.proxy.response_events import Stream, checked, frames
from tests.proxy.rig import Rig, Setup, run, serving

RICH = """
[[turn]]
match.user_contains = "wait"
text = "late"
first_token_s = 1.6
[[turn]]
match.user_contains = "json"
text = '{"city": "Rome", "people": 3}'
[[turn]]
match.user_contains = "crash"
reasoning = "hm"
text = "one two three four five six"
[turn.fault]
kind = "kill"
after_chunks = 4
[[turn]]
match.user_contains = "patch"
match.step = 1
reasoning = "A file."
text = "Writing."
tool_calls = [
    { name = "apply_patch", arguments = { input = "*** Begin Patch\\n+\\"a\\"" } },
    { name = "team__spawn", arguments = { task = "look" } },
]
[[turn]]
match.after_tool = "apply_patch"
match.tool_result_matches = 'said (?P<said>\\w+)'
text = "The patch @{said}."
[[turn]]
match.user_contains = "count"
text = "one two three four"
usage = { input_tokens = 100, cached_tokens = 60, output_tokens = 4, reasoning_tokens = 1 }
"""

TOOLS: list[Any] = [
    {"type": "custom", "name": "apply_patch", "description": "Edits files."},
    {
        "type": "namespace",
        "name": "team",
        "description": "Agents.",
        "tools": [{"type": "function", "name": "spawn", "parameters": {"type": "object"}, "strict": False}],
    },
]
THOUGHTS: dict[str, Any] = {
    "reasoning": {"summary": "auto"},
    "include": ["reasoning.encrypted_content"],
}


class City(BaseModel):
    city: str
    people: int


async def streamed(rig: Rig, **body: Any) -> tuple[Stream, aiohttp.ClientResponse]:
    """Any stream of the server, checked."""
    url = rig.url + "/v1/responses"
    async with rig.http.post(url, json={"model": "echo", "stream": True} | body) as response:
        data = await response.read()
        assert response.status == 200, data
        return checked(frames(data)), response


def test_create_through_the_sdk(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            client = await rig.openai()
            raw = await client.responses.with_raw_response.create(model="echo", input="count", store=True)
            answer = raw.parse()
            assert answer.output_text == "one two three four"
            assert (answer.status, (answer.model_extra or {})["store"]) == ("completed", False)
            assert answer.usage is not None
            assert (answer.usage.input_tokens, answer.usage.input_tokens_details.cached_tokens) == (100, 60)
            assert (answer.usage.output_tokens, answer.usage.output_tokens_details.reasoning_tokens) == (4, 1)
            assert answer.id == "resp_" + raw.headers["x-hotseat-request-id"]
            assert raw.headers["x-hotseat-model"] == "echo"
            [record] = (await rig.get("/api/requests"))["requests"]
            assert (record["dialect"], record["finish_reason"]) == ("responses", "stop")

    run(main())


def test_answers_have_their_id_where_the_sdk_looks_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            answer = await (await rig.openai()).responses.create(model="echo", input="hi")
            assert f"resp_{answer._request_id}" == answer.id

    run(main())


def test_instructions_and_items_reach_the_model(tmp_path: Path) -> None:
    script = """
[[turn]]
match.system_contains = "Be brief."
match.user_contains = "second"
match.step = 2
text = "yes"
"""

    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": script})) as rig:
            answer = await (await rig.openai()).responses.create(
                model="echo",
                instructions="Be brief.",
                input=[
                    {"role": "user", "content": "first"},
                    {"role": "assistant", "content": "said"},
                    {"role": "user", "content": [{"type": "input_text", "text": "second"}]},
                ],
            )
            assert answer.output_text == "yes"

    run(main())


def test_stream_through_the_sdk_says_the_same_as_the_whole_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            client = await rig.openai()
            asked: dict[str, Any] = {"model": "echo", "input": "patch", "tools": TOOLS, **THOUGHTS}
            whole = await client.responses.create(**asked)
            async with client.responses.stream(**asked) as stream:
                types = [event.type async for event in stream]
                final = await stream.get_final_response()
            assert types[0] == "response.created"
            assert types[-1] == "response.completed"
            assert [item.type for item in final.output] == [
                "reasoning",
                "message",
                "custom_tool_call",
                "function_call",
            ]
            assert final.output_text == whole.output_text == "Writing."
            theirs = [item.to_dict() for item in whole.output]
            for ours, other in zip([item.to_dict() for item in final.output], theirs, strict=True):
                other["id"] = ours["id"]  # one is of another request
                ours.pop("parsed_arguments", None)
                for part in ours.get("content") or []:  # type: ignore[attr-defined]
                    part.pop("parsed", None)
                assert ours == other

    run(main())


def test_tools_loop_through_the_sdk(tmp_path: Path) -> None:
    """A custom tool and a tool of a namespace are called, and the answer goes back as it came."""

    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            client = await rig.openai()
            turns: list[Any] = [{"role": "user", "content": "patch it"}]
            first = await client.responses.create(model="echo", input=turns, tools=TOOLS, **THOUGHTS)
            thought, _, patch, spawn = first.output
            assert isinstance(thought, ResponseReasoningItem)
            assert [part.text for part in thought.summary] == ["A file."]
            assert isinstance(patch, ResponseCustomToolCall)
            assert (patch.name, patch.input) == ("apply_patch", '*** Begin Patch\n+"a"')
            assert isinstance(spawn, ResponseFunctionToolCall)
            assert (spawn.name, spawn.namespace) == ("spawn", "team")
            assert json.loads(spawn.arguments) == {"task": "look"}

            turns += [item.to_dict() for item in first.output]
            turns += [
                {"type": "custom_tool_call_output", "call_id": patch.call_id, "output": "said worked"},
                {"type": "function_call_output", "call_id": spawn.call_id, "output": "ok"},
            ]
            second = await client.responses.create(model="echo", input=turns, tools=TOOLS, **THOUGHTS)
            assert second.output_text == "The patch worked."

    run(main())


def test_parse_with_a_model_of_the_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            answer = await (await rig.openai()).responses.parse(model="echo", input="json", text_format=City)
            assert answer.output_parsed == City(city="Rome", people=3)

    run(main())


def test_streams_of_every_kind_are_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            stream, response = await streamed(rig, input="patch", tools=TOOLS, **THOUGHTS)
            assert stream.ending["type"] == "response.completed"
            assert stream.pieces(2) == '*** Begin Patch\n+"a"'
            assert response.headers["content-type"].startswith("text/event-stream")
            stream, _ = await streamed(rig, input="count", max_output_tokens=2)
            assert stream.ending["type"] == "response.incomplete"
            assert stream.pieces(0) == "one two"
            stream, _ = await streamed(rig, input="hello", include=["message.output_text.logprobs"])
            assert stream.response["output"][0]["content"][0]["logprobs"]

    run(main())


def test_under_a_run(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            status, answer, _ = await rig.post("/r/trial-7/v1/responses", {"model": "echo", "input": "hi"})
            assert (status, answer["output"][0]["content"][0]["text"]) == (200, "You said: hi")
            [record] = (await rig.get("/api/requests?run=trial-7"))["requests"]
            assert record["dialect"] == "responses"

    run(main())


def test_a_long_wait_shows_life_in_events(tmp_path: Path) -> None:
    """Codex takes comments for silence."""

    async def main() -> None:
        setup = Setup({"echo": RICH}, limits=Limits(keepalive_s=0.1))
        async with serving(tmp_path, setup) as rig:
            stream, _ = await streamed(rig, input="wait")
            kinds = [event["type"] for event in stream.events]
            assert kinds.count("response.in_progress") > 2
            assert stream.response["output"][0]["content"][0]["text"] == "late"

    run(main())


# --- failures ----------------------------------------------------------------------------------


def test_a_worker_that_dies_in_mid_stream(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup({"echo": RICH})) as rig:
            stream, _ = await streamed(rig, input="crash")
            assert stream.ending["type"] == "response.failed"
            assert stream.response["error"]["code"] == "server_error"
            assert stream.response["error"]["hotseat"]["code"] == "worker_crashed"
            assert [item["type"] for item in stream.response["output"]] == ["reasoning"]
            stream, _ = await streamed(rig, input="hello again")
            assert stream.ending["type"] == "response.completed"

    run(main())


def test_a_prompt_that_does_not_fit(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(n_ctx=64)) as rig:
            client = await rig.openai()
            with pytest.raises(openai.BadRequestError) as caught:
                await client.responses.create(model="echo", input="word " * 200, stream=True)
            assert caught.value.code == "context_length_exceeded"
            assert "maximum context length is 64" in caught.value.message

    run(main())


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"previous_response_id": "resp_1"}, 400, "previous_response_id"),
        ({"truncation": "auto"}, 400, "truncation"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, 400, "input[0].type"),
        ({"invented": True}, 400, "invented"),
    ],
)
def test_refusals_have_the_shape_of_openai(
    tmp_path: Path, body: dict[str, Any], status: int, param: str
) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            found, answer, _ = await rig.post("/v1/responses", {"model": "echo", "input": "hi"} | body)
            assert (found, answer["error"]["param"]) == (status, param)
            assert answer["error"]["type"] == "invalid_request_error"

    run(main())

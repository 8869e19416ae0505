"""One dialect in front, another behind: the SDKs of OpenAI and Anthropic against providers that speak the
other's language; and Messages against Z.ai's own address for it, unchanged."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.fake_answers import SIGNATURE, Answer, ToolCall
from tests.fake_openrouter import SONNET
from tests.fake_wire import Reply, Wire
from tests.fake_zai import GLM
from tests.proxy.remote_rig import CLIENT_KEY, HELLO, remote
from tests.proxy.rig import run

CALL = ToolCall("look", '{"at": "the sky"}', id="call_7")
LOOK = {
    "type": "function",
    "name": "look",
    "description": "Looks.",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
}
ANTHROPIC_LOOK: Any = {"name": "look", "description": "Looks.", "input_schema": LOOK["parameters"]}


# --- Responses to Z.ai: Codex ------------------------------------------------------------------


@pytest.mark.parametrize("is_streamed", [False, True])
def test_responses_on_zai(tmp_path: Path, is_streamed: bool) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.zai.script(Reply(Answer("blue", reasoning="it is day", calls=(CALL,), cached=3)))
            client = await far.openai()
            items: Any = [
                {"type": "message", "role": "developer", "content": "be brief"},
                {"type": "message", "role": "user", "content": "which colour?"},
            ]
            terms: Any = {"model": "glm-coding", "instructions": "You look.", "input": items, "tools": [LOOK]}
            if is_streamed:
                async with client.responses.stream(**terms) as stream:
                    response = await stream.get_final_response()
            else:
                response = await client.responses.create(**terms)
            assert response.output_text == "blue"
            kinds = [item.type for item in response.output]
            assert kinds == ["reasoning", "message", "function_call"]
            call: Any = response.output[2]
            assert (call.name, json.loads(call.arguments)) == ("look", {"at": "the sky"})
            assert response.usage is not None
            assert response.usage.input_tokens_details.cached_tokens == 3
            (asked,) = far.zai.posted
            assert asked.path == "/api/coding/paas/v4/chat/completions"
            assert asked.body["model"] == GLM
            assert {message["role"] for message in asked.body["messages"]} <= {"system", "user"}
            assert "be brief" in json.dumps(asked.body["messages"])
            assert (response.usage.input_tokens, response.usage.output_tokens) == (
                far.zai.told.tokens.input,
                far.zai.told.tokens.output,
            )

    run(main())


def test_thoughts_come_back_to_zai_as_they_were(tmp_path: Path) -> None:
    """Preserved thinking: `clear_thinking` false, and `reasoning_content` returned to the letter."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            thoughts = "it is day \n\n  perhaps — 昼"
            far.zai.script(Reply(Answer("", reasoning=thoughts, calls=(CALL,))), Reply(Answer("blue")))
            client = await far.openai()
            history: Any = [{"type": "message", "role": "user", "content": "which colour?"}]
            terms: Any = {"model": "glm", "tools": [LOOK], "store": False}
            terms["include"] = ["reasoning.encrypted_content"]
            first = await client.responses.create(input=history, **terms)
            history += [item.model_dump(exclude_none=True) for item in first.output]
            history.append({"type": "function_call_output", "call_id": "call_7", "output": "blue"})
            second = await client.responses.create(input=history, **terms)
            assert second.output_text == "blue"
            asked = far.zai.posted
            for one in asked:
                assert one.body["thinking"]["clear_thinking"] is False
            assistants = [m for m in asked[1].body["messages"] if m["role"] == "assistant"]
            assert [m.get("reasoning_content") for m in assistants] == [thoughts]
            assert assistants[0]["tool_calls"][0]["id"] == "call_7"

    run(main())


# --- Messages to OpenRouter: Claude Code -------------------------------------------------------


@pytest.mark.parametrize("is_streamed", [False, True])
def test_messages_on_openrouter(tmp_path: Path, is_streamed: bool) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            answer = Answer("blue", reasoning="it is day", calls=(CALL,), cached=2)
            far.openrouter.script(Reply(answer, Wire(comments=True)))
            client = await far.anthropic()
            terms: Any = {
                "model": "sonnet",
                "system": "You look.",
                "messages": HELLO,
                "max_tokens": 500,
                "tools": [ANTHROPIC_LOOK],
                "thinking": {"type": "enabled", "budget_tokens": 200},
            }
            if is_streamed:
                async with client.messages.stream(**terms) as stream:
                    message = await stream.get_final_message()
            else:
                message = await client.messages.create(**terms)
            assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
            assert message.stop_reason == "tool_use"
            assert message.content[2].input == {"at": "the sky"}  # type: ignore[union-attr]
            bill = far.openrouter.bills[0]
            usage = message.usage
            assert usage.cache_read_input_tokens == bill.tokens.cached == 2
            assert usage.input_tokens == bill.tokens.input - bill.tokens.cached
            assert usage.output_tokens == bill.tokens.output
            (asked,) = far.openrouter.posted
            assert asked.path == "/api/v1/chat/completions"
            assert asked.body["model"] == SONNET
            assert asked.body["messages"][0] == {"role": "system", "content": "You look."}
            assert asked.body["tools"][0]["function"]["name"] == "look"
            (row,) = await far.rows()
            assert Decimal(str(row["cost_usd"])) == bill.cost

    run(main())


def test_a_tools_result_finds_its_call_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.openrouter.script(Reply(Answer("", calls=(CALL,))), Reply(Answer("blue")))
            client = await far.anthropic()
            terms: Any = {"model": "sonnet", "max_tokens": 500, "tools": [ANTHROPIC_LOOK]}
            first = await client.messages.create(messages=HELLO, **terms)
            call: Any = first.content[0]
            turn: list[Any] = [
                *HELLO,
                {"role": "assistant", "content": first.content},
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "blue"}],
                },
            ]
            await client.messages.create(messages=turn, **terms)
            messages = far.openrouter.posted[1].body["messages"]
            asked, answered = messages[-2:]
            assert asked["tool_calls"][0]["id"] == answered["tool_call_id"]
            assert json.loads(asked["tool_calls"][0]["function"]["arguments"]) == {"at": "the sky"}

    run(main())


# --- Messages to Z.ai's address for Anthropic's clients ----------------------------------------


@pytest.mark.parametrize("is_streamed", [False, True])
def test_messages_on_zai_pass_through(tmp_path: Path, is_streamed: bool) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            far.zai.script(Reply(Answer("blue", reasoning="it is day", cached=2)))
            client = await far.anthropic()
            terms: Any = {
                "model": "glm-messages",
                "messages": HELLO,
                "max_tokens": 500,
                "thinking": {"type": "enabled", "budget_tokens": 200},
                "metadata": {"user_id": "one"},
                "extra_headers": {"anthropic-version": "2023-06-01", "anthropic-beta": "a-beta"},
            }
            if is_streamed:
                async with client.messages.stream(**terms) as stream:
                    message = await stream.get_final_message()
            else:
                message = await client.messages.create(**terms)
            thinking: Any = message.content[0]
            assert (thinking.thinking, thinking.signature) == ("it is day", SIGNATURE)
            assert message.usage.cache_read_input_tokens == 2
            (asked,) = far.zai.posted
            assert asked.path == "/api/anthropic/v1/messages"
            assert asked.body["metadata"] == {"user_id": "one"}
            assert asked.body["model"] == GLM
            assert asked.header("anthropic-version") == "2023-06-01"
            assert asked.header("anthropic-beta") == "a-beta"
            assert CLIENT_KEY not in json.dumps(list(asked.headers))
            (row,) = await far.rows()
            tokens = far.zai.told.tokens
            assert (row["input_tokens"], row["output_tokens"]) == (tokens.input, tokens.output)
            assert row["cached_tokens"] == 2
            assert row["finish_reason"] == "stop"

    run(main())

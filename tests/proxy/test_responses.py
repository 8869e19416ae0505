"""The Responses dialect by itself: bodies, input items and tools to requests; events to items and streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import (
    ChatEvent,
    ChatRequest,
    Finish,
    FinishReason,
    ImagePart,
    JsonFormat,
    Message,
    Reasoning,
    ReasoningDelta,
    Sampling,
    TextDelta,
    TextPart,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from inference.errors import (
    ContextLengthExceeded,
    HotseatError,
    InvalidRequest,
    LoadFailed,
    Overloaded,
    WorkerCrashed,
)
from proxy.answer import NO_WAITS, Answer, Served
from proxy.dialects.responses import StreamEncoder, decode_request, encode_error, encode_response
from proxy.responses_input import Thought, seal, unseal
from tests.proxy.response_events import Stream, checked, frames

SERVED = Served("42", "smol", 1_700_000_000)
USAGE = Usage(input_tokens=10, cached_tokens=6, output_tokens=5, reasoning_tokens=2)
RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "recordings" / "codex_responses.json").read_text()
)

EXEC = {"type": "function", "name": "exec", "parameters": {"type": "object"}, "strict": False}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Edits files."}
TEAM = {"type": "namespace", "name": "team", "description": "Agents.", "tools": [
    {"type": "function", "name": "spawn", "description": "Starts one."},
    {"type": "function", "name": "wait"},
]}  # fmt: skip
SEARCH = {"type": "tool_search", "execution": "client", "parameters": {"type": "object"}}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hi"} | fields).encode()


def request(**fields: Any) -> ChatRequest:
    return decode_request(body(**fields)).request


def messages(*items: Any) -> tuple[Message, ...]:
    return request(input=list(items)).messages


def refusal(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode_request(body(**fields))
    return caught.value


def finish(reason: FinishReason = "stop") -> Finish:
    return Finish(reason=reason, usage=USAGE)


def streamed(events: list[ChatEvent], chunk: int = 1, **fields: Any) -> Stream:
    encoder = StreamEncoder(decode_request(body(**fields)), SERVED)
    data = b"".join(encoder.encode(events[i : i + chunk], NO_WAITS) for i in range(0, len(events), chunk))
    return checked(frames(encoder.begin() + data))


def whole(events: list[ChatEvent], **fields: Any) -> dict[str, Any]:
    answer = Answer()
    for event in events:
        answer.add(event)
    assert answer.finish is not None
    call = decode_request(body(**fields))
    response: dict[str, Any] = json.loads(encode_response(call, answer, answer.finish, SERVED, NO_WAITS))
    return response


# --- decode: the body --------------------------------------------------------------------------


def test_smallest_body() -> None:
    call = decode_request(body())
    assert call.request == ChatRequest(model="m", messages=(Message(role="user", content="hi"),))
    assert not call.stream


def test_what_is_asked_of_the_model() -> None:
    schema = {"type": "object"}
    chat = request(
        instructions="Be brief.",
        temperature=0.5,
        top_p=0.9,
        top_logprobs=2,
        max_output_tokens=9,
        parallel_tool_calls=False,
        reasoning={"effort": "high", "summary": "auto"},
        text={
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "x", "strict": True, "schema": schema},
        },
    )
    assert chat.messages[0] == Message(role="system", content="Be brief.")
    assert chat.sampling == Sampling(temperature=0.5, top_p=0.9, logprobs=2)
    assert (chat.max_tokens, chat.parallel_tool_calls) == (9, False)
    assert chat.reasoning == Reasoning(effort="high")
    assert chat.json_format == JsonFormat(schema=schema, strict=True, name="x")


def test_small_choices_about_the_answer() -> None:
    assert request(text={"format": {"type": "json_object"}}).json_format == JsonFormat()
    assert request(text={"format": {"type": "text"}}).json_format is None
    assert request(reasoning={"effort": "max"}).reasoning == Reasoning(effort="xhigh")
    assert request(reasoning={"summary": "auto"}).reasoning is None
    assert request(include=["message.output_text.logprobs"]).sampling.logprobs == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("store", True),
        ("metadata", {"a": "b"}),
        ("prompt_cache_key", "x"),
        ("service_tier", "flex"),
        ("client_metadata", {"x-codex-window-id": "1"}),
        ("truncation", "disabled"),
        ("safety_identifier", "x"),
        ("max_tool_calls", 3),
        ("background", False),
        ("previous_response_id", None),
        ("stream_options", {"include_obfuscation": False}),
        ("include", ["web_search_call.action.sources"]),
        ("reasoning", {"context": "all_turns"}),
    ],
)
def test_harmless_fields(field: str, value: Any) -> None:
    assert request(**{field: value}) == request()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("previous_response_id", "resp_1", "no response is stored here"),
        ("conversation", "conv_1", "no conversation is stored here"),
        ("truncation", "auto", "nothing is left out"),
        ("background", True, "stream the answer"),
        ("prompt", {"id": "pmpt_1"}, "no prompts are stored"),
        ("context_management", [{"type": "compaction"}], "shortens no conversation"),
        ("max_tokens", 5, "max_output_tokens"),
        ("n", 2, "one answer"),
        ("invented", 1, "unknown field"),
        ("include", ["thoughts"], "Invalid enum value"),
        ("max_output_tokens", 0, ">= 1"),
        ("input", [], "length >= 1"),
    ],
)
def test_refused_by_name(field: str, value: Any, says: str) -> None:
    error = refusal(**{field: value})
    assert (error.param or "").startswith(field)
    assert says in error.message


def test_a_body_without_input() -> None:
    with pytest.raises(InvalidRequest, match="input: this field is required"):
        decode_request(b'{"model": "m"}')


# --- decode: input items -----------------------------------------------------------------------


def test_messages_of_every_role_and_form() -> None:
    text = {"type": "input_text", "text": "a"}
    said = {"type": "output_text", "text": "b", "annotations": [], "logprobs": []}
    found = messages(
        {"role": "developer", "content": "rules"},
        {"type": "message", "role": "system", "content": [text], "id": "msg_1"},
        {"role": "user", "content": [text, text]},
        {"role": "assistant", "content": [said, {"type": "refusal", "refusal": "no"}], "status": "completed"},
    )
    assert found == (
        Message(role="developer", content="rules"),
        Message(role="system", content="a"),
        Message(role="user", content=(TextPart(text="a"), TextPart(text="a"))),
        Message(role="assistant", content="bno"),
    )


def test_the_items_of_an_answer_become_one_message_again() -> None:
    found = messages(
        {"role": "user", "content": "go"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": seal("hm ")},
        {"role": "assistant", "content": "Calling."},
        {"type": "function_call", "call_id": "c1", "name": "exec", "arguments": '{"a":1}', "id": "fc_1"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "*** Begin"},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {
            "type": "custom_tool_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "two"}],
        },
        {"role": "assistant", "content": "Done."},
    )
    assert found[1:] == (
        Message(
            role="assistant",
            content="Calling.",
            reasoning="hm ",
            tool_calls=(
                ToolCall(id="c1", name="exec", arguments='{"a":1}'),
                ToolCall(id="c2", name="apply_patch", arguments='{"input":"*** Begin"}'),
            ),
        ),
        Message(role="tool", content="one", tool_call_id="c1"),
        Message(role="tool", content="two", tool_call_id="c2"),
        Message(role="assistant", content="Done."),
    )


def test_an_answer_with_open_calls_goes_on_and_any_other_ends() -> None:
    def call(n: int) -> dict[str, str]:
        return {"type": "function_call", "call_id": f"c{n}", "name": "exec", "arguments": "{}"}

    def shape(*items: Any) -> list[tuple[str, Any, int]]:
        return [(m.reasoning, m.content, len(m.tool_calls)) for m in messages(*items)]

    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]}
    said = {"role": "assistant", "content": "said"}
    assert shape(thought, call(1), thought, said, call(2)) == [("tt", "said", 2)]
    assert shape(said, call(1), thought, said, call(2)) == [("t", "saidsaid", 2)]
    assert shape(thought, said, said, thought, said) == [("t", "said", 0), ("", "said", 0), ("t", "said", 0)]


def test_a_signature_is_of_the_whole_reasoning_or_of_none() -> None:
    def item(text: str, signature: str) -> dict[str, Any]:
        return {"type": "reasoning", "summary": [], "encrypted_content": seal(text, signature)}

    said = {"role": "assistant", "content": "4"}
    [one] = messages(item("a", "s"), said)
    assert (one.reasoning, one.reasoning_signature) == ("a", "s")
    [two] = messages(item("a", "s"), item("b", "t"), said)
    assert (two.reasoning, two.reasoning_signature) == ("ab", "")
    [mixed] = messages(item("a", ""), item("b", "t"), said)
    assert (mixed.reasoning, mixed.reasoning_signature) == ("ab", "")
    [hidden] = messages(item("", "s"), said)
    assert (hidden.reasoning, hidden.reasoning_signature) == ("", "s")


def test_reasoning_of_ours_and_of_others() -> None:
    def thought(**fields: Any) -> str:
        [message] = messages(
            {"type": "reasoning", "id": "rs", **fields}, {"role": "assistant", "content": "x"}
        )
        return message.reasoning

    parts = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    raw = [{"type": "reasoning_text", "text": "raw"}]
    assert thought(summary=parts, content=raw, encrypted_content=seal("sealed")) == "sealed"
    assert thought(summary=parts, content=raw, encrypted_content="gAAAA of another server") == "raw"
    assert thought(summary=parts, content=None, encrypted_content=None) == "a\n\nb"
    assert thought(summary=[], encrypted_content="gAAAA") == ""


@given(st.text())
def test_sealed_reasoning_comes_back_as_it_was(text: str) -> None:
    assert unseal(seal(text), "input[0]") == Thought(text)


@pytest.mark.parametrize("damage", [lambda s: s[:-3], lambda s: s + "!", lambda s: s.replace("Y", "*", 1)])
def test_damaged_reasoning_is_refused(damage: Any) -> None:
    sealed = damage(seal("a long enough thought, and aaa"))
    error = refusal(input=[{"type": "reasoning", "summary": [], "encrypted_content": sealed}])
    assert error.param == "input[0].encrypted_content"


def test_images_are_passed_on_and_files_refused() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "original"}
    [seen, _, result] = messages(
        {"role": "user", "content": [image]},
        {"type": "function_call", "call_id": "c", "name": "view_image", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [image]},
    )
    assert seen.content == result.content == (ImagePart(url="data:image/png;base64,AA=="),)
    stored = refusal(input=[{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}])
    assert stored.param == "input[0].content[0].file_id"
    local = refusal(
        input=[{"role": "user", "content": [{"type": "input_image", "image_url": "file:///etc"}]}]
    )
    assert local.param == "input[0].content[0].image_url"


def test_shell_calls_of_a_history() -> None:
    action = {"type": "exec", "command": ["ls"], "env": {}}
    [call, result] = messages(
        {"type": "local_shell_call", "id": "lsh", "call_id": "c", "status": "completed", "action": action},
        {"type": "local_shell_call_output", "id": "c", "output": "a.py"},
    )
    assert call.tool_calls == (ToolCall(id="c", name="local_shell", arguments='{"command":["ls"],"env":{}}'),)
    assert result == Message(role="tool", content="a.py", tool_call_id="c")


@pytest.mark.parametrize(
    ("item", "param", "says"),
    [
        ({"type": "item_reference", "id": "msg_1"}, "input[0].type", "nothing is stored here"),
        ({"id": "msg_1"}, "input[0].type", "required"),
        ({"type": "web_search_call", "id": "ws"}, "input[0].type", "not supported; expected one of message"),
        ({"type": "compaction", "encrypted_content": "x"}, "input[0].type", "not supported"),
        ({"type": 7}, "input[0].type", "not supported"),
        ({"role": "narrator", "content": "x"}, "input[0].role", "narrator"),
        ({"role": "user", "content": "x", "mood": 1}, "input[0].mood", "unknown field"),
        ({"role": "user", "content": [{"type": "input_file"}]}, "input[0].content[0].type", "input_file"),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, "input[0].call_id", "required"),
    ],
)
def test_items_refused_by_name(item: Any, param: str, says: str) -> None:
    error = refusal(input=[item])
    assert error.param == param
    assert says in error.message


# --- decode: tools -----------------------------------------------------------------------------


def test_every_kind_of_tool_is_a_function_to_the_model() -> None:
    tools = request(tools=[EXEC, PATCH, TEAM, SEARCH]).tools
    assert [tool.name for tool in tools] == [
        "exec",
        "apply_patch",
        "team__spawn",
        "team__wait",
        "tool_search",
    ]
    assert tools[1].parameters["required"] == ["input"]
    assert tools[1].description.startswith("Edits files.\n\nPass the raw text")
    assert [tool.description for tool in tools[2:4]] == ["Agents.\n\nStarts one.", ""]


def test_the_grammar_of_a_custom_tool_is_told_and_where_possible_enforced() -> None:
    def offered(syntax: str, definition: str) -> tuple[str, Any]:
        shape = {"type": "grammar", "syntax": syntax, "definition": definition}
        [tool] = request(tools=[{**PATCH, "format": shape}]).tools
        return tool.description, tool.parameters["properties"]["input"]

    description, text = offered("lark", 'start: "a"')
    assert "lark grammar:\nstart" in description
    assert text == {"type": "string"}
    assert offered("regex", "a|b")[1] == {"type": "string", "pattern": "^(?:a|b)$"}


def test_tools_that_hosted_services_run() -> None:
    left_out = [{"type": "web_search", "external_web_access": True}, {"type": "web_search_2025_08_26"}]
    call = decode_request(body(tools=[EXEC, *left_out, {"type": "image_generation"}]))
    assert [tool.name for tool in call.request.tools] == ["exec"]
    assert call.echo["tools"] == [EXEC]
    error = refusal(tools=[EXEC, {"type": "file_search", "vector_store_ids": ["x"]}])
    assert error.param == "tools[1].type"
    assert "'file_search' is not supported: expected function, custom" in error.message
    assert refusal(tools=[{"type": "tool_search"}]).param == "tools[0].execution"
    assert (
        refusal(tools=[{"type": "namespace", "name": "n", "tools": [SEARCH]}]).param
        == "tools[0].tools[0].type"
    )


def test_two_tools_of_one_name() -> None:
    error = refusal(tools=[EXEC, {**EXEC, "description": "another"}])
    assert error.param == "tools[1]"
    assert request(tools=[EXEC, EXEC]).tools == request(tools=[EXEC]).tools


def test_which_tools_may_and_must_be_called() -> None:
    def asked(choice: Any) -> tuple[list[str], str, str]:
        chat = request(tools=[EXEC, PATCH, TEAM], tool_choice=choice)
        return [tool.name for tool in chat.tools], chat.tool_choice, chat.forced_tool

    everything = ["exec", "apply_patch", "team__spawn", "team__wait"]
    assert asked("auto") == (everything, "auto", "")
    assert asked("none") == ([], "auto", "")
    assert asked("required") == (everything, "required", "")
    assert asked({"type": "function", "name": "exec"}) == (everything, "required", "exec")
    assert asked({"type": "custom", "name": "apply_patch"}) == (everything, "required", "apply_patch")
    named = {"type": "function", "name": "wait", "namespace": "team"}
    assert asked(named) == (everything, "required", "team__wait")
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "exec"}]}
    assert asked(allowed) == (["exec"], "auto", "")
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "namespace", "name": "team"}]}
    assert asked(allowed) == (["team__spawn", "team__wait"], "required", "")
    allowed["tools"] = [{"type": "web_search"}, {"type": "custom", "name": "apply_patch"}]  # left out itself
    assert asked(allowed) == (["apply_patch"], "required", "")


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "name": "nobody"},
        {"type": "function", "name": "apply_patch"},
        {"type": "web_search"},
        {"type": "namespace", "name": "team"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "nobody"}]},
    ],
)
def test_a_tool_that_must_be_called_and_is_not_offered(choice: Any) -> None:
    assert refusal(tools=[EXEC, PATCH, TEAM], tool_choice=choice).param == "tool_choice"


def test_a_call_is_required_and_there_are_no_tools() -> None:
    assert refusal(tool_choice="required").param == "tool_choice"


def test_tools_that_were_found_are_offered() -> None:
    chat = request(
        tools=[SEARCH],
        input=[
            {
                "type": "tool_search_call",
                "call_id": "c",
                "execution": "client",
                "arguments": {"query": "agents"},
            },
            {"type": "tool_search_output", "call_id": "c", "execution": "client", "tools": [TEAM]},
        ],
    )
    assert [tool.name for tool in chat.tools] == ["tool_search", "team__spawn", "team__wait"]
    assert chat.messages[0].tool_calls[0].arguments == '{"query":"agents"}'
    assert chat.messages[1].content == "Found: team__spawn, team__wait"


# --- what Codex sends --------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECORDED)
def test_requests_of_codex_decode(name: str) -> None:
    call = decode_request(json.dumps(RECORDED[name]).encode())
    assert call.request.messages
    assert len({tool.name for tool in call.request.tools}) == len(call.request.tools)


def test_a_patch_in_codex_history_is_a_call_of_the_function_that_is_offered() -> None:
    chat = decode_request(json.dumps(RECORDED["catalog_turn2_custom_tool_output"]).encode()).request
    [call] = chat.messages[-2].tool_calls
    assert call.name == "apply_patch"
    assert json.loads(call.arguments)["input"].startswith("*** Begin Patch\n")
    assert chat.messages[-1].tool_call_id == call.id


def test_a_message_between_agents_is_plain_text() -> None:
    chat = decode_request(json.dumps(RECORDED["multi_agent_v2_child_agent_message"]).encode()).request
    assert chat.messages[-1].role == "user"
    assert str(chat.messages[-1].content).endswith("Say what 2+2 is")
    [call] = [call for message in chat.messages for call in message.tool_calls]
    assert call.name == "collaboration__spawn_agent"


# --- encode ------------------------------------------------------------------------------------

TOOLS = [EXEC, PATCH, TEAM, SEARCH]
SHOWN: dict[str, Any] = {"reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]}


def call_of(index: int, name: str, *arguments: str) -> list[ChatEvent]:
    pieces: list[ChatEvent] = [ToolCallDelta(index=index, arguments=piece) for piece in arguments]
    return [ToolCallDelta(index=index, id=f"call_{index}", name=name), *pieces]


def test_text_as_a_stream() -> None:
    stream = streamed([TextDelta(text="Hel"), TextDelta(text="lo"), finish()])
    assert stream.types == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert stream.response["output"] == [
        {
            "id": "msg_42_0",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
        }
    ]
    assert stream.response["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    }


def test_reasoning_as_the_summary_that_was_asked_for() -> None:
    events: list[ChatEvent] = [
        ReasoningDelta(text="I "),
        ReasoningDelta(text="see"),
        TextDelta(text="4"),
        finish(),
    ]
    stream = streamed(events, **SHOWN)
    assert stream.types[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    [thought, _] = stream.response["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "I see"}]
    assert thought["content"] == []
    assert unseal(thought["encrypted_content"], "") == Thought("I see")


def test_reasoning_as_it_is() -> None:
    stream = streamed([ReasoningDelta(text="hm"), finish()])
    assert stream.types[2:6] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
    ]
    [thought] = stream.response["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert (thought["summary"], thought["encrypted_content"]) == ([], None)


def test_calls_of_every_kind_are_told_in_the_terms_of_the_client() -> None:
    events = [
        *call_of(0, "exec", '{"cmd"', ':"ls"}'),
        *call_of(1, "apply_patch", '{"input": "*** Be', 'gin\\n"}'),
        *call_of(2, "team__spawn", "{}"),
        *call_of(3, "tool_search", '{"query": "x"}'),
        *call_of(4, "wait", "{}"),
        *call_of(5, "unheard_of", "{}"),
        finish("tool_calls"),
    ]
    stream = streamed(events, tools=TOOLS)
    found = [
        {key: item[key] for key in item if key not in ("id", "status")} for item in stream.response["output"]
    ]
    assert found == [
        {"type": "function_call", "call_id": "call_0", "name": "exec", "arguments": '{"cmd":"ls"}'},
        {"type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch", "input": "*** Begin\n"},
        {
            "type": "function_call",
            "call_id": "call_2",
            "name": "spawn",
            "namespace": "team",
            "arguments": "{}",
        },
        {"type": "tool_search_call", "call_id": "call_3", "execution": "client", "arguments": {"query": "x"}},
        # A model that forgets the namespace is understood as long as only one tool can be meant.
        {
            "type": "function_call",
            "call_id": "call_4",
            "name": "wait",
            "namespace": "team",
            "arguments": "{}",
        },
        {"type": "function_call", "call_id": "call_5", "name": "unheard_of", "arguments": "{}"},
    ]
    assert stream.pieces(1) == "*** Begin\n"


def test_a_call_that_was_cut_off_is_never_done() -> None:
    whole_call, cut_call = call_of(0, "exec", "{}"), call_of(1, "apply_patch", '{"input": "rm -rf /tm')
    stream = streamed([*whole_call, *cut_call, finish("length")], tools=TOOLS)
    assert stream.ending["type"] == "response.incomplete"
    assert [item["status"] for item in stream.response["output"]] == ["completed", "incomplete"]
    assert [item.done is not None for item in stream.items.values()] == [True, False]


def test_text_that_was_cut_off_is_done_as_incomplete() -> None:
    stream = streamed([ReasoningDelta(text="a"), TextDelta(text="b"), finish("length")])
    assert [item["status"] for item in stream.response["output"]] == ["completed", "incomplete"]
    assert stream.response["incomplete_details"] == {"reason": "max_output_tokens"}


def test_logprobs() -> None:
    token = TokenLogprob(token="a", bytes_=b"a", logprob=-0.5)
    stream = streamed([TextDelta(text="a", logprobs=(token,)), finish()])
    expected = [{"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": []}]
    assert stream.response["output"][0]["content"][0]["logprobs"] == expected


def test_what_a_response_repeats_of_the_body() -> None:
    response = whole(
        [TextDelta(text="x"), finish()],
        tools=[EXEC, {"type": "web_search"}],
        instructions="Be brief.",
        metadata={"a": "b"},
        store=True,
        text={"verbosity": "low"},
        reasoning={"effort": "low"},
        max_output_tokens=7,
    )
    assert response["object"] == "response"
    assert (response["id"], response["model"], response["created_at"]) == ("resp_42", "smol", 1_700_000_000)
    assert response["tools"] == [EXEC]
    assert (response["instructions"], response["metadata"]) == ("Be brief.", {"a": "b"})
    assert response["store"] is False
    assert response["text"] == {"verbosity": "low", "format": {"type": "text"}}
    assert response["reasoning"] == {"effort": "low", "summary": None}
    assert (response["max_output_tokens"], response["truncation"]) == (7, "disabled")
    assert response["timings"]["cache_n"] == 6


def test_keep_alives_count_as_life_and_keep_the_order() -> None:
    encoder = StreamEncoder(decode_request(body()), SERVED)
    data = encoder.begin() + encoder.keep_alive() + encoder.keep_alive()
    data += encoder.encode([TextDelta(text="a")], NO_WAITS) + encoder.keep_alive()
    data += encoder.encode([finish()], NO_WAITS)
    types = [event["type"] for event in checked(frames(data)).events]
    assert types.count("response.in_progress") == 4


def test_the_opening_comes_first_even_if_it_is_asked_for_last() -> None:
    encoder = StreamEncoder(decode_request(body()), SERVED)
    data = encoder.encode([TextDelta(text="a"), finish()], NO_WAITS)
    checked(frames(encoder.begin() + data))


# --- errors ------------------------------------------------------------------------------------


def failed(error: HotseatError, *events: ChatEvent) -> dict[str, Any]:
    encoder = StreamEncoder(decode_request(body()), SERVED)
    data = encoder.begin() + encoder.encode(events, NO_WAITS) + encoder.error(error, "42")
    return checked(frames(data)).response


def test_a_failure_ends_the_stream_and_nothing_looks_finished() -> None:
    response = failed(WorkerCrashed("it died"), ReasoningDelta(text="hm"), TextDelta(text="half a sen"))
    assert (response["error"]["code"], response["error"]["message"]) == ("server_error", "it died")
    assert response["error"]["hotseat"]["code"] == "worker_crashed"
    assert [item["type"] for item in response["output"]] == ["reasoning"]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (
            ContextLengthExceeded("x", n_tokens=9, n_ctx=8),
            "context_length_exceeded",
            "maximum context length is 8",
        ),
        (InvalidRequest("no images", param="input"), "invalid_prompt", "no images"),
        (Overloaded("full.", retry_after_s=3.2), "rate_limit_exceeded", "full. Please try again in 4s."),
        (LoadFailed("no such tensor"), "server_error", "no such tensor"),
    ],
)
def test_codes_that_codex_reacts_to(error: HotseatError, code: str, says: str) -> None:
    told = failed(error)["error"]
    assert told["code"] == code
    assert says in told["message"]


def test_an_error_before_the_stream() -> None:
    told = json.loads(encode_error(ContextLengthExceeded("x", n_tokens=9, n_ctx=8), "42"))["error"]
    assert (told["code"], told["type"]) == ("context_length_exceeded", "invalid_request_error")


# --- any answer --------------------------------------------------------------------------------

NAMES = st.sampled_from(["exec", "apply_patch", "team__spawn", "wait", "tool_search", "unheard_of"])
FRAGMENTS = st.sampled_from(['{"input": "', "a\\n", '"}', "{}", "", "{", '"x"', "\\ud83d", "\\ude00"])


@st.composite
def answers(draw: st.DrawFn) -> list[ChatEvent]:
    """Any events in any order; only the first delta of a call has its id and name."""
    events: list[ChatEvent] = []
    begun: set[int] = set()
    for _ in range(draw(st.integers(0, 12))):
        match draw(st.sampled_from(["text", "reasoning", "call"])):
            case "text":
                events.append(TextDelta(text=draw(st.sampled_from(["", "a", "bc\n", "é"]))))
            case "reasoning":
                events.append(ReasoningDelta(text=draw(st.sampled_from(["", "t", "hink"]))))
            case _:
                index = draw(st.integers(0, 3))
                first = index not in begun
                begun.add(index)
                events.append(
                    ToolCallDelta(
                        index=index,
                        id=f"call_{index}" if first else "",
                        name=draw(NAMES) if first else "",
                        arguments=draw(FRAGMENTS),
                    )
                )
    return [*events, finish(draw(st.sampled_from(["stop", "length", "tool_calls"])))]


@given(answers(), st.integers(1, 5), st.booleans())
def test_any_answer_is_a_valid_stream_and_the_same_without_one(
    events: list[ChatEvent], chunk: int, summary: bool
) -> None:
    fields = {"tools": TOOLS} | (SHOWN if summary else {})
    stream = streamed(events, chunk, **fields)
    assert stream.response == whole(events, **fields)


@given(answers())
def test_an_answer_that_is_sent_back_says_the_same(events: list[ChatEvent]) -> None:
    response = whole(events, tools=TOOLS, **SHOWN)
    answer = Answer()
    for event in events:
        answer.add(event)
    again = request(tools=TOOLS, input=[*response["output"], {"role": "user", "content": "go on"}]).messages[
        :-1
    ]
    assert "".join(str(message.content) for message in again) == answer.text
    assert "".join(message.reasoning for message in again) == answer.reasoning
    calls = [call for message in again for call in message.tool_calls]
    assert [call.id for call in calls] == [
        item["call_id"] for item in response["output"] if "call_id" in item
    ]
    assert sorted(call.id for call in calls) == sorted(call.id for call in answer.tool_calls)


@given(answers(), st.integers(0, 12))
def test_an_answer_that_fails_anywhere_never_ends_well(events: list[ChatEvent], after: int) -> None:
    encoder = StreamEncoder(decode_request(body(tools=TOOLS)), SERVED)
    data = encoder.encode(events[:-1][:after], NO_WAITS) + encoder.error(WorkerCrashed("x"), "42")
    assert checked(frames(encoder.begin() + data)).ending["type"] == "response.failed"

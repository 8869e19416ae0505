"""There and back through each dialect: what its server half writes, its client half reads, and the other way
round. What a dialect does not carry, or carries in its own way, is stated here by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import (
    ChatEvent,
    ChatRequest,
    Finish,
    JsonFormat,
    Message,
    Reasoning,
    ReasoningDelta,
    Sampling,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from inference.errors import (
    ContextLengthExceeded,
    EngineFault,
    HotseatError,
    InvalidRequest,
    LoadFailed,
    Overloaded,
    ShuttingDown,
    UnknownModel,
    WorkerCrashed,
    WorkerStalled,
)
from proxy import anthropic_events, openai_chunks, responses_events
from proxy.answer import NO_WAITS, Answer, Served
from proxy.dialects import (
    anthropic_messages,
    chat_client,
    chat_completions,
    messages_client,
    responses,
    responses_client,
)
from proxy.errors import Forbidden, Unauthorized, status_of
from proxy.messages_request import MessagesTerms
from proxy.responses_input import seal
from proxy.responses_request import ResponsesTerms
from proxy.signatures import signed_by
from proxy.upstream_errors import Reported
from tests.proxy import any_chat
from tests.proxy.any_chat import (
    CUTS,
    OBJECTS,
    SOME_TEXTS,
    Carried,
    Said,
    answers,
    batches,
    cut,
    finishes,
    said,
)

SERVED = Served("42", "smol", 1_700_000_000)
AUTHOR = "peer"
SEALED = {"reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]}


@dataclass(frozen=True)
class Dialect:
    """Both halves. `signature`: what becomes of one, given the thought and what its author signed it with."""

    server: Any
    client: Any
    error_in: Callable[..., Reported]
    call: Any
    authored: tuple[str, ...]
    signature: Callable[[str, str], str]
    reasons_follow: bool = False  # the finish reason is that of the items

    def decoder(self) -> Any:
        return self.client.StreamDecoder(*self.authored)


def called(dialect: Any, **fields: Any) -> Any:
    return dialect.decode_request(json.dumps({"model": "m", **fields}).encode())


QUESTION = [{"role": "user", "content": "hi"}]
CHAT = Dialect(
    chat_completions,
    chat_client,
    openai_chunks.error_in,
    called(chat_completions, messages=QUESTION, stream=True, stream_options={"include_usage": True}),
    (),
    lambda text, signature: "",
)
MESSAGES = Dialect(
    anthropic_messages,
    messages_client,
    anthropic_events.error_in,
    called(anthropic_messages, messages=QUESTION, stream=True, max_tokens=1),
    (AUTHOR,),
    lambda text, signature: signed_by(AUTHOR, signature or anthropic_messages.SIGNATURE),
)
RESPONSES = Dialect(
    responses,
    responses_client,
    responses_events.error_in,
    called(responses, input="hi", stream=True, **SEALED),
    (AUTHOR,),
    lambda text, signature: signed_by(AUTHOR, seal(text, signature)),
    reasons_follow=True,
)
ALL = pytest.mark.parametrize("dialect", [CHAT, MESSAGES, RESPONSES], ids=["chat", "messages", "responses"])
WITH_WHOLE_ANSWERS = pytest.mark.parametrize("dialect", [MESSAGES, RESPONSES], ids=["messages", "responses"])


# --- answers -----------------------------------------------------------------------------------


def carried(dialect: Dialect, events: Sequence[ChatEvent]) -> list[Said | Finish]:
    pieces = said(events)
    has_calls = any(isinstance(piece, Said) and piece.kind == "call" for piece in pieces)
    carried: list[Said | Finish] = []
    for piece in pieces:
        if isinstance(piece, Finish):
            if dialect.reasons_follow and piece.reason != "length":
                piece = msgspec.structs.replace(piece, reason="tool_calls" if has_calls else "stop")
            carried.append(piece)
            continue
        if piece.kind == "reasoning":
            piece.signature = dialect.signature(piece.text, piece.signature)
        carried.append(piece)
    if dialect is CHAT:  # nothing tells where a signed thought ends, nor that there was one without text
        carried = _joined(carried)
    return carried


def _joined(pieces: list[Said | Finish]) -> list[Said | Finish]:
    joined: list[Said | Finish] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, Said) and piece.kind == "reasoning" and not piece.text:
            continue
        if isinstance(piece, Said) and isinstance(last, Said) and last.kind == piece.kind != "call":
            last.text += piece.text
        else:
            joined.append(piece)
    return joined


def decoded(dialect: Dialect, pieces: Sequence[bytes]) -> list[ChatEvent]:
    decoder = dialect.decoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [*events, *decoder.end()]


@ALL
@given(events=answers(), finish=finishes(), data=st.data(), places=CUTS, breathes=st.booleans())
def test_a_streamed_answer(
    dialect: Dialect, events: list[ChatEvent], finish: Finish, data: st.DataObject, places: list[int],
    breathes: bool,
) -> None:  # fmt: skip
    encoder = dialect.server.StreamEncoder(dialect.call, SERVED)
    stream = encoder.begin()
    for batch in data.draw(batches([*events, finish])):
        stream += encoder.keep_alive() if breathes else b""
        stream += encoder.encode(batch, NO_WAITS)
    assert said(decoded(dialect, cut(stream, places))) == carried(dialect, [*events, finish])


EVENTS: list[ChatEvent] = [
    ReasoningDelta(text="Hm 🦙"),
    ReasoningDelta(text="", signature="c2ln"),
    TextDelta(text="Grüße\n"),
    ToolCallDelta(index=0, id="c1", name="f"),
    ToolCallDelta(index=0, arguments='{"ä":[1.5,null]}'),
    ToolCallDelta(index=1, id="c2", name="g"),
    ToolCallDelta(index=1, arguments="{}"),
    Finish(reason="tool_calls", usage=Usage(input_tokens=9, cached_tokens=5, output_tokens=4)),
]


@ALL
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_a_stream_at_every_place_it_can_be_cut(dialect: Dialect, end: bytes) -> None:
    encoder = dialect.server.StreamEncoder(dialect.call, SERVED)
    stream = (encoder.begin() + encoder.keep_alive() + encoder.encode(EVENTS, NO_WAITS)).replace(b"\n", end)
    expected = carried(dialect, EVENTS)
    for place in range(len(stream) + 1):
        assert said(decoded(dialect, [stream[:place], stream[place:]])) == expected, place
    assert said(decoded(dialect, [stream[i : i + 1] for i in range(len(stream))])) == expected


def test_a_signature_alone_is_nothing_to_a_chat_client() -> None:
    encoder = chat_completions.StreamEncoder(CHAT.call, SERVED)
    assert encoder.encode([ReasoningDelta(text="", signature="c2ln")], NO_WAITS) == b""


@WITH_WHOLE_ANSWERS
@given(events=answers(), finish=finishes())
def test_a_whole_answer(dialect: Dialect, events: list[ChatEvent], finish: Finish) -> None:
    answer = Answer()
    for event in [*events, finish]:
        answer.add(event)
    whole = dialect.server.encode_response(dialect.call, answer, finish, SERVED, NO_WAITS)
    found = dialect.client.decode_response(whole, AUTHOR)
    if dialect is MESSAGES:  # where thoughts are one, and come first; so do texts
        events = _in_order(answer)
    assert said(found) == carried(dialect, [*events, finish])


def _in_order(answer: Answer) -> list[ChatEvent]:
    events: list[ChatEvent] = []
    if answer.reasoning or answer.reasoning_signature:
        events.append(ReasoningDelta(text=answer.reasoning, signature=answer.reasoning_signature))
    events.append(TextDelta(text=answer.text))
    for index, call in enumerate(answer.tool_calls):
        events.append(ToolCallDelta(index=index, id=call.id, name=call.name, arguments=call.arguments))
    return events


# --- requests ----------------------------------------------------------------------------------

TERMS = {
    CHAT.client: (),
    MESSAGES.client: (MessagesTerms(author=AUTHOR, late_system=True, unsigned_thoughts=True),),
    RESPONSES.client: (ResponsesTerms(author=AUTHOR, unsigned_thoughts=True),),
}
KEPT = signed_by("another", "c2ln")
"""By a provider that the other side has asked."""

SCHEMAS = st.builds(JsonFormat, schema=OBJECTS, strict=st.just(True))
EFFORTS: Any = st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"])

CHAT_CARRIES = Carried(
    sampling=any_chat.OPENAI_SAMPLING,
    reasoning=any_chat.maybe(st.builds(Reasoning, effort=EFFORTS)),
    json_format=any_chat.maybe(
        st.just(JsonFormat())
        | st.builds(JsonFormat, schema=OBJECTS, strict=st.booleans(), name=any_chat.NAMES)
    ),
    max_tokens=any_chat.maybe(st.integers(1, 10**6)),
    parameters=OBJECTS,
    signatures=st.just(""),
    result_images=False,
)
MESSAGES_CARRY = Carried(
    sampling=st.builds(
        Sampling,
        temperature=any_chat.maybe(st.floats(0, 1)),
        top_k=any_chat.maybe(st.integers(0, 100)),
        top_p=any_chat.maybe(st.floats(0, 1)),
    ),
    reasoning=st.just(Reasoning(enabled=False))
    | st.builds(
        Reasoning, enabled=st.just(True), effort=st.sampled_from([None, "low", "medium", "high", "xhigh"])
    ),
    json_format=any_chat.maybe(SCHEMAS),
    max_tokens=st.integers(1, 10**6),
    parameters=OBJECTS.map(lambda value: {"type": "object", **value}),
    signatures=st.sampled_from(["", signed_by(AUTHOR, KEPT)]),
    result_images=True,
    ignores_eos=False,
)
RESPONSES_CARRY = Carried(
    sampling=any_chat.OPENAI_SAMPLING,
    reasoning=any_chat.maybe(st.builds(Reasoning, effort=EFFORTS)),
    json_format=CHAT_CARRIES.json_format,
    max_tokens=CHAT_CARRIES.max_tokens,
    parameters=OBJECTS,
    signatures=st.sampled_from(["", "sealed"]),
    result_images=True,
    system_roles=("system", "developer"),
)


def there_and_back(dialect: Dialect, request: ChatRequest) -> ChatRequest:
    raw = dialect.client.encode_request(request, "m", *TERMS[dialect.client])
    found: ChatRequest = dialect.server.decode_request(raw).request
    return found


@given(request=any_chat.requests(CHAT_CARRIES))
def test_a_chat_request(request: ChatRequest) -> None:
    """Only a tool that must be called is offered."""
    if request.forced_tool:
        forced = tuple(tool for tool in request.tools if tool.name == request.forced_tool)
        request = msgspec.structs.replace(request, tools=forced, forced_tool="")
    assert there_and_back(CHAT, request) == request


@given(request=any_chat.requests(MESSAGES_CARRY))
def test_a_messages_request(request: ChatRequest) -> None:
    """A forced call and thinking exclude each other; what another one signed comes back under his name."""
    if request.tool_choice == "required":
        request = msgspec.structs.replace(request, reasoning=Reasoning(enabled=False))
    expected = msgspec.structs.replace(request, messages=tuple(map(_kept, request.messages)))
    assert there_and_back(MESSAGES, request) == expected


@given(request=any_chat.requests(RESPONSES_CARRY))
def test_a_responses_request(request: ChatRequest) -> None:
    sent = msgspec.structs.replace(request, messages=tuple(map(_sealed, request.messages)))
    expected = msgspec.structs.replace(request, messages=tuple(map(_kept, request.messages)))
    assert there_and_back(RESPONSES, sent) == expected


def _kept(message: Message) -> Message:
    """As the other side knows it: the signature that it got from its own provider."""
    signature = KEPT if message.reasoning_signature else ""
    return msgspec.structs.replace(message, reasoning_signature=signature)


def _sealed(message: Message) -> Message:
    signature = signed_by(AUTHOR, seal(message.reasoning, KEPT)) if message.reasoning_signature else ""
    return msgspec.structs.replace(message, reasoning_signature=signature)


@WITH_WHOLE_ANSWERS
@given(thought=SOME_TEXTS, signature=SOME_TEXTS.map(lambda text: text.strip()))
def test_a_signed_thought_goes_around_and_comes_back_to_its_author(
    dialect: Dialect, thought: str, signature: str
) -> None:
    """From a provider to a client of either dialect, and with the next turn back to the provider."""
    kept = signed_by("openai", signature)
    answer = Answer()
    answer.add(ReasoningDelta(text=thought, signature=kept))
    answer.add(TextDelta(text="4"))
    finish = Finish(reason="stop", usage=Usage())
    answer.add(finish)
    whole = json.loads(dialect.server.encode_response(dialect.call, answer, finish, SERVED, NO_WAITS))
    if dialect is MESSAGES:
        history = [{"role": "assistant", "content": whole["content"]}, *QUESTION]
        request = called(anthropic_messages, messages=history, max_tokens=1).request
    else:
        request = called(responses, input=[*whole["output"], *QUESTION]).request
    assert request.messages[0].reasoning == thought
    terms = ResponsesTerms(author="openai")
    [item, *_] = json.loads(responses_client.encode_request(request, "m", terms))["input"]
    assert (item["type"], item["encrypted_content"]) == ("reasoning", signature)
    foreign = responses_client.encode_request(request, "m", ResponsesTerms(author="azure"))
    assert b"encrypted" not in foreign
    assert b'"type":"thinking"' not in messages_client.encode_request(request, "m", MessagesTerms(author="x"))


# --- errors ------------------------------------------------------------------------------------

ERRORS = [
    InvalidRequest("top_k: expected less", param="top_k"),
    ContextLengthExceeded("too long", n_tokens=5000, n_ctx=4096),
    UnknownModel("no model is called 'x'"),
    Unauthorized("no key"),
    Forbidden("not from here"),
    Overloaded("the queue is full", retry_after_s=7.0),
    ShuttingDown("going down"),
    LoadFailed("no such tensor"),
    WorkerCrashed("died"),
    WorkerStalled("no progress"),
    EngineFault("decode failed"),
    HotseatError("who knows"),
]
EACH_ERROR = pytest.mark.parametrize("error", ERRORS, ids=[type(error).__name__ for error in ERRORS])


@ALL
@EACH_ERROR
def test_an_error_before_the_answer(dialect: Dialect, error: HotseatError) -> None:
    body = dialect.server.encode_error(error, "42")
    found = dialect.error_in(body, status_of(error))
    assert (found.status, found.param) == (status_of(error), error.param)
    assert _is_told(error, found)


@ALL
@EACH_ERROR
def test_an_error_in_the_middle(dialect: Dialect, error: HotseatError) -> None:
    encoder = dialect.server.StreamEncoder(dialect.call, SERVED)
    text = TextDelta(text="half a sen")
    stream = encoder.begin() + encoder.encode([text], NO_WAITS) + encoder.error(error, "42")
    decoder = dialect.decoder()
    assert decoder.feed(stream) == [text]
    assert isinstance(decoder.error, Reported)
    assert _is_told(error, decoder.error)
    assert not decoder.is_done
    with pytest.raises(Reported):
        decoder.end()


def _is_told(error: HotseatError, found: Reported) -> bool:
    assert found.is_overflow == isinstance(error, ContextLengthExceeded)
    assert (found.n_tokens, found.n_ctx) == (error.n_tokens, error.n_ctx)
    if error.retry_after_s is not None:
        assert found.retry_after_s == error.retry_after_s
    return found.is_overflow or error.message in found.message

"""The client's half of OpenAI's Responses: requests to bodies, answers to ChatEvents. Pure.

For OpenAI itself, for the providers and servers that speak like it, and for another Hotseat. What is
sent: responses_request.py. Shapes of what comes back, and its errors: responses_events.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from inference.chat import (
    ChatEvent,
    ChatRequest,
    Finish,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from proxy.event_feed import EventFeed, unended
from proxy.openai_chunks import Logprob, Logprobs, logprobs_of, timings_of
from proxy.responses_events import (
    EventBody,
    Item,
    Part,
    ResponseBody,
    UsageBody,
    error_event,
    event_of,
    reported,
    response_of,
    usage_of,
)
from proxy.responses_request import ResponsesTerms, responses_body
from proxy.signatures import signed_by
from proxy.sse_reader import MAX_EVENT_BYTES, SseEvent
from proxy.upstream_errors import BadAnswer, Reported, UpstreamError

PATH: Final = "/v1/responses"
MAX_ITEMS: Final = 4096
TERMS: Final = ResponsesTerms()

_BETWEEN_PARTS: Final = "\n\n"
"""Of a summary, which is a list of paragraphs."""

_json = msgspec.json.Encoder()


def encode_request(
    request: ChatRequest, model: str, terms: ResponsesTerms = TERMS, *, stream: bool = True
) -> bytes:
    """The body that asks for `request` under the name that the other side knows. Raises InvalidRequest naming
    what the dialect cannot carry."""
    return _json.encode(responses_body(request, model, terms, stream=stream))


# --- streamed answers --------------------------------------------------------------------------


class StreamDecoder:
    """The bytes of one streamed answer in, ChatEvents out: `feed` each piece, then `end`.

    The last event is Finish, once. Raises Reported for an error that the stream tells of, and BadAnswer
    for what is no answer; a stream that ends before its response does is one of these. What came in the
    same piece before an error is handed over first: look at `error` after each piece. What comes after
    the response is not looked at. `author`: see signatures.py.
    """

    def __init__(self, author: str = "", max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._feed = EventFeed(self._event, unended("a response.completed"), max_event_bytes)
        self._items = _Items(author)

    @property
    def is_done(self) -> bool:
        return self._feed.is_done

    @property
    def error(self) -> UpstreamError | None:
        return self._feed.error

    def feed(self, data: bytes) -> list[ChatEvent]:
        return self._feed.feed(data)

    def end(self) -> list[ChatEvent]:
        """The stream is over. Nothing new if the response ended in it."""
        return self._feed.end()

    def _event(self, event: SseEvent) -> list[ChatEvent]:
        if event.name == "error":
            raise error_event(event.data)
        if event.data == b"[DONE]":
            return []  # another dialect's, sent by gateways
        body = event_of(event.data)
        if (read := _READERS.get(body.type)) is not None:
            return read(self._items, body)
        match body.type:
            case "response.completed" | "response.incomplete" | "response.failed":
                status = body.type.removeprefix("response.")
                return _ending(body.response or ResponseBody(), status, self._items)
            case "error":
                raise error_event(event.data)
            case _:  # signs of life, pieces that come again whole, or what is new
                if body.error is not None:
                    raise reported(body.error)
                return []


def _ending(response: ResponseBody, status: str, items: _Items) -> list[ChatEvent]:
    """What the items of a finished response have not told yet, and the Finish. Raises Reported."""
    if status == "failed" or response.error is not None:
        raise reported(response.error)
    if status not in ("completed", "incomplete"):
        raise BadAnswer(f"expected a response that is completed or incomplete, found {status[:64]!r}")
    if status == "incomplete":
        details = response.incomplete_details
        said = (details.reason if details else None) or "no reason was given"
        if said != "max_output_tokens":
            raise Reported(f"the answer was ended as incomplete: {said[:64]}", code=said[:64])
    told = [event for place, item in enumerate(response.output or ()) for event in items.done(place, item)]
    reason: FinishReason = "length" if status == "incomplete" else items.reason
    usage = usage_of(response.usage or UsageBody())
    return [*told, Finish(reason=reason, usage=usage, timings=timings_of(response.timings))]


# --- items -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Told:
    """What of an item was told. `call`: which of the calls it is. `kind`: of reasoning, the form that came
    first; the other would say the same again."""

    call: int = -1
    has_pieces: bool = False
    is_done: bool = False
    kind: str = ""
    summary_index: int = 0


class _Items:
    """Output items to ChatEvents. Items whose kind is not known say nothing: none was asked for."""

    def __init__(self, author: str) -> None:
        self._author = author
        self._told: dict[int, _Told] = {}
        self._n_calls = 0

    @property
    def reason(self) -> FinishReason:
        return "tool_calls" if self._n_calls else "stop"

    def added(self, place: int, item: Item) -> list[ChatEvent]:
        told = self._at(place)
        if item.type != "function_call" or told.call >= 0:
            return []
        told.call = self._n_calls
        self._n_calls += 1
        return [ToolCallDelta(index=told.call, id=item.call_id or "", name=item.name or "")]

    def text(self, place: int, delta: str, logprobs: list[Logprob] | None) -> list[ChatEvent]:
        if not delta and not logprobs:
            return []
        self._at(place).has_pieces = True
        return [TextDelta(text=delta, logprobs=logprobs_of(Logprobs(content=logprobs)) if logprobs else ())]

    def reasoning(self, place: int, delta: str, kind: str, summary_index: int = 0) -> list[ChatEvent]:
        told = self._at(place)
        told.kind = told.kind or kind
        if told.kind != kind or not delta:
            return []
        is_next = told.has_pieces and summary_index != told.summary_index
        told.has_pieces, told.summary_index = True, summary_index
        return [ReasoningDelta(text=_BETWEEN_PARTS + delta if is_next else delta)]

    def arguments(self, place: int, delta: str) -> list[ChatEvent]:
        told = self._told.get(place)
        if told is None or told.call < 0:
            raise BadAnswer(f"the arguments of item {place} came, which is no call that has begun")
        if not delta:
            return []
        told.has_pieces = True
        return [ToolCallDelta(index=told.call, arguments=delta)]

    def done(self, place: int, item: Item) -> list[ChatEvent]:
        """All of it that was not told in pieces."""
        told = self._at(place)
        if told.is_done:
            return []
        told.is_done = True
        match item.type:
            case "function_call":
                begun = self.added(place, item)
                return begun if told.has_pieces else [*begun, *self.arguments(place, _arguments(item))]
            case "message" if not told.has_pieces:
                return [event for part in item.content or () for event in self._part(place, part)]
            case "reasoning":
                return self._reasoned(place, item, told)
            case _:
                return []

    def _part(self, place: int, part: Part) -> list[ChatEvent]:
        return self.text(place, part.text or part.refusal or "", part.logprobs)

    def _reasoned(self, place: int, item: Item, told: _Told) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        if not told.has_pieces:
            texts = "".join(_texts(item.content)) or _BETWEEN_PARTS.join(_texts(item.summary))
            events = self.reasoning(place, texts, told.kind or "text")
        if item.encrypted_content:
            signature = signed_by(self._author, item.encrypted_content)
            events.append(ReasoningDelta(text="", signature=signature))
        return events

    def _at(self, place: int) -> _Told:
        told = self._told.get(place)
        if told is None:
            if len(self._told) >= MAX_ITEMS:
                raise BadAnswer(f"the answer has more than {MAX_ITEMS} items")
            told = self._told[place] = _Told()
        return told


def _texts(parts: Iterable[Part] | None) -> Iterable[str]:
    return (part.text for part in parts or () if part.text)


def _arguments(item: Item) -> str:
    """Text, as it should be; some servers send the value."""
    if isinstance(item.arguments, str):
        return item.arguments or "{}"
    return "{}" if item.arguments is None else _json.encode(item.arguments).decode()


# --- events ------------------------------------------------------------------------------------

_Read = Callable[[_Items, EventBody], list[ChatEvent]]


def _delta(body: EventBody) -> str:
    if not isinstance(body.delta, str):
        raise BadAnswer(f"expected text as the delta of a {body.type[:64]}")
    return body.delta


def _item(body: EventBody) -> Item:
    if body.item is None:
        raise BadAnswer(f"a {body.type[:64]} came without an item")
    return body.item


_READERS: Final[dict[str, _Read]] = {
    "response.output_text.delta": lambda items, body: items.text(
        body.output_index, _delta(body), body.logprobs
    ),
    "response.refusal.delta": lambda items, body: items.text(body.output_index, _delta(body), None),
    "response.reasoning_text.delta": lambda items, body: items.reasoning(
        body.output_index, _delta(body), "text"
    ),
    "response.reasoning_summary_text.delta": lambda items, body: items.reasoning(
        body.output_index, _delta(body), "summary", body.summary_index
    ),
    "response.function_call_arguments.delta": lambda items, body: items.arguments(
        body.output_index, _delta(body)
    ),
    "response.output_item.added": lambda items, body: items.added(body.output_index, _item(body)),
    "response.output_item.done": lambda items, body: items.done(body.output_index, _item(body)),
}
"""Events that say something new."""


# --- whole answers -----------------------------------------------------------------------------


def decode_response(data: bytes, author: str = "") -> list[ChatEvent]:
    """An answer that was not streamed, as its events: the last one is Finish. Raises BadAnswer, and Reported
    for an error inside a good status."""
    response = response_of(data)
    return _ending(response, response.status or "", _Items(author))

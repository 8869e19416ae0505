"""Any answer and any conversation, for property tests of dialects: hypothesis strategies."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import strategies as st

from inference.chat import (
    ChatEvent,
    ChatRequest,
    Finish,
    FinishReason,
    ImagePart,
    JsonFormat,
    Message,
    Part,
    Reasoning,
    ReasoningDelta,
    Sampling,
    TextDelta,
    TextPart,
    Timings,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from proxy.openai_body import SEED_SPACE

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
SOME_TEXTS = TEXTS.map(lambda text: text + "x")
"""Not blank: Anthropic takes no text of blanks."""

NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
IDS = st.from_regex(r"call_[a-zA-Z0-9]{1,8}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=3)
ARGUMENTS = OBJECTS.map(lambda value: msgspec.json.encode(value).decode())


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    marks = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(marks)]


CUTS = st.lists(st.integers(0, 100_000), max_size=12)


# --- answers -----------------------------------------------------------------------------------


@st.composite
def finishes(draw: st.DrawFn, reasons: Sequence[FinishReason] = ("stop", "length", "tool_calls")) -> Finish:
    cached, written, computed = (draw(st.integers(0, 10**6)) for _ in range(3))
    made = draw(st.integers(0, 10**6))
    return Finish(
        reason=draw(st.sampled_from(reasons)),
        usage=Usage(
            input_tokens=cached + written + computed,
            cached_tokens=cached,
            cache_write_tokens=written,
            output_tokens=made,
            reasoning_tokens=draw(st.integers(0, made)),
        ),
        timings=Timings(
            prefill_tokens=computed,
            prefill_s=draw(st.integers(0, 10**6)) / 1000,
            decode_tokens=made,
            decode_s=draw(st.integers(0, 10**6)) / 1000,
        ),
    )


@st.composite
def answers(draw: st.DrawFn) -> list[ChatEvent]:
    """Reasoning, signed or not, and text in any order; calls one after the other. Without the Finish."""
    events: list[ChatEvent] = []
    n_calls = 0
    for kind in draw(st.lists(st.sampled_from(["reasoning", "signed", "text", "call"]), max_size=6)):
        pieces = draw(st.lists(TEXTS, min_size=1, max_size=3))
        match kind:
            case "reasoning":
                events += [ReasoningDelta(text=piece) for piece in pieces]
            case "signed":
                signature = draw(st.from_regex(r"[a-zA-Z0-9+/=]{1,20}", fullmatch=True))
                events += [*(ReasoningDelta(text=piece) for piece in pieces[1:])]
                events.append(ReasoningDelta(text=draw(st.sampled_from(["", "end"])), signature=signature))
            case "text":
                events += [TextDelta(text=piece) for piece in pieces]
            case _:
                arguments = draw(ARGUMENTS)
                begun = ToolCallDelta(index=n_calls, id=f"call_{n_calls}", name=draw(NAMES))
                middle = draw(st.integers(0, len(arguments)))
                halves = [arguments[:middle], arguments[middle:]]
                events += [begun, *(ToolCallDelta(index=n_calls, arguments=half) for half in halves if half)]
                n_calls += 1
    return events


@st.composite
def batches(draw: st.DrawFn, events: list[ChatEvent]) -> list[list[ChatEvent]]:
    """The events as an engine might hand them over."""
    left, made = list(events), []
    while left:
        size = draw(st.integers(1, len(left)))
        made.append(left[:size])
        left = left[size:]
    return made


@dataclass
class Said:
    """A piece of an answer, all deltas of it: what must be the same on both sides."""

    kind: str
    text: str = ""
    signature: str = ""
    id: str = ""
    name: str = ""


def said(events: Iterable[ChatEvent]) -> list[Said | Finish]:
    """The events without what may differ between dialects: how texts were cut into deltas."""
    pieces: list[Said | Finish] = []
    for event in events:
        last = pieces[-1] if pieces and isinstance(pieces[-1], Said) else None
        match event:
            case TextDelta():
                if event.text:
                    _add(pieces, last, "text", event.text)
            case ReasoningDelta():
                is_over = last is not None and last.signature != ""
                _add(pieces, None if is_over else last, "reasoning", event.text)
                assert isinstance(pieces[-1], Said)
                pieces[-1].signature = event.signature
            case ToolCallDelta():
                if event.id:
                    pieces.append(Said("call", event.arguments, id=event.id, name=event.name))
                else:
                    assert last is not None
                    assert last.kind == "call"
                    last.text += event.arguments
            case Finish():
                pieces.append(event)
    return pieces


def _add(pieces: list[Said | Finish], last: Said | None, kind: str, text: str) -> None:
    if last is not None and last.kind == kind:
        last.text += text
    else:
        pieces.append(Said(kind, text))


# --- requests ----------------------------------------------------------------------------------

IMAGES = st.builds(ImagePart, url=st.sampled_from(["https://x/y.png", "data:image/png;base64,AA=="]))
TEXT_PARTS = st.builds(TextPart, text=SOME_TEXTS)


def contents(parts: st.SearchStrategy[Part], least: int = 2) -> st.SearchStrategy[str | tuple[Part, ...]]:
    """A text, or several parts: one text alone as a part is told as a text by most dialects."""
    return SOME_TEXTS | st.lists(parts, min_size=least, max_size=3).map(tuple)


@dataclass(frozen=True)
class Carried:
    """What one dialect can carry exactly."""

    sampling: st.SearchStrategy[Sampling]
    reasoning: st.SearchStrategy[Reasoning | None]
    json_format: st.SearchStrategy[JsonFormat | None]
    max_tokens: st.SearchStrategy[int | None]
    parameters: st.SearchStrategy[dict[str, Any]]
    signatures: st.SearchStrategy[str]
    result_images: bool
    system_roles: tuple[str, ...] = ("system",)
    ignores_eos: bool = True


@st.composite
def conversations(draw: st.DrawFn, carried: Carried) -> tuple[Message, ...]:
    messages: list[Message] = []
    system = contents(TEXT_PARTS)
    if draw(st.booleans()):
        role: Any = draw(st.sampled_from(carried.system_roles))
        messages.append(Message(role=role, content=draw(system)))
    ids = (f"call_{n}" for n in itertools.count())
    for _ in range(draw(st.integers(0, 3))):
        messages.append(Message(role="user", content=draw(contents(TEXT_PARTS | IMAGES))))
        if draw(st.booleans()):
            messages.append(Message(role="system", content=draw(system)))
        messages += draw(_turns(carried, ids))
    messages.append(Message(role="user", content=draw(contents(TEXT_PARTS | IMAGES))))
    return tuple(messages)


@st.composite
def _turns(draw: st.DrawFn, carried: Carried, ids: Iterable[str]) -> list[Message]:
    """Of an assistant: what it says, and the results of what it calls."""
    calls = [
        ToolCall(id=id_, name=draw(NAMES), arguments=draw(ARGUMENTS))
        for id_, _ in zip(ids, range(draw(st.integers(0, 2))), strict=False)
    ]
    thought = draw(st.just("") | SOME_TEXTS)
    answer = Message(
        role="assistant",
        content=draw(SOME_TEXTS if not calls else st.just("") | SOME_TEXTS),
        reasoning=thought,
        reasoning_signature=draw(carried.signatures) if thought else "",
        tool_calls=tuple(calls),
    )
    results = contents(TEXT_PARTS | IMAGES if carried.result_images else TEXT_PARTS)
    return [
        answer,
        *(Message(role="tool", content=draw(results), tool_call_id=call.id) for call in calls),
    ]


@st.composite
def requests(draw: st.DrawFn, carried: Carried) -> ChatRequest:
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    tools = tuple(
        Tool(name=name, description=draw(st.just("") | TEXTS), parameters=draw(carried.parameters))
        for name in names
    )
    is_required = bool(tools) and draw(st.booleans())
    reasoning = draw(carried.reasoning)
    return ChatRequest(
        model="m",
        messages=draw(conversations(carried)),
        tools=tools,
        tool_choice="required" if is_required else "auto",
        forced_tool=draw(st.sampled_from(["", *names])) if is_required else "",
        parallel_tool_calls=not tools or draw(st.booleans()),
        json_format=draw(carried.json_format),
        sampling=draw(carried.sampling),
        max_tokens=draw(carried.max_tokens),
        stop=tuple(draw(st.lists(TEXTS, max_size=2))),
        ignore_eos=carried.ignores_eos and draw(st.booleans()),
        reasoning=reasoning,
    )


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


OPENAI_SAMPLING = st.builds(
    Sampling,
    temperature=maybe(st.floats(0, 2)),
    top_k=maybe(st.integers(0, 100)),
    top_p=maybe(st.floats(0, 1)),
    min_p=maybe(st.floats(0, 1)),
    repeat_penalty=maybe(st.floats(0.5, 2)),
    presence_penalty=maybe(st.floats(-2, 2)),
    frequency_penalty=maybe(st.floats(-2, 2)),
    repeat_last_n=maybe(st.integers(0, 64)),
    dry_multiplier=maybe(st.floats(0, 2)),
    dry_base=maybe(st.floats(1, 2)),
    dry_allowed_length=maybe(st.integers(0, 64)),
    dry_penalty_last_n=maybe(st.integers(-1, 64)),
    seed=maybe(st.integers(0, SEED_SPACE - 1)),
    logit_bias=st.dictionaries(st.integers(0, 1000), st.floats(-100, 100), max_size=2).map(
        lambda biases: tuple(biases.items())
    ),
    logprobs=maybe(st.integers(0, 20)),
)

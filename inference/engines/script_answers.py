"""What a script answers to a request: which turn matches, what it says, in which events. Pure.

How tokens are counted, so that every usage figure can be predicted: a token is up to eight word
characters with at most one space before them, or up to eight blanks, or any other single
character. A conversation is counted block by block as `prompt_blocks` lays it out, an answer
channel by channel: reasoning, text, and for each call its name and its arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import takewhile
from typing import Any

import msgspec

from inference.chat import (
    ChatEvent,
    CompletionRequest,
    FinishReason,
    GenerateRequest,
    ImagePart,
    Message,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
)
from inference.engines.script import PLACEHOLDER, Match, Pace, Script, ScriptedCall, Turn
from inference.errors import InvalidRequest
from inference.text_stream import StopScanner

ECHO_CHARS = 200
MAX_TOKEN_ID = 10_000_000

_TOKEN = re.compile(r" ?\w{1,8}|\s{1,8}|[^\w\s]")


# --- the request, as a script sees it ------------------------------------------------------------


def tokens(text: str) -> list[str]:
    """The token pieces of a text; joined they are the text again."""
    return _TOKEN.findall(text)


def content_text(message: Message) -> str:
    """A message's text. Raises InvalidRequest for an image: a script cannot see."""
    if isinstance(message.content, str):
        return message.content
    texts: list[str] = []
    for part in message.content:
        if isinstance(part, ImagePart):
            raise InvalidRequest("this model cannot see images: send text content only", param="messages")
        texts.append(part.text)
    return "".join(texts)


def prompt_blocks(request: GenerateRequest) -> tuple[str, ...]:
    """The prompt as laid out for counting: a block for each tool and each message, then `assistant`."""
    if isinstance(request, CompletionRequest):
        return (token_text(request.prompt, param="prompt"),)
    blocks = [
        json.dumps([tool.name, tool.description, tool.parameters], ensure_ascii=False) + "\n"
        for tool in request.tools
    ]
    for message in request.messages:
        calls = "".join(f"{call.name}{call.arguments}\n" for call in message.tool_calls)
        blocks.append(f"{message.role}\n{message.reasoning}{content_text(message)}\n{calls}")
    blocks.append("assistant\n")
    return tuple(blocks)


def token_text(text: str | tuple[int, ...], *, param: str) -> str:
    """Token ids stand for themselves: each is written as its decimal number and counts as one token."""
    if isinstance(text, str):
        return text
    for token in text:
        if not 0 <= token < MAX_TOKEN_ID:
            raise InvalidRequest(f"token id {token} is not in this model's vocabulary", param=param)
    return " ".join(str(token) for token in text)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt's blocks and the number of tokens in each."""

    blocks: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    n_tokens: int = 0


NO_PROMPT = Prompt()


def prompt(request: GenerateRequest) -> Prompt:
    blocks = prompt_blocks(request)
    counts = tuple(len(tokens(block)) for block in blocks)
    return Prompt(blocks, counts, sum(counts))


def common_tokens(old: Prompt, new: Prompt) -> int:
    """How many tokens two prompts share at their beginning."""
    shared = 0
    for old_block, new_block, count in zip(old.blocks, new.blocks, new.counts, strict=False):
        if old_block != new_block:
            pairs = zip(_TOKEN.finditer(old_block), _TOKEN.finditer(new_block), strict=False)
            return shared + sum(1 for _ in takewhile(lambda pair: pair[0][0] == pair[1][0], pairs))
        shared += count
    return shared


@dataclass(frozen=True, slots=True)
class Scene:
    """What turns are matched against."""

    texts: tuple[str, ...]
    user: str
    system: str
    last_role: str
    tool_results: str
    after_tools: frozenset[str]
    offered: frozenset[str]
    step: int


def scene(request: GenerateRequest) -> Scene:
    if isinstance(request, CompletionRequest):
        prompt = token_text(request.prompt, param="prompt")
        return Scene((prompt,), prompt, "", "user", "", frozenset(), frozenset(), 1)
    messages = request.messages
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    # Harnesses put reminders behind tool results, as messages of the user or the system.
    newest = takewhile(lambda message: message.role != "assistant", reversed(messages))
    results = [message for message in newest if message.role == "tool"]
    return Scene(
        texts=tuple(content_text(message) for message in messages),
        user=next((content_text(message) for message in reversed(messages) if message.role == "user"), ""),
        system="\n".join(
            content_text(message) for message in messages if message.role in ("system", "developer")
        ),
        last_role=messages[-1].role if messages else "",
        tool_results="\n".join(content_text(message) for message in reversed(results)),
        after_tools=frozenset(names.get(message.tool_call_id, message.name) for message in results),
        offered=frozenset(tool.name for tool in request.tools),
        step=1 + sum(message.role == "assistant" for message in messages),
    )


# --- matching ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidate:
    """A turn whose conditions on the request itself hold, with what its expressions captured."""

    number: int
    captures: Mapping[str, str]


def candidates(script: Script, seen: Scene) -> tuple[Candidate, ...]:
    """In order, up to the first turn that no count since load (`times`, `match.request`) can rule out."""
    found: list[Candidate] = []
    for number, turn in enumerate(script.turn):
        captures = _captures(turn.match, seen)
        if captures is None:
            continue
        found.append(Candidate(number, captures))
        if turn.times is None and turn.match.request is None:
            break
    return tuple(found)


def _captures(match: Match, seen: Scene) -> dict[str, str] | None:
    holds = (
        (match.contains is None or any(match.contains in text for text in seen.texts))
        and (match.user_contains is None or match.user_contains in seen.user)
        and (match.system_contains is None or match.system_contains in seen.system)
        and (match.tool_result_contains is None or match.tool_result_contains in seen.tool_results)
        and (match.after_tool is None or match.after_tool in seen.after_tools)
        and (match.last_role is None or match.last_role == seen.last_role)
        and (match.step is None or match.step == seen.step)
        and seen.offered.issuperset(match.offers)
        and seen.offered.isdisjoint(match.lacks)
    )
    if not holds:
        return None
    captures: dict[str, str] = {}
    for pattern, text in (
        (match.user_matches, seen.user),
        (match.system_matches, seen.system),
        (match.tool_result_matches, seen.tool_results),
    ):
        if pattern is None:
            continue
        found = re.search(pattern, text, re.DOTALL)
        if found is None:
            return None
        captures |= found.groupdict("")
    return captures


# --- answers -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What a turn says, with every placeholder filled in. `calls` are (name, arguments as text)."""

    reasoning: str
    text: str
    calls: tuple[tuple[str, str], ...] = ()


def answer(turn: Turn, captures: Mapping[str, str]) -> Answer:
    return Answer(
        _filled(turn.reasoning, captures),
        _filled(turn.text, captures) * turn.repeat,
        tuple((call.name, _arguments(call, captures)) for call in turn.tool_calls),
    )


def echo(request: GenerateRequest) -> Answer:
    return Answer("", f"You said: {scene(request).user[:ECHO_CHARS]}")


def pace(defaults: Pace, turn: Turn) -> Pace:
    own = {name: value for name in Pace.__struct_fields__ if (value := getattr(turn, name)) is not None}
    return msgspec.structs.replace(defaults, **own)


def _arguments(call: ScriptedCall, captures: Mapping[str, str]) -> str:
    if call.arguments_text is not None:
        return _filled(call.arguments_text, captures)
    return json.dumps(_filled_deep(call.arguments, captures), ensure_ascii=False)


def _filled(text: str, captures: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: captures[found[1]], text) if captures else text


def _filled_deep(value: Any, captures: Mapping[str, str]) -> Any:
    match value:
        case str():
            return _filled(value, captures)
        case dict():
            return {key: _filled_deep(item, captures) for key, item in value.items()}
        case list():
            return [_filled_deep(item, captures) for item in value]
        case _:
            return value


# --- events --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """What of the request decides where an answer ends. `room`: the smaller of max_tokens and n_ctx left."""

    room: int
    stop: tuple[str, ...] = ()
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer cut into events, without its Finish."""

    events: tuple[ChatEvent, ...]
    reason: FinishReason
    output_tokens: int
    reasoning_tokens: int
    stop_sequence: str = ""


def plan(asked: Prompt, said: Answer, chunk_tokens: int, limits: Limits) -> Plan:
    """Stop strings are looked for in the text alone, the channel that a client sees as the answer."""
    all_reasoning, all_text = tokens(said.reasoning), tokens(said.text)
    reasoning = all_reasoning[: limits.room]
    events: list[ChatEvent] = [
        ReasoningDelta(text="".join(chunk)) for chunk in _chunks(reasoning, chunk_tokens)
    ]
    room = limits.room - len(reasoning)

    text = _until_stop(all_text[:room], limits.stop)
    events += [_text_delta(chunk, limits.logprobs) for chunk in _chunks(text.shown, chunk_tokens)]
    room -= text.used
    if text.stopped is not None:
        return Plan(tuple(events), "stop", limits.room - room, len(reasoning), text.stopped)

    wanted = len(all_reasoning) + len(all_text)
    for index, (name, arguments) in enumerate(said.calls):
        head, pieces = len(tokens(name)), tokens(arguments)
        wanted += head + len(pieces)
        if wanted - len(pieces) > limits.room:
            break  # not even the name of this call fits
        kept = pieces[: room - head]
        room -= head + len(kept)
        events.append(ToolCallDelta(index=index, id=_call_id(asked, index), name=name))
        events += [
            ToolCallDelta(index=index, arguments="".join(chunk)) for chunk in _chunks(kept, chunk_tokens)
        ]

    if wanted > limits.room:
        return Plan(tuple(events), "length", limits.room, len(reasoning))
    return Plan(tuple(events), "tool_calls" if said.calls else "stop", wanted, len(reasoning))


@dataclass(frozen=True, slots=True)
class _Text:
    """`used` tokens were generated, of which those before a stop string are shown."""

    shown: list[str]
    used: int
    stopped: str | None = None


def _until_stop(pieces: list[str], stop: tuple[str, ...]) -> _Text:
    scanner = StopScanner(stop)
    shown: list[str] = []
    for used, piece in enumerate(pieces, start=1):
        if visible := scanner.push(piece):
            shown.append(visible)
        if scanner.stopped is not None:
            return _Text(shown, used, scanner.stopped)
    if held := scanner.finish():
        shown.append(held)
    return _Text(shown, len(pieces))


def _chunks(pieces: Sequence[str], size: int) -> list[Sequence[str]]:
    return [pieces[start : start + size] for start in range(0, len(pieces), size)]


def _text_delta(pieces: Sequence[str], logprobs: int | None) -> TextDelta:
    """The script is certain of its tokens: each has log probability 0, and itself as alternative."""
    text = "".join(pieces)
    if logprobs is None:
        return TextDelta(text=text)
    return TextDelta(
        text=text,
        logprobs=tuple(
            TokenLogprob(
                token=piece,
                bytes_=piece.encode("utf-8", "replace"),
                logprob=0.0,
                top=((piece, piece.encode("utf-8", "replace"), 0.0),) if logprobs else (),
            )
            for piece in pieces
        ),
    )


def _call_id(prompt: Prompt, index: int) -> str:
    """The same conversation gets the same ids, its next step others."""
    digest = blake2b(str(index).encode(), digest_size=12)
    for block in prompt.blocks:
        digest.update(block.encode("utf-8", "surrogatepass"))
    return f"call_{digest.hexdigest()}"

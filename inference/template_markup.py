"""Template markup typed by people: told apart from the template's own before the prompt is tokenised.

A tokenizer that is asked for special tokens finds them anywhere, so a user who writes `<|im_end|>`
would end their own message. Where the text of a request spells such a token, one character of each
spelling is replaced by a run of digits before the template is rendered; the fragments of the prompt
that hold such runs are then tokenised as plain text, with the character put back.

Tokenizers cut a text at special tokens first and treat what lies between on its own. Fragments are cut
at just those places, so everything else gets the tokens that it would get anyway. One character is
replaced, not the whole text: the template still sees what was written, trims it and writes it as JSON.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from inference.chat import ChatRequest, Message, TextPart, Tool, ToolCall

_PREFIX_BYTES: Final = 9  # 72 bits
_PREFIX_DIGITS: Final = 24  # octal
_CODE_DIGITS: Final = 7  # octal, of the largest code point
_SAFE = re.compile(r"[A-Za-z0-9]")

Change = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class SpecialToken:
    """How a special token is spelled, and whether it takes the whitespace before or after it along."""

    text: str
    strips_before: bool = False
    strips_after: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the prompt; in a `plain` one nothing is a special token, whatever it spells."""

    text: str
    plain: bool


def spelled_in(request: ChatRequest, texts: Iterable[str]) -> frozenset[str]:
    """Those of `texts` that occur in what the request says. Cheap, as it is asked of every request."""
    said = msgspec.msgpack.encode((request.messages, request.tools, request.template_kwargs))
    # Templates see arguments decoded, and then `\\u003c` or `\\/` may be a part of a spelling.
    decoded = [
        "\0".join(_strings(_loaded(call.arguments)))
        for message in request.messages
        for call in message.tool_calls
        if "\\" in call.arguments
    ]
    return frozenset(
        text
        for text in texts
        if text.encode("utf-8", "surrogatepass") in said or any(text in part for part in decoded)
    )


class Escapes:
    """Of one request. Digits are used because templates leave them alone: they survive trimming, JSON with
    ASCII escapes and changes of case. A run begins with the only 8 in it and ends with the only 9, so it is
    found again between any other digits."""

    def __init__(self, request: ChatRequest, spellings: Iterable[str]) -> None:
        self._prefix = _unused_prefix(request)
        run = f"{self._prefix}([0-7]{{{_CODE_DIGITS}}})9"
        self._run = re.compile(run)
        by_length = sorted(spellings, key=len, reverse=True)
        self._run_or_spelling = re.compile("|".join([run, *map(re.escape, by_length)]))

    def escaped(self, request: ChatRequest) -> ChatRequest:
        return _changed(request, self._escape)

    def restored(self, text: str) -> str:
        return self._run.sub(lambda run: chr(int(run[1], 8)), text)

    def _escape(self, text: str) -> str:
        while True:  # what is left of one spelling may be a part of another
            broken = self._run_or_spelling.sub(self._broken, text)
            if broken == text:
                return text
            text = broken

    def _broken(self, found: re.Match[str]) -> str:
        spelling = found[0]
        if found[1] is not None:  # a run: it spells nothing, even where a token is called `7`
            return spelling
        safe = _SAFE.search(spelling)  # a letter needs no escape, wherever the template puts it
        place = safe.start() if safe else 0
        run = f"{self._prefix}{ord(spelling[place]):0{_CODE_DIGITS}o}9"
        return spelling[:place] + run + spelling[place + 1 :]

    def pieces(self, rendered: str, special: Sequence[SpecialToken]) -> list[Piece]:
        """The rendered prompt in order. `special`: all special tokens that it spells."""
        pieces: list[Piece] = []
        rest = 0  # where the text begins that is in no piece yet
        for start, end, before, after in _fragments(rendered, special):
            if self._run.search(rendered, start, end):
                plain = self.restored(rendered[start:end])
                plain = plain.lstrip() if before is not None and before.strips_after else plain
                plain = plain.rstrip() if after is not None and after.strips_before else plain
                pieces += [Piece(rendered[rest:start], plain=False), Piece(plain, plain=True)]
                rest = end
        pieces.append(Piece(rendered[rest:], plain=False))
        return [piece for piece in pieces if piece.text]


def _fragments(
    text: str, special: Sequence[SpecialToken]
) -> Iterator[tuple[int, int, SpecialToken | None, SpecialToken | None]]:
    """What lies between special tokens: its start, its end, and the tokens around it."""
    known = {token.text: token for token in special}
    before, start = None, 0
    if known:
        for found in re.finditer("|".join(map(re.escape, sorted(known, key=len, reverse=True))), text):
            yield start, found.start(), before, known[found[0]]
            before, start = known[found[0]], found.end()
    yield start, len(text), before, None


def _unused_prefix(request: ChatRequest) -> str:
    """Made from what the request says, so that nobody can say it; the same for the same request."""
    said = msgspec.msgpack.encode((request.messages, request.tools, request.template_kwargs))
    number = int.from_bytes(hashlib.sha256(said).digest()[:_PREFIX_BYTES], "big")
    return f"8{number:0{_PREFIX_DIGITS}o}"


# --- every text of a request ---------------------------------------------------------------------


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, item in value.items():
                yield key
                yield from _strings(item)
        case list():
            for item in value:
                yield from _strings(item)


def _loaded(text: str) -> Any:
    """JSON decoded; if it is none, the text itself, which is what the template will see."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _changed(request: ChatRequest, change: Change) -> ChatRequest:
    return msgspec.structs.replace(
        request,
        messages=tuple(_changed_message(message, change) for message in request.messages),
        tools=tuple(_changed_tool(tool, change) for tool in request.tools),
        template_kwargs=_changed_value(request.template_kwargs, change),
    )


def _changed_message(message: Message, change: Change) -> Message:
    content = message.content
    return msgspec.structs.replace(
        message,
        content=change(content)
        if isinstance(content, str)
        else tuple(
            TextPart(text=change(part.text)) if isinstance(part, TextPart) else part for part in content
        ),
        reasoning=change(message.reasoning),
        tool_calls=tuple(_changed_call(call, change) for call in message.tool_calls),
        name=change(message.name),
        tool_call_id=change(message.tool_call_id),
    )


def _changed_call(call: ToolCall, change: Change) -> ToolCall:
    return msgspec.structs.replace(
        call, id=change(call.id), name=change(call.name), arguments=_changed_json(call.arguments, change)
    )


def _changed_json(text: str, change: Change) -> str:
    """As the template will see it, which is decoded: `\\u003c` may begin a spelling too."""
    if "\\" not in text:
        return change(text)
    decoded = _loaded(text)
    changed = _changed_value(decoded, change)
    if changed == decoded:
        return text
    return changed if isinstance(decoded, str) else json.dumps(changed, ensure_ascii=False)


def _changed_tool(tool: Tool, change: Change) -> Tool:
    return Tool(
        name=change(tool.name),
        description=change(tool.description),
        parameters=_changed_value(tool.parameters, change),
    )


def _changed_value(value: Any, change: Change) -> Any:
    match value:
        case str():
            return change(value)
        case dict():
            return {_changed_value(key, change): _changed_value(item, change) for key, item in value.items()}
        case list() | tuple():
            return [_changed_value(item, change) for item in value]
        case _:
            return value

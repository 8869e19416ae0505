"""What clients write into messages that changes with every request and says nothing to a local model.

Such a nonce near the beginning of a prompt makes everything behind it be computed again. With
`stabilise_prefix` of a model the two known ones are removed before the chat template. Pure, and
exact: a text that holds neither in its known shape comes out as it went in.

- Claude Code's billing header, a line of the system prompt:
  `x-anthropic-billing-header: cc_version=2.1.100.7b4; cc_entrypoint=cli; cch=eb6c6;`
- the tokens-left reminder, alone on its lines: `<total_tokens>14992750 tokens left</total_tokens>`,
  `<system_warning>Token usage: 35000/200000; 165000 remaining</system_warning>`, and both of these,
  without the inner tags for the second, inside `<system-reminder>`.

System messages are read in whole. User and tool messages lose a reminder only at their end, where
clients append it: in the middle of one it is a file that somebody reads. Answers are left alone.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import msgspec

from inference.chat import Message, Part, TextPart

BILLING_HEADER = "billing header nonce"
TOKENS_LEFT = "tokens-left reminder"

_MARKERS = ("x-anthropic-billing-header:", "tokens left</total_tokens>", "Token usage:")
_HEADER = re.compile(r"(?:x-anthropic-billing-header:(?:[ \t]*[a-z_]{1,64}=[^;\s]{0,256};)+[ \t]*)+")
_COUNT = r"-?[\d,]{1,20}"
_USAGE = rf"Token usage: {_COUNT}/{_COUNT}; {_COUNT} remaining"
_TOTAL = rf"<total_tokens>(?:{_COUNT}|Infinite) tokens left</total_tokens>"
_OPEN, _CLOSE = "<system-reminder>", "</system-reminder>"
_LINE = re.compile(
    rf"{_TOTAL}|<system_warning>{_USAGE}</system_warning>|{_OPEN}(?:{_TOTAL}|{_USAGE}){_CLOSE}"
)
_INNER = re.compile(rf"{_TOTAL}|{_USAGE}")

_TAIL_CHARS = 400
"""A reminder at the end of a text begins no further from its end, but for white space."""


@dataclass(frozen=True, slots=True)
class Stabilised:
    """`removed`: how often what was taken out, by name."""

    messages: tuple[Message, ...]
    removed: dict[str, int]


def stabilise(messages: tuple[Message, ...]) -> Stabilised:
    """The messages without the known nonces. A system message that held nothing else goes with them."""
    removed: Counter[str] = Counter()
    kept = [after for message in messages if (after := _message(message, removed)) is not None]
    if not removed or not kept:
        return Stabilised(messages, {})
    return Stabilised(tuple(kept), dict(removed))


def _message(message: Message, removed: Counter[str]) -> Message | None:
    if message.role == "assistant":
        return message
    is_system = message.role in ("system", "developer")
    before = removed.total()
    content: str | tuple[Part, ...]
    if isinstance(message.content, str):
        content = _text(message.content, is_system, removed)
    else:
        content = tuple(p for part in message.content if (p := _part(part, is_system, removed)) is not None)
    if removed.total() == before:
        return message
    if is_system and not content:
        return None
    return msgspec.structs.replace(message, content=content)


def _part(part: Part, is_system: bool, removed: Counter[str]) -> Part | None:
    if not isinstance(part, TextPart):
        return part
    text = _text(part.text, is_system, removed)
    if text == part.text:
        return part
    return TextPart(text=text) if text else None


def _text(text: str, is_system: bool, removed: Counter[str]) -> str:
    where = text if is_system else text.rstrip()[-_TAIL_CHARS:]
    if not any(marker in where for marker in _MARKERS):
        return text
    return _without_lines(text, removed) if is_system else _without_tail(text, removed)


def _without_lines(text: str, removed: Counter[str]) -> str:
    """One pass with a stack, so that what removal brings together is seen too: the result is final."""
    before = removed.total()
    kept: list[str] = []
    emptied: list[bool] = []  # by line of `kept`: something was removed right behind it
    for line in text.split("\n"):
        rest = line
        if header := _HEADER.match(line):
            removed[BILLING_HEADER] += 1
            rest = line[header.end() :]
            if not rest.strip():
                continue
        if rest.strip() == _CLOSE and kept and kept[-1].strip() == _OPEN and emptied[-1]:
            del kept[-1], emptied[-1]
            continue
        kept.append(rest)
        emptied.append(False)
        if size := _reminder_lines(kept):
            removed[TOKENS_LEFT] += 1
            del kept[-size:], emptied[-size:]
            if kept:
                emptied[-1] = True
    return "\n".join(kept) if removed.total() > before else text


def _without_tail(text: str, removed: Counter[str]) -> str:
    kept = text.split("\n")
    end: int | None = None
    while True:
        while kept and not kept[-1].strip():
            kept.pop()
        size = _reminder_lines(kept)
        if not size:
            return text if end is None else "\n".join(kept)
        removed[TOKENS_LEFT] += 1
        del kept[-size:]
        end = len(kept)


def _reminder_lines(lines: list[str]) -> int:
    """How many lines at the end of `lines` are one whole reminder: 3, 1 or 0."""
    if not lines:
        return 0
    last = lines[-1].strip()
    if last == _CLOSE:
        is_one = len(lines) >= 3 and lines[-3].strip() == _OPEN and _INNER.fullmatch(lines[-2].strip())
        return 3 if is_one else 0
    return 1 if _LINE.fullmatch(last) else 0

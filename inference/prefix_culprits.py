"""What a difference between a prompt and a cached one is called: rules on the text around it.

Pure. A rule says yes only to what it can see; a difference that no rule knows is "unknown".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from inference.messages import Side
from inference.prefix_stability import BILLING_HEADER, TOKENS_LEFT

SIGHT_CHARS = 48
"""How far from the first character that differs a pattern is looked for."""

MIN_SHARED_TOKENS = 32
"""Two prompts with less in common than this share markup, not a session."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first token that differs, and its surroundings as text.

    `role` is that of the message in which it lies, "" if the template does not tell; `is_opening`:
    no answer comes before it. `goes_on`: what follows in the cache comes again in the prompt.
    `is_swapped`: each side's continuation comes later on the other.
    """

    before: str
    in_prompt: str
    in_cache: str
    index: int = 1000
    role: str = ""
    is_opening: bool = False
    goes_on: bool = False
    is_swapped: bool = False


@dataclass(frozen=True, slots=True)
class Sides:
    """Prompt's and cache's text, and where they part: tokens may differ a few characters earlier."""

    ours: str
    theirs: str
    at: int


Applies = Callable[[Difference, Sides], bool]


def _on_both_sides(pattern: str) -> Applies:
    """What `pattern` finds in each text covers the first character that differs."""
    compiled = re.compile(pattern)
    return lambda _, sides: (
        _covers(compiled, sides.ours, sides.at) and _covers(compiled, sides.theirs, sides.at)
    )


def _on_either_side(pattern: str) -> Applies:
    """The same for one of them: what is found needs no counterpart to be to blame."""
    compiled = re.compile(pattern)
    return lambda _, sides: (
        _covers(compiled, sides.ours, sides.at) or _covers(compiled, sides.theirs, sides.at)
    )


def _sides(difference: Difference) -> Sides:
    ours, theirs = difference.before + difference.in_prompt, difference.before + difference.in_cache
    at = len(difference.before)
    while at < min(len(ours), len(theirs)) and ours[at] == theirs[at]:
        at += 1
    return Sides(ours, theirs, at)


def _covers(pattern: re.Pattern[str], text: str, at: int) -> bool:
    for found in pattern.finditer(text, max(0, at - SIGHT_CHARS), at + SIGHT_CHARS):
        if found.end() > at:
            return found.start() <= at
    return False


_BILLING = r"x-anthropic-billing-header:[^\n]*|\bcch=[0-9a-f]+|\bcc_version=[\w.]+"

_ROLE_HEADER = r"(?:(?:system|developer|user)[^\w<]*(?:<\|?\w{1,24}\|?>\s*)?)?"
_TOKENS_LEFT = (
    rf"{_ROLE_HEADER}(?:<system-reminder>\s*)?<total_tokens>[\w,-]+|\b[\d,]+ tokens left\b"
    rf"|{_ROLE_HEADER}(?:<(?:system-reminder|system_warning)>\s*)?Token usage: -?[\d,]+(?:/-?[\d,]+)?"
    r"(?:; -?[\d,]+ remaining)?"
)

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?"
_WEEKDAY = r"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_CLOCK = r"(?:[01]?\d|2[0-3]):[0-5]\d:[0-5]\d(?:[.,]\d{1,9})?"
_DATE = (
    rf"(?<![\w.-])\d{{4}}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{{1,9}})?)?(?:Z|\s?[+-]\d\d:?\d\d)?)?"
    rf"|(?<![\w.:]){_CLOCK}(?![\w:])|(?<![\w.:])(?:0?\d|1[0-2]):[0-5]\d\s?[AaPp]\.?[Mm]\b"
    r"|(?<![\w./])(?:\d{1,2}/\d{1,2}/\d{4}|\d{4}/\d\d/\d\d)(?![\w/])"
    rf"|\b(?:{_WEEKDAY},?\s+)?(?:\d{{1,2}}(?:st|nd|rd|th)?\s+{_MONTH}(?:,?\s+\d{{4}})?\b"
    rf"|{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?\b(?:,?\s+\d{{4}})?(?:\s+{_CLOCK})?)"
    r"|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"
    r"|(?i:time|timestamp|date|epoch|now)\W{1,4}1\d{9}(?:\d{3})?(?:\.\d{1,9})?\b"
)

_TOOL = re.compile(r'"(?:function|parameters|description|input_schema|inputSchema)"|"name":|<tool\b')


def _is_reordered_tools(difference: Difference, sides: Sides) -> bool:
    return difference.is_swapped and all(_TOOL.search(text) for text in (sides.ours, sides.theirs))


_REASONING = r"<think(?:ing)?>|<\|channel\|?>\s*(?:analysis|thought)|\[THINK\]|<seed:think>|<reasoning>"
_REASONING_BEGINS = re.compile(rf"\s{{0,4}}(?:{_REASONING})")
_REASONING_OPEN = re.compile(rf"(?:{_REASONING})\s{{0,4}}$")
_REASONING_ENDS = re.compile(r"\s*(?:</think(?:ing)?>|\[/THINK\]|</seed:think>|</reasoning>)")


def _is_dropped_reasoning(difference: Difference, sides: Sides) -> bool:
    """The answer in the cache begins with reasoning; the prompt has the answer without it, or empty."""
    for found in _REASONING_BEGINS.finditer(sides.theirs):
        if found.start() <= sides.at < found.end():
            return _REASONING_BEGINS.match(sides.ours, found.start()) is None
    is_open = _REASONING_OPEN.search(difference.before) is not None
    begins_empty = _REASONING_ENDS.match(difference.in_prompt) is not None
    return is_open and begins_empty and _REASONING_ENDS.match(difference.in_cache) is None


def _is_other_tokens(difference: Difference, sides: Sides) -> bool:
    """An answer was generated in other tokens than its text is read in."""
    return sides.at == min(len(sides.ours), len(sides.theirs)) > len(difference.before)


def _is_other_system_prompt(difference: Difference, _: Sides) -> bool:
    is_system = difference.role in ("system", "developer")
    return is_system and difference.is_opening and difference.goes_on


def _is_other_session(difference: Difference, _: Sides) -> bool:
    """Nothing in common but the beginning: too little for a session, or no more than a system prompt."""
    is_early = difference.index < MIN_SHARED_TOKENS or (difference.role != "" and difference.is_opening)
    return is_early and not difference.goes_on


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    applies: Applies
    remedy: str = ""
    side: Side = "client"


RULES = (
    Rule(
        BILLING_HEADER,
        _on_both_sides(_BILLING),
        "stabilise_prefix = true in models.toml, or CLAUDE_CODE_ATTRIBUTION_HEADER=0 for Claude Code",
    ),
    Rule(TOKENS_LEFT, _on_either_side(_TOKENS_LEFT), "stabilise_prefix = true in models.toml"),
    Rule(
        "timestamp or date",
        _on_both_sides(_DATE),
        "have the client put the time at the end of its prompt, or leave it out",
    ),
    Rule(
        "reordered tools", _is_reordered_tools, "have the client send its tools in the same order every time"
    ),
    Rule(
        "dropped reasoning",
        _is_dropped_reasoning,
        "have the client send reasoning_content back; or the template drops it from earlier turns",
    ),
    Rule("other tokens for the same text", _is_other_tokens, side="engine"),
    Rule("changed system prompt", _is_other_system_prompt, "look at the window: what changes in it?"),
    Rule(
        "other session",
        _is_other_session,
        "none needed; with more slots or kv_ram more sessions stay at hand",
    ),
)
UNKNOWN = Rule(
    "unknown", lambda _difference, _sides: True, "look at the window: what does the client change there?"
)


def name_of(difference: Difference) -> Rule:
    """The first rule that knows it, or UNKNOWN."""
    sides = _sides(difference)
    return next((rule for rule in RULES if rule.applies(difference, sides)), UNKNOWN)

"""Why a prompt was computed again: what lay nearest to it in the caches, and where the two part ways.

Pure. Tokens, a decoding function and the decision of batching.place go in, a PrefixReport comes
out. What a difference is called is decided by RULES on a few tokens of text around it; a rule says
yes only to what it can see there, and a difference that no rule knows is "unknown".

    match = compare(prompt, placement, views, decode, is_control)    before the slot changes
    report = explain(match, reused_tokens)                           when it holds the prefix
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from inference.batching import Placement, SlotView, TokenArray, reusable_prefix
from inference.messages import PrefixCause, PrefixReport, PrefixSource, Side
from inference.prefix_stability import BILLING_HEADER, TOKENS_LEFT

WINDOW_BEFORE = 24
WINDOW_AFTER = 32
MAX_WINDOW_CHARS = 400
"""A token may be a long run of blanks."""

SIGHT_CHARS = 48
"""How far from the first character that differs a pattern is looked for."""

MIN_SHARED_TOKENS = 32
"""Two prompts with less in common than this share markup, not a session."""

HEADER_TOKENS = 12
"""A role's name stands within so many tokens of the markup that begins a message."""

MAX_OPENING_MARKUP = 9
"""Control tokens up to the first user message, in the most talkative of the known templates."""

ECHO_TOKENS = 20
ECHO_OFFSETS = (20, 64, 256, 1024)
ECHO_REACH = 8192
"""Whether both sides go on alike after a difference is looked for at these distances, this far."""

Decode = Callable[[TokenArray], str]
IsControl = Callable[[TokenArray], npt.NDArray[np.bool_]]


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
class Match:
    """A prompt against what lay nearest to it. `n_cached` 0: nothing was cached.

    `source` and `promised`: from where placement wants to reuse how many tokens, in which `slot`.
    """

    n_prompt: int
    slot: int
    source: PrefixSource
    promised: int
    n_cached: int = 0
    prefix: int = 0
    reusable: int = 0
    difference: Difference | None = None


def compare(
    prompt: TokenArray,
    placement: Placement,
    views: Sequence[SlotView],
    decode: Decode,
    is_control: IsControl,
) -> Match:
    """Call before the slot is changed: views are of its tokens as they are now."""
    by_index = {view.index: view for view in views}
    tier = by_index[placement.source].tier
    is_copy = tier == "slot" and placement.copy_from is not None
    decided = Match(len(prompt), placement.index, "copy" if is_copy else tier, placement.reuse)
    if placement.nearest is None:
        return decided
    nearest, prefix = by_index[placement.nearest], placement.prefix
    cached = nearest.cached
    difference = None
    if prefix < min(len(prompt), len(cached)):
        difference = _difference(prompt, cached, prefix, decode, is_control)
    return replace(
        decided,
        n_cached=len(cached),
        prefix=prefix,
        reusable=reusable_prefix(prefix, len(prompt), nearest),
        difference=difference,
    )


def explain(match: Match, reused: int, removed: Mapping[str, int] | None = None) -> PrefixReport:
    """`reused` tokens are in the slot now."""
    seen = match.difference
    return PrefixReport(
        prompt_tokens=match.n_prompt,
        reused_tokens=reused,
        source=match.source if reused else "none",
        slot=match.slot,
        cached_tokens=match.n_cached,
        first_difference=match.prefix if seen else None,
        before=seen.before[-MAX_WINDOW_CHARS:] if seen else "",
        in_prompt=seen.in_prompt[:MAX_WINDOW_CHARS] if seen else "",
        in_cache=seen.in_cache[:MAX_WINDOW_CHARS] if seen else "",
        causes=_causes(match, reused),
        removed=dict(removed or {}),
    )


def log_line(request_id: int, report: PrefixReport) -> str:
    """One line without any text of the prompt."""
    slot = f"slot {report.slot}"
    where = {
        "none": "",
        "slot": f" ({slot})",
        "copy": f" ({slot}, copied from another)",
        "memory": f" ({slot}, from host memory)",
        "disk": f" ({slot}, from disk)",
    }[report.source]
    line = (
        f"request {request_id}: {report.reused_tokens} of {report.prompt_tokens} prompt tokens reused{where}"
    )
    ours = [cause for cause in report.causes if cause.side == "engine"]
    theirs = [cause for cause in report.causes if cause.side == "client"]
    if report.first_difference is not None:
        names = "".join(f": {cause.name}" for cause in theirs)
        line += f"; first difference at token {report.first_difference}{names}"
    line += "".join(f"; {cause.tokens} lost: {cause.name}" for cause in ours)
    if report.removed:
        line += "; removed: " + ", ".join(f"{n} × {name}" for name, n in sorted(report.removed.items()))
    return line


# --- what the engine itself could not do ---------------------------------------------------------

NOTHING_CACHED = "nothing cached"
COULD_NOT_GO_BACK = "sliding window or recurrent state could not go back that far"
SNAPSHOT_UNUSABLE = "snapshot unusable"
NOT_WORTH_A_COPY = "too short to copy"

_ENGINE_REMEDIES = {
    NOTHING_CACHED: "",
    COULD_NOT_GO_BACK: (
        "swa_full = true lets a sliding window go back to any token, for more memory; a recurrent state "
        "goes back to message boundaries only"
    ),
    SNAPSHOT_UNUSABLE: "the log says what is wrong with it; it was computed again",
    NOT_WORTH_A_COPY: "none needed: computing so few tokens is cheaper, or saves another session's cache",
}


def _causes(match: Match, reused: int) -> tuple[PrefixCause, ...]:
    if match.n_cached == 0:
        return (_engine_cause(NOTHING_CACHED, match.n_prompt),)
    causes: list[PrefixCause] = []
    if match.difference is not None:
        rule = name_of(match.difference)
        lost = min(match.n_prompt, match.n_cached) - match.prefix
        causes.append(PrefixCause(name=rule.name, side=rule.side, tokens=lost, remedy=rule.remedy))
    wanted = min(match.prefix, match.n_prompt - 1)  # the last one is always computed, for its logits
    if reused < wanted:
        name = NOT_WORTH_A_COPY
        if reused < match.promised:
            name = SNAPSHOT_UNUSABLE
        elif match.reusable < wanted:
            name = COULD_NOT_GO_BACK
        causes.append(_engine_cause(name, wanted - reused))
    return tuple(sorted(causes, key=lambda cause: -cause.tokens))


def _engine_cause(name: str, tokens: int) -> PrefixCause:
    return PrefixCause(name=name, side="engine", tokens=tokens, remedy=_ENGINE_REMEDIES[name])


# --- what a difference is called -----------------------------------------------------------------


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


# --- a difference and its surroundings -----------------------------------------------------------


def _difference(
    prompt: TokenArray, cached: TokenArray, index: int, decode: Decode, is_control: IsControl
) -> Difference:
    role, is_opening = _message_at(prompt[:index], decode, is_control)
    ours = prompt[index : index + ECHO_REACH]
    theirs = cached[index : index + ECHO_REACH]
    return Difference(
        before=decode(prompt[max(0, index - WINDOW_BEFORE) : index]),
        in_prompt=decode(prompt[index : index + WINDOW_AFTER]),
        in_cache=decode(cached[index : index + WINDOW_AFTER]),
        index=index,
        role=role,
        is_opening=is_opening,
        goes_on=any(_occurs(theirs[at : at + ECHO_TOKENS], ours) for at in ECHO_OFFSETS),
        is_swapped=_occurs(theirs[:ECHO_TOKENS], ours) and _occurs(ours[:ECHO_TOKENS], theirs),
    )


def _occurs(part: TokenArray, tokens: TokenArray) -> bool:
    """Whether a whole `part` of ECHO_TOKENS stands anywhere in `tokens`."""
    if len(part) < ECHO_TOKENS:
        return False
    needle, hay = part.tobytes(), tokens.tobytes()
    at = hay.find(needle)
    while at % part.itemsize and at >= 0:
        at = hay.find(needle, at + 1)
    return at >= 0


_ROLE = re.compile(
    r"\W*(?:(?:im_start|start_of_turn|start_header_id|start_of_role|start|turn)\W+|im_)?"
    r"(system|developer|user|inst\b|assistant|model|bot\b|chatbot|tool|observation|ipython|function)",
    re.IGNORECASE,
)
_ENDS = re.compile(r"end|eot|eom|</|\[/", re.IGNORECASE)
_ENDS_HEADER = re.compile(r"header|role", re.IGNORECASE)
_SAME_ROLE = {"inst": "user", "model": "assistant", "bot": "assistant", "chatbot": "assistant"}


def _message_at(tokens: TokenArray, decode: Decode, is_control: IsControl) -> tuple[str, bool]:
    """The role of the message that `tokens` end in, "" if unknown; and whether no answer precedes it."""
    markup = np.flatnonzero(is_control(tokens)).tolist()
    role = ""
    for at in reversed(markup[-3:]):
        role = _role_at(tokens, at, decode)
        name = decode(tokens[at : at + 1])
        if role or (_ENDS.search(name) and not _ENDS_HEADER.search(name)):
            break
    if role not in ("system", "developer", "user") or len(markup) > MAX_OPENING_MARKUP:
        return role, False
    return role, all(_role_at(tokens, at, decode) != "assistant" for at in markup)


def _role_at(tokens: TokenArray, at: int, decode: Decode) -> str:
    """The role that the markup at `at` begins a message of; "" if it does not, or ends one."""
    name = decode(tokens[at : at + 1])
    if name == "[/INST]":  # Mistral marks no answer otherwise
        return "assistant"
    if _ENDS.search(name):
        return ""
    found = _ROLE.match(decode(tokens[at : at + HEADER_TOKENS]))
    if found is None:
        return ""
    role = found.group(1).lower()
    return _SAME_ROLE.get(role, role)

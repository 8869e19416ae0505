"""Why a prompt was computed again: what lay nearest to it in the caches, and where the two part ways.

Pure. Tokens, a decoding function and the decision of batching.place go in, a PrefixReport comes
out. What a difference is called: prefix_culprits.py.

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
from inference.messages import PrefixCause, PrefixReport, PrefixSource
from inference.prefix_culprits import Difference, name_of

WINDOW_BEFORE = 24
WINDOW_AFTER = 32
MAX_WINDOW_CHARS = 400
"""A token may be a long run of blanks."""

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

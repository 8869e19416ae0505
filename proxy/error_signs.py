"""What an upstream's error means, by the codes and words that providers use for it. Pure.

No dialect has a code for everything, and compatible servers use codes of their own: an exhausted balance is
a 400 at Anthropic, a 429 at Z.ai and a 402 at OpenRouter; a prompt that does not fit has a code at OpenAI
only. Another Hotseat says it all in its "hotseat" object.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

UNPAID_STATUS: Final = 402
"""Of an exhausted balance, by whichever status it was said: a 429 would be repeated, a 400 taken for the
client's own."""

MAX_RETRY_AFTER_S: Final = 3600.0
MAX_READ_CHARS: Final = 4096

_UNPAID_CODES: Final = frozenset({"billing_error", "insufficient_quota", "credit_balance_too_low", "1113"})
_UNPAID_WORDS: Final = re.compile(
    r"credit balance is too low|insufficient (balance|credits|quota)|exceeded your current quota"
    r"|requires more credits|(spend|usage|key) limit (reached|exceeded)",
    re.IGNORECASE,
)

_OVERFLOW_CODES: Final = frozenset({"exceed_context_size_error", "context_length_exceeded", "1261"})
_OVERFLOW_WORDS: Final = re.compile(
    r"maximum context length|exceeds? the (available )?context|prompt is too long"
    r"|exceed context limit|prompt exceeds max length",
    re.IGNORECASE,
)
_OVERFLOW_COUNTS: Final = (
    re.compile(r"(?P<tokens>\d+) tokens > (?P<ctx>\d+) maximum"),
    re.compile(r"exceed context limit: (?P<tokens>\d+) \+ \d+ > (?P<ctx>\d+)"),
    re.compile(r"maximum context length is (?P<ctx>\d+) tokens.*?resulted in (?P<tokens>\d+) tokens"),
)
_TRY_AGAIN: Final = re.compile(r"try again in (?P<n>\d{1,6}(?:\.\d{1,6})?) ?(?P<unit>ms|s)\b")


@dataclass(frozen=True, slots=True)
class Signs:
    """`is_unpaid`: nobody pays for the request: no repetition cures that."""

    is_overflow: bool = False
    is_unpaid: bool = False
    n_tokens: int | None = None
    n_ctx: int | None = None
    retry_after_s: float | None = None


def signs_of(text: str, codes: Collection[str], fields: Mapping[str, Any]) -> Signs:
    """`codes`: whatever the error has for a code or a type. `fields`: the object it is made of."""
    details = fields.get("hotseat")
    if not isinstance(details, dict):
        details = {}
    text = text[:MAX_READ_CHARS]
    known = {*codes, details["code"]} if isinstance(details.get("code"), str) else set(codes)
    is_overflow = bool(_OVERFLOW_CODES & known or _OVERFLOW_WORDS.search(text))
    n_tokens, n_ctx = _counts(text) if is_overflow else (None, None)
    return Signs(
        is_overflow=is_overflow,
        is_unpaid=bool(_UNPAID_CODES & known or _UNPAID_WORDS.search(text)),
        n_tokens=_count(fields.get("n_prompt_tokens")) or _count(details.get("n_tokens")) or n_tokens,
        n_ctx=_count(fields.get("n_ctx")) or _count(details.get("n_ctx")) or n_ctx,
        retry_after_s=_seconds(details.get("retry_after_s")) or _try_again(text),
    )


def _counts(text: str) -> tuple[int | None, int | None]:
    for words in _OVERFLOW_COUNTS:
        if (found := words.search(text)) and max(map(len, found.groups())) < 16:
            return int(found["tokens"]), int(found["ctx"])
    return None, None


def _try_again(text: str) -> float | None:
    """As OpenAI says it: "Please try again in 1.2s"."""
    found = _TRY_AGAIN.search(text)
    return _seconds(float(found["n"]) / (1000 if found["unit"] == "ms" else 1)) if found else None


def _seconds(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return min(float(value), MAX_RETRY_AFTER_S) if is_number and value > 0 else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

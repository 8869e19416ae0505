"""What an announced run did that its rows do not tell: how it asked to have tokens drawn, and which loads
were its doing. Kept in memory while it is under way, and told when it ends.

Of a request nothing but the fields below is kept, and of these only what is short.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from proxy.request_log import RequestRecord

MAX_KINDS = 8
"""Different wishes kept of each role: a harness has one or two."""

MAX_WISH_CHARS = 200

WISHES = (
    *("temperature", "top_p", "top_k", "min_p", "seed"),
    *("presence_penalty", "frequency_penalty", "repeat_penalty", "repeat_last_n", "logit_bias"),
    *("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n"),
    *("max_tokens", "max_completion_tokens", "max_output_tokens"),
    *("reasoning_effort", "reasoning", "thinking", "output_config", "chat_template_kwargs"),
)
"""By the dialects' own names."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class RunNotes:
    """Fed on the event loop alone."""

    def __init__(self) -> None:
        self._wishes: dict[str, list[str]] = {}
        self._caused = self._waited = 0

    def asked(self, role: str, fields: Mapping[str, msgspec.Raw]) -> None:
        known = self._wishes.setdefault(role, [])
        wish = " ".join(_wishes(fields))
        if wish not in known and len(known) < MAX_KINDS:
            known.append(wish)

    def ended(self, record: RequestRecord) -> None:
        self._caused += record.caused_load
        self._waited += record.load_s > 0

    @property
    def summary(self) -> dict[str, object]:
        """`sampling`: what its requests said, by the role of who asked; "" for one that said nothing.
        `loads`: those that a request of it was the first to wait for; `load_waits`: how many waited for any.
        """
        return {"sampling": self._wishes, "loads": self._caused, "load_waits": self._waited}


def fields_of(body: bytes) -> Mapping[str, msgspec.Raw]:
    """Of a body that a dialect has read."""
    try:
        return _fields.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}


def _wishes(fields: Mapping[str, msgspec.Raw]) -> Iterator[str]:
    for name in WISHES:
        said = bytes(fields.get(name, b"null"))
        if said != b"null":
            text = said.decode(errors="replace")
            yield f"{name}={text if len(text) <= MAX_WISH_CHARS else text[:MAX_WISH_CHARS] + '…'}"

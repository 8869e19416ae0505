"""What a provider signs its reasoning with, on its way through clients and back. Pure.

Anthropic takes a thought back only with its signature, OpenAI only as the encrypted content that came
with it, and each refuses what another one wrote. So a signature travels under the name of its author,
and is given back to nobody else: a conversation may change its provider at any turn.
"""

from __future__ import annotations

from typing import Final

_MARK: Final = "hotseat-signed-1:"


def signed_by(author: str, signature: str) -> str:
    """`signature` as clients keep it. `author`: the provider's name, without a colon."""
    return f"{_MARK}{author}:{signature}" if signature else ""


def signature_for(author: str, kept: str) -> str:
    """What `signed_by` was given by this author; "" for what anybody else wrote."""
    mark = f"{_MARK}{author}:"
    return kept.removeprefix(mark) if kept.startswith(mark) else ""


def is_signed(kept: str) -> bool:
    """Whether `signed_by` made it: what a client brings from elsewhere is of no use here."""
    return kept.startswith(_MARK)

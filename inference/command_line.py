"""The argv of a server that the user names: placeholders, what they stand for, which are wrong. Pure.

A placeholder is a word in single braces, {port}. Braces around anything else are left alone, so JSON
and Jinja in an argument ({"a": 1}, {{ messages }}) need no escape. Each argument stays one argument
whatever is put into it: no shell reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from inference.model_spec import ModelSpec

PLACEHOLDERS: Final[Mapping[str, str]] = {
    "path": "the model file",
    "port": "the loopback port to listen on",
    "name": "the model's name here",
    "n_ctx": "the context of one request",
    "slots": "how many requests run at once",
    "n_ctx_total": "n_ctx times slots, for servers that divide one context",
}
STOP_PLACEHOLDERS: Final[Mapping[str, str]] = {**PLACEHOLDERS, "pid": "the server's process id"}

_PLACEHOLDER = re.compile(r"(?<!\{)\{(\w+)\}(?!\})")


def placeholders_in(texts: Iterable[str]) -> set[str]:
    return {name for text in texts for name in _PLACEHOLDER.findall(text)}


def values_for(spec: ModelSpec, port: int) -> dict[str, str]:
    """What the placeholders of `spec` stand for."""
    return {
        "path": spec.path,
        "port": str(port),
        "name": spec.name,
        "n_ctx": str(spec.n_ctx),
        "slots": str(spec.slots),
        "n_ctx_total": str(spec.n_ctx * spec.slots),
    }


def filled_in(text: str, values: Mapping[str, str]) -> str:
    """`text` with its placeholders replaced. Raises KeyError for one that is not in `values`."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)

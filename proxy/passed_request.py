"""A request that goes on in the dialect it came in: its body, and which headers may go with it. Pure.

The body is taken apart at its top level only. Every field goes on as the client wrote it, but `model`,
which becomes the provider's own name for it, and what asks a chat stream for its count of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from inference.errors import InvalidRequest
from proxy.providers import DialectName
from proxy.strict_json import MAX_VALUES

MAX_HEADER_CHARS = 2000
MAX_TOKENS = 10**15
MAX_NUMBER_CHARS = 1000
"""Of what is asked for: more is as good as no limit."""

ANTHROPIC_VERSION = "2023-06-01"

_FORWARDED = frozenset({b"anthropic-version", b"anthropic-beta"})
"""The rest of a client's headers stays here: its key and cookies are for Hotseat."""


_LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
_CHOOSERS = ("models", "preset")
"""OpenRouter's: other models to fall back to, and settings kept there that may name some."""


class _Peeked(msgspec.Struct):
    model: str


_peeked = msgspec.json.Decoder(_Peeked)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_json = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class PassedRequest:
    """`fields`: the body, each value as it was written."""

    dialect: DialectName
    model: str
    stream: bool
    fields: dict[str, msgspec.Raw] = field(repr=False)
    headers: dict[str, str] = field(repr=False)

    @property
    def wants_usage(self) -> bool:
        """Whether the client itself asks for the count at the end of its stream."""
        return _is_true(_stream_options(self.fields), "include_usage")

    @property
    def has_tools(self) -> bool:
        return "tools" in self.fields and bytes(self.fields["tools"]) not in (b"null", b"[]")

    @property
    def chooser(self) -> str:
        """The field by which a provider may be told to take another model than `model`; "": there is none."""
        for name in _CHOOSERS:
            if name in self.fields and bytes(self.fields[name]) != b"null":
                return name
        return ""

    @property
    def max_output_tokens(self) -> int | None:
        """At most, of all its answers, also those that are not shown. None: it does not say, or not so
        that it can be read."""
        limits = [self._number(name) for name in _LIMITS]
        said = [limit for limit in limits if limit is not None]
        if not said:
            return None
        answers = max(1, self._number("n") or 1, self._number("best_of") or 1)
        return min(MAX_TOKENS, max(said) * answers * self._prompts())

    def _number(self, name: str) -> int | None:
        """Providers take numbers in every form that JSON has, and some in quotes."""
        number = self.fields.get(name)
        return None if number is None else _count(bytes(number))

    def _prompts(self) -> int:
        """Of Completions, which answer each of a list of them. A list of numbers is one, in tokens."""
        if self.dialect != "completions":
            return 1
        try:
            prompts = _list.decode(self.fields["prompt"])
        except (KeyError, msgspec.DecodeError, UnicodeDecodeError):
            return 1
        return len(prompts) if prompts and bytes(prompts[0])[:1] in (b'"', b"[") else 1

    def body_for(self, model: str) -> bytes:
        fields = self.fields | {"model": msgspec.Raw(_json.encode(model))}
        if self.stream and self.dialect in ("chat-completions", "completions"):
            options = _stream_options(fields) | {"include_usage": msgspec.Raw(b"true")}
            fields["stream_options"] = msgspec.Raw(_json.encode(options))
        return _json.encode(fields)


def _count(number: bytes) -> int | None:
    """None: it is none, or of no number of tokens."""
    if len(number) > MAX_NUMBER_CHARS:
        return MAX_TOKENS
    try:
        value = Decimal(number.decode("ascii").strip('"').strip())
    except (ArithmeticError, UnicodeDecodeError):
        return None
    if not value.is_finite() or value < 0:
        return None
    return MAX_TOKENS if value > MAX_TOKENS else int(value)


def peeked_model(raw: bytes) -> str | None:
    """The model that a body names, if it is a body that names one."""
    try:
        return _peeked.decode(raw).model
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def passed_request(raw: bytes, dialect: DialectName, headers: Iterable[tuple[bytes, bytes]]) -> PassedRequest:
    """Raises InvalidRequest for a body that is no JSON object with a `model`."""
    if len(raw) > MAX_VALUES and sum(map(raw.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise InvalidRequest(f"the body holds more than {MAX_VALUES} values")
    try:
        raw.decode()
        fields = _fields.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidRequest("the body is not a JSON object") from error
    return PassedRequest(
        dialect=dialect,
        model=_model(fields),
        stream=_is_true(fields, "stream"),
        fields=fields,
        headers=_forwarded(headers) if dialect == "anthropic-messages" else {},
    )


def _model(fields: dict[str, msgspec.Raw]) -> str:
    if "model" not in fields:
        raise InvalidRequest("model: this field is required", param="model")
    try:
        return _text.decode(fields["model"])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest("model: expected text", param="model") from error


def _is_true(fields: dict[str, msgspec.Raw], name: str) -> bool:
    return name in fields and bytes(fields[name]) == b"true"


def _stream_options(fields: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    try:
        return _fields.decode(fields["stream_options"])
    except (KeyError, msgspec.DecodeError):
        return {}


def _forwarded(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        if name in _FORWARDED and len(value) <= MAX_HEADER_CHARS and value.isascii():
            text = value.decode("ascii").strip()
            if text.isprintable():
                found.setdefault(name.decode(), []).append(text)
    return {name: ", ".join(values) for name, values in found.items()}

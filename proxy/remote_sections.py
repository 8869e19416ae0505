"""[providers.NAME] and [routes.NAME] as they may be written."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from proxy.config_section import (
    MAX_N_CTX,
    EnvName,
    Name,
    PositiveSeconds,
    RouteName,
    Seconds,
    Section,
    Text,
    matches,
)
from proxy.providers import DialectName, KeyHeader

MAX_FALLBACKS = 8  # of a route


def _base_url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("expected an http:// or https:// address")
    if url.username is not None or url.query or url.fragment:
        raise ValueError("expected an address without user, query or fragment; keys belong in api_key_env")
    return value.rstrip("/")


_KEY_HEADERS = {"authorization", "x-api-key", "api-key", "cookie", "proxy-authorization"}
_TRANSPORT_HEADERS = {"host", "content-length", "content-type", "transfer-encoding", "connection"}


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if re.fullmatch(r"[A-Za-z0-9-]{1,64}", name) is None:
            raise ValueError(f"expected header names of letters, digits and '-', found {name!r}")
        if name.lower() in _KEY_HEADERS:
            raise ValueError(f"header {name!r} carries a key: name its variable in api_key_env instead")
        if name.lower() in _TRANSPORT_HEADERS:
            raise ValueError(f"header {name!r} is set by Hotseat itself: remove it")
        if len(text) > 1000 or re.search(r"[^\x20-\x7e]", text):
            raise ValueError(f"expected printable ASCII, at most 1000 characters, in header {name!r}")
    return value


# A key pasted here is refused, and not shown. Paths begin like this, keys do not.
KeyFile = Annotated[str, matches(r"[~/.].{0,4095}", 'a path that begins with "~", "/" or "."')]


class ProviderSection(Section):
    """`kind`: a row of providers.py, else the one of this name. What is not given is as in that row."""

    kind: Text | None = None
    base_url: Annotated[str, AfterValidator(_base_url)] | None = None
    api_key_env: EnvName | None = None
    api_key_file: KeyFile | None = None
    key_header: KeyHeader | None = None
    dialects: Annotated[list[DialectName], Field(min_length=1)] | None = None
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(default={})
    connect_timeout: PositiveSeconds | None = None
    first_byte_timeout: PositiveSeconds | None = None
    idle_timeout: PositiveSeconds | None = None
    retries: Annotated[int, Field(ge=0, le=10)] | None = None
    retry_delay: Seconds | None = None


class RouteSection(Section):
    provider: Name
    model: Text
    fallbacks: list[RouteName] = Field(default=[], max_length=MAX_FALLBACKS)
    context_length: Annotated[int, Field(ge=1, le=MAX_N_CTX)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=MAX_N_CTX)] | None = None

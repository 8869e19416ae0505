"""What a running Hotseat offers, asked over HTTP: models, what fits into each, roles.

Standard library and blocking, as `hotseat launch` asks once. The key is shown to this server and to
nobody else: no redirects, no proxies.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

DEFAULT_SERVER = "http://127.0.0.1:8080"
CONNECT_TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 16 * 2**20
_OWNER = "hotseat"


class ServerTrouble(Exception):
    """What the server did not do and what to do about it, in one line."""


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """`context_length` None: a remote model whose limits the configuration does not give.

    `problem`: why it cannot answer, or nothing.
    """

    name: str
    context_length: int | None
    max_output_tokens: int | None
    aliases: tuple[str, ...]
    embeddings: bool
    is_local: bool
    problem: str | None
    remote_id: str = ""  # what its provider calls it


@dataclass(frozen=True, slots=True)
class Offer:
    url: str
    models: tuple[OfferedModel, ...]
    roles: Mapping[str, str]

    def named(self, name: str) -> OfferedModel | None:
        """By its name, an alias or a role."""
        for wanted in (name, self.roles.get(name)):
            for model in self.models:
                if wanted is not None and wanted in (model.name, *model.aliases):
                    return model
        return None


def fetch_offer(url: str, key: str | None) -> Offer:
    """Ask GET /v1/models. Raises ServerTrouble."""
    base = _base(url)
    answer = _get(base, "/v1/models", key)
    rows, roles = answer.get("data"), answer.get("roles")
    if not isinstance(rows, list) or not isinstance(roles, dict):
        raise ServerTrouble(f"{base} is no Hotseat of this version: start one with scripts/serve")
    models = tuple(_model(row) for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str))
    return Offer(base, models, {role: name for role, name in roles.items() if isinstance(name, str)})


def _model(row: Mapping[str, Any]) -> OfferedModel:
    aliases = row.get("aliases")
    return OfferedModel(
        name=row["id"],
        context_length=_count(row.get("context_length")),
        max_output_tokens=_count(row.get("max_output_tokens")),
        aliases=tuple(alias for alias in aliases if isinstance(alias, str))
        if isinstance(aliases, list)
        else (),
        embeddings=row.get("embeddings") is True,
        is_local=row.get("owned_by") == _OWNER,
        problem=_problem(row),
        remote_id=str(row.get("remote_model") or ""),
    )


def _problem(row: Mapping[str, Any]) -> str | None:
    name, owner = row["id"], row.get("owned_by")
    match row.get("state"):
        case "offline":
            return (
                f"'{name}' is answered by {owner}, and this server runs with --offline: choose a local model"
            )
        case "no key":
            return f"'{name}' is answered by {owner}, for which the server has no key: see `hotseat doctor`"
    error = row.get("error")
    return " ".join(str(error).split()) if error else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _base(url: str) -> str:
    """scheme://host:port, whatever of it was given. Raises ServerTrouble."""
    remedy = f"expected an address like {DEFAULT_SERVER}"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
        _ = parts.port
    except ValueError as error:
        raise ServerTrouble(f"--url: {error}: {remedy}") from error
    if not valid or parts.path.strip("/") not in ("", "v1") or parts.query or parts.fragment:
        raise ServerTrouble(f"--url: {remedy}")
    return f"{parts.scheme}://{parts.netloc}"


def _get(base: str, path: str, key: str | None) -> dict[str, Any]:
    parts = urlsplit(base)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"user-agent": "hotseat"} | ({"authorization": f"Bearer {key}"} if key else {})
    with closing(kind(parts.hostname or "", parts.port, timeout=CONNECT_TIMEOUT_S)) as connection:
        try:
            connection.request("GET", path, headers=headers)
            with connection.getresponse() as response:
                status, body = response.status, response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ServerTrouble(
                f"no server at {base} ({reason.lower()}): start one with scripts/serve, or name it with --url"
            ) from error
    if status == 401:
        raise ServerTrouble(f"{base} wants a key: set HOTSEAT_API_KEY to one of this server's")
    try:
        answer = json.loads(body) if len(body) <= MAX_ANSWER_BYTES else None
    except (ValueError, RecursionError):
        answer = None
    if status != 200 or not isinstance(answer, dict):
        raise ServerTrouble(
            f"{base}{path} answered with status {status} and no list of models: is it Hotseat?"
        )
    return answer

"""Conversations with a language model, whoever provides it. See README.md."""

from __future__ import annotations

import inspect
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

TIMEOUT_S = 60


class Refused(Exception):
    """The provider did not answer, or broke off. What had come by then was no answer."""


@dataclass(frozen=True)
class Call:
    """The model asks for a tool."""

    id: str
    name: str
    arguments: dict[str, object]


@dataclass(frozen=True)
class Piece:
    """Of an answer: some text, or a call. One of the two is None."""

    text: str | None
    call: Call | None


class Tool:
    def __init__(self, function: Callable[..., object]) -> None:
        self.name: str = function.__name__
        self.function = function

    def described(self) -> dict[str, object]:
        return {
            "name": self.name,
            "about": inspect.getdoc(self.function) or "",
            "parameters": list(inspect.signature(self.function).parameters),
        }


def user(text: str) -> dict[str, object]:
    """The message of somebody who asks."""
    return {"role": "user", "text": text}


def model(text: str) -> dict[str, object]:
    """The message of a model that has answered."""
    return {"role": "model", "text": text}


def calls(*made: Call) -> dict[str, object]:
    """The message of a model that has asked for tools, all calls of one answer."""
    return {
        "role": "model",
        "calls": [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in made],
    }


def result(call: Call, text: str) -> dict[str, object]:
    """The message that answers a call."""
    return {"role": "tool", "id": call.id, "text": text}


class Provider:
    def __init__(self, url: str) -> None:
        self._url = url

    @classmethod
    def from_environment(cls) -> Provider:
        """The one whose address is in PARLEY_URL."""
        return cls(os.environ["PARLEY_URL"])

    def converse(
        self, messages: Sequence[dict[str, object]], *, tools: Sequence[Tool] = ()
    ) -> Iterator[Piece]:
        """Sends the whole conversation, and gives the answer piece by piece, as it comes. Raises Refused."""
        body = {"messages": list(messages), "tools": [tool.described() for tool in tools]}
        request = urllib.request.Request(
            self._url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                yield from _pieces(answer)
        except (OSError, ValueError, urllib.error.URLError) as error:
            raise Refused(str(error)) from error


def _pieces(lines: Iterator[bytes]) -> Iterator[Piece]:
    for line in lines:
        said = json.loads(line)
        if "end" in said:
            return
        call = Call(**said["call"]) if "call" in said else None
        yield Piece(said.get("text"), call)
    raise ValueError("the answer broke off")

"""What every harness adapter takes and gives: models and roles in; files, environment and command out.

An adapter is pure. It never touches a user's own configuration: everything it names lies under
`Setup.home`. A key goes through the environment only, a prompt through standard input only: both
would be readable by every process of the machine as arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

_AGENT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
KEY_VARIABLE = "HOTSEAT_API_KEY"
"""Where harnesses whose configuration can name a variable find the key."""

PROVIDER = "hotseat"
REQUEST_TIMEOUT_MS = 30 * 60 * 1000
"""Longer than any load or prefill: the server says that it is alive while it works."""


class UnsuitedSetup(ValueError):
    """A setup that a harness cannot be given; the message says why and what would do."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model as clients can use it: its name, and what fits. Tokens."""

    name: str
    context_length: int
    max_output_tokens: int
    is_local: bool = True


@dataclass(frozen=True, slots=True)
class SubAgent:
    """`tools`: in the harness's own names; none named: those that it gives to any sub-agent. `effort`: how
    hard it thinks, where that is not as hard as the main agent."""

    name: str
    model: str
    description: str
    prompt: str
    tools: tuple[str, ...] = ()
    effort: str | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """One harness on one server. Raises UnsuitedSetup for a role without its model.

    `base_url`: http://host:port, with /r/RUN where requests belong to a run, without /v1.
    `home`: the harness's own directory; `workdir`: where it works.
    """

    base_url: str
    api_key: str = field(repr=False)
    main: str
    small: str
    models: tuple[ModelCard, ...]
    home: Path
    workdir: Path
    subagents: tuple[SubAgent, ...] = ()
    effort: str | None = None

    def __post_init__(self) -> None:
        if not self.api_key:
            raise UnsuitedSetup("a harness takes no empty key: give any word to a server without keys")
        for name in (self.main, self.small, *(agent.model for agent in self.subagents)):
            self.card(name)
        for agent in self.subagents:
            if not _AGENT_NAME.fullmatch(agent.name):
                raise UnsuitedSetup(
                    f"sub-agent {agent.name!r}: a name has a-z 0-9 _ - and at most 40 of them"
                )
        if len({agent.name for agent in self.subagents}) < len(self.subagents):
            raise UnsuitedSetup("two sub-agents have the same name")

    def card(self, name: str) -> ModelCard:
        for card in self.models:
            if card.name == name:
                return card
        raise UnsuitedSetup(f"there is no model {name!r} among {', '.join(c.name for c in self.models)}")

    @property
    def openai_url(self) -> str:
        return f"{self.base_url}/v1"


Merge = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to start a harness. `argv[0]` is the program's name, to be found by the caller.

    `files` are written at every start, `seeds` only where they are missing: the harness changes them.
    `merges`: for some of the files, (what lies there, what is new) -> what to write.
    `env` goes over an environment without the variables that `Harness.foreign` names.
    """

    files: Mapping[Path, str]
    env: Mapping[str, str] = field(repr=False)
    argv: tuple[str, ...]
    stdin: str | None = None
    seeds: Mapping[Path, str] = field(default_factory=dict)
    merges: Mapping[Path, Merge] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """Tokens that a harness says it used; None where it does not say. Not a measurement.

    `input_tokens` has the cached ones in it, `output_tokens` those of reasoning. Of the main agent and,
    with Claude Code only, its sub-agents.
    """

    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a headless run said. Calls and delegations are the main agent's.

    `is_error`: it says that it failed, or it never came to its end. Exit codes say neither. Characters of
    what sub-agents were told and of what they reported, as far as it is shown.
    """

    final_text: str
    session_id: str
    claimed: Claim
    claimed_cost_usd: Decimal | None
    tool_calls: int
    delegations: int
    errors: tuple[str, ...]
    is_error: bool
    brief_chars: tuple[int, ...] = ()
    return_chars: tuple[int, ...] = ()


class Harness(Protocol):
    @property
    def name(self) -> str:
        """As in the command line and the ledger: opencode, codex, claude-code."""

    @property
    def binary(self) -> str: ...

    @property
    def prompt_tokens(self) -> int:
        """About what its own instructions and tools take of a context, before any work."""

    @property
    def foreign(self) -> tuple[str, ...]:
        """Shell patterns of variables that would override the recipe, or send requests elsewhere."""

    @property
    def claims_session(self) -> bool:
        """Whether a resumed run claims the tokens of the whole session, and not its own alone."""

    def interactive(self, setup: Setup) -> Recipe:
        """For a person in a terminal, who is asked what the harness usually asks."""

    def headless(self, setup: Setup, prompt: str) -> Recipe:
        """For one prompt in a sandbox, asking nobody. HOME is private too."""

    def resume(self, setup: Setup, prompt: str, session_id: str) -> Recipe:
        """The next prompt of a session that `headless` began, with the same setup."""

    def parse(self, stdout: Iterable[str]) -> Transcript: ...


# --- reading what they print ---------------------------------------------------------------------


def json_lines(stdout: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The objects among the lines. Warnings and half a line at the end are no events."""
    for line in stdout:
        try:
            event = json.loads(line, parse_float=Decimal)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield event


def inner(value: Mapping[str, Any], *path: str) -> dict[str, Any]:
    """The object at `path`, or an empty one: what comes out of a harness may have any shape."""
    found: Any = value
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""


def count(value: Mapping[str, Any], key: str) -> int | None:
    found = value.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def added(*counts: int | None) -> int | None:
    """The sum of what is known; None if nothing is."""
    known = [number for number in counts if number is not None]
    return sum(known) if known else None


def cost(value: Mapping[str, Any], key: str) -> Decimal | None:
    found = value.get(key)
    return Decimal(found) if isinstance(found, int | Decimal) and not isinstance(found, bool) else None

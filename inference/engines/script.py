"""The format of scripts for the scripted engine: what they may say, read and checked.

A script is a TOML file. Every key is optional, an empty file is valid, an unknown key is an error.

    [model]
    memory_bytes = 500_000_000   # what the model claims to need, for the scheduler
    dimensions = 64              # of embeddings
    unmatched = "echo"           # or "error": what happens when no turn matches
    requests_file = "seen.jsonl" # beside the script: a line for each request, {"turn": …, "request": …}

    [load]
    seconds = 2.0                # how long loading takes
    progress_steps = 10          # how many times progress is reported meanwhile
    stderr = "line"              # written to stderr before anything else
    allocate_bytes = 10_000_000  # memory really filled, to be seen in the worker's resident set
    fail = "out of memory"       # the load ends in LoadFailed with this message
    fault = "kill"               # or "abort", "hang": before the last progress report
    once_file = "load-failed"    # fail and fault happen only while this file is absent; it is then made

    [defaults]                   # also keys of a turn, where they win
    chunk_tokens = 1             # tokens per streamed event
    tokens_per_second = 50.0     # decode speed of one stream; absent: as fast as possible
    prefill_tokens_per_second = 1000.0   # of prompt tokens that were not cached; absent: instant
    first_token_s = 0.3          # added before the first event of an answer

    [[turn]]                     # tried in order; the first that matches answers
    name = "delegate"            # for messages
    times = 1                    # matches no more than this often since load
    match.contains = "…"         # in the text of any message
    match.user_contains = "…"    # in the text of the last user message
    match.user_matches = '…'     # the same by regular expression (re.search, DOTALL)
    match.system_contains = "…"  # in the text of all system and developer messages
    match.system_matches = '…'
    match.after_tool = "write"   # after the last answer stand tool results, one of them for this tool
    match.tool_result_contains = "…"   # in the text of those tool results
    match.tool_result_matches = '…'
    match.last_role = "user"     # role of the last message
    match.offers = ["task"]      # tools that the request must offer
    match.lacks = ["task"]       # tools that it must not offer
    match.step = 2               # 1 + number of assistant messages in the conversation
    match.request = 3            # the nth generation since load
    reasoning = "…"
    text = "…"
    repeat = 100                 # the text so many times over
    tool_calls = [{ name = "write", arguments = { path = "a.py" } }]   # or arguments_text = '{"broken'
    finish = "stop"              # instead of the true reason
    usage = { input_tokens = 1000, cached_tokens = 0, output_tokens = 5, reasoning_tokens = 0 }  # overrides
    [turn.fault]                 # what goes wrong, after so many events
    kind = "error"               # error: this request fails with `code` and `message`; engine_fault: the
    after_chunks = 3             #   engine is beyond repair; stall: this stream never goes on; hang: the
    code = "overloaded"          #   engine's step never returns; kill, abort: the process dies of
    message = "…"                #   SIGKILL, SIGABRT
    retry_after_s = 2.0
    once_file = "crashed"        # the fault happens only while this file (beside the script) is absent

`@{name}` in reasoning, text and string arguments stands for the named group of a `*_matches`
expression of the same turn: `match.tool_result_matches = '"agent_id": *"(?P<agent>[^"]+)"'` lets
the next call say `targets = ["@{agent}"]`.

When no turn matches, the answer is `You said: ` and the first 200 characters of the last user
message (of the prompt, for a raw completion). How tokens are counted: script_answers.py.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from inference.chat import FinishReason
from inference.errors import ConfigError, ErrorInfo, InvalidModelFile, from_info

MAX_SCRIPT_BYTES = 16 * 1024 * 1024
MAX_ANSWER_CHARS = 64 * 1024 * 1024

PLACEHOLDER = re.compile(r"@\{(\w+)\}")

NonNegative = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Rate = Annotated[float, msgspec.Meta(gt=0)]
FileName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}$")]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TOML table: unknown keys are errors."""


class Model(_Table, frozen=True):
    memory_bytes: NonNegative = 0
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=8192)] = 64
    unmatched: Literal["echo", "error"] = "echo"
    requests_file: FileName | None = None


class LoadPlan(_Table, frozen=True):
    seconds: Seconds = 0.0
    progress_steps: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
    stderr: str = ""
    allocate_bytes: NonNegative = 0
    fail: str | None = None
    fault: Literal["kill", "abort", "hang"] | None = None
    once_file: FileName | None = None


class Pace(_Table, frozen=True):
    chunk_tokens: Positive = 1
    tokens_per_second: Rate | None = None
    prefill_tokens_per_second: Rate | None = None
    first_token_s: Seconds = 0.0


class Match(_Table, frozen=True):
    contains: str | None = None
    user_contains: str | None = None
    user_matches: str | None = None
    system_contains: str | None = None
    system_matches: str | None = None
    after_tool: str | None = None
    tool_result_contains: str | None = None
    tool_result_matches: str | None = None
    last_role: Literal["system", "developer", "user", "assistant", "tool"] | None = None
    offers: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    step: Positive | None = None
    request: Positive | None = None


class ScriptedCall(_Table, frozen=True):
    name: str
    arguments: dict[str, Any] = {}
    arguments_text: str | None = None


class UsageOverride(_Table, frozen=True):
    input_tokens: NonNegative | None = None
    cached_tokens: NonNegative | None = None
    output_tokens: NonNegative | None = None
    reasoning_tokens: NonNegative | None = None


class Fault(_Table, frozen=True):
    kind: Literal["error", "engine_fault", "stall", "hang", "kill", "abort"]
    after_chunks: NonNegative = 0
    code: str = "engine_fault"
    message: str = "scripted fault"
    retry_after_s: Seconds | None = None
    once_file: FileName | None = None


class Turn(_Table, frozen=True):
    name: str = ""
    times: Positive | None = None
    match: Match = Match()
    reasoning: str = ""
    text: str = ""
    repeat: Positive = 1
    tool_calls: tuple[ScriptedCall, ...] = ()
    finish: FinishReason | None = None
    usage: UsageOverride = UsageOverride()
    fault: Fault | None = None
    chunk_tokens: Positive | None = None
    tokens_per_second: Rate | None = None
    prefill_tokens_per_second: Rate | None = None
    first_token_s: Seconds | None = None


class Script(_Table, frozen=True):
    model: Model = Model()
    load: LoadPlan = LoadPlan()
    defaults: Pace = Pace()
    turn: tuple[Turn, ...] = ()


# --- reading -----------------------------------------------------------------------------------


def read_script(path: Path) -> Script:
    """Raises InvalidModelFile for a file that is no TOML, ConfigError for what it must not say."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SCRIPT_BYTES + 1)
    except OSError as error:
        raise InvalidModelFile(
            f"script {path}: {error.strerror or error}: correct the model's path"
        ) from error
    if len(data) > MAX_SCRIPT_BYTES:
        raise InvalidModelFile(f"script {path}: larger than {MAX_SCRIPT_BYTES} bytes: shorten it")
    try:
        return parse_script(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidModelFile(f"script {path}: not a TOML file: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"script {path}: {error.message}", param=error.param) from error


def parse_script(source: str) -> Script:
    table = tomllib.loads(source)
    try:
        script = msgspec.convert(table, Script)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{error}: see the format in inference/engines/script.py") from error
    for number, turn in enumerate(script.turn):
        _check_turn(turn, f"turn[{number}]" + (f" ({turn.name})" if turn.name else ""))
    return script


def _check_turn(turn: Turn, where: str) -> None:
    groups: set[str] = set()
    for key in ("user_matches", "system_matches", "tool_result_matches"):
        if (pattern := getattr(turn.match, key)) is None:
            continue
        try:
            groups |= set(re.compile(pattern, re.DOTALL).groupindex)
        except re.error as error:
            raise ConfigError(f"{where}: match.{key} is no regular expression: {error}", param=key) from error
    try:
        arguments = json.dumps([call.arguments for call in turn.tool_calls])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: arguments must be JSON values, {error}", param="tool_calls") from error
    texts = "".join(
        (turn.reasoning, turn.text, arguments, *(call.arguments_text or "" for call in turn.tool_calls))
    )
    if unknown := set(PLACEHOLDER.findall(texts)) - groups:
        names = ", ".join(f"@{{{name}}}" for name in sorted(unknown))
        raise ConfigError(f"{where}: {names}: no such named group in this turn's *_matches", param="text")
    if len(turn.text) * turn.repeat > MAX_ANSWER_CHARS:
        raise ConfigError(f"{where}: repeat makes more than {MAX_ANSWER_CHARS} characters", param="repeat")
    if (
        turn.fault is not None
        and from_info(ErrorInfo(code=turn.fault.code, message="")).code != turn.fault.code
    ):
        raise ConfigError(f"{where}: fault.code {turn.fault.code!r} is no error code of inference/errors.py")

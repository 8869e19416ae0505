"""Scripts for the model behind a coding harness, and what each harness's own tools are called.

A script is written as Python values and becomes the TOML of inference/engines/script.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Table = Mapping[str, Any]
Call = dict[str, Any]


def script(*turns: Table, **tables: Table) -> str:
    """`tables`: [model], [load], [defaults]. Unexpected requests are errors, and all are recorded."""
    model = {"unmatched": "error", "requests_file": REQUESTS_FILE} | dict(tables.pop("model", {}))
    lines = [f"{name} = {_toml(table)}" for name, table in {"model": model, **tables}.items()]
    for said in turns:
        lines += ["[[turn]]", *(f"{key} = {_toml(value)}" for key, value in said.items())]
    return "\n".join(lines)


REQUESTS_FILE = "requests.jsonl"


def _toml(value: Any) -> str:
    match value:
        case Mapping():
            return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:  # what JSON writes of strings, numbers and truth values, TOML reads
            return json.dumps(value, ensure_ascii=False)


def turn(name: str, *calls: Call, **fields: Any) -> Table:
    return {"name": name, "tool_calls": list(calls), **fields}


@dataclass(frozen=True, slots=True)
class Hands:
    """How a model does things through one harness's tools: calls, as the model sees the tools."""

    write: Callable[[str, str], Call]
    read: Callable[[str], Call]
    edit: Callable[[str, str, str], Call]
    run: Callable[[str], Call]
    delegate: tuple[Table, ...]
    """Turns that give `CHORE` to the sub-agent `HELPER` and see its report; the first is without a match."""


HELPER = "helper"
CHORE = "Tell me the number of the day."
REPORT = "The number of the day is 4711."


def call(name: str, **arguments: Any) -> Call:
    return {"name": name, "arguments": arguments}


_CLAUDE_HELP = call("Agent", description="a chore", prompt=CHORE, subagent_type=HELPER)
_OPENCODE_HELP = call("task", description="a chore", prompt=CHORE, subagent_type=HELPER)
_CODEX_HELP = call("multi_agent_v1__spawn_agent", agent_type=HELPER, message=CHORE)
_CODEX_WAIT = call("multi_agent_v1__wait_agent", targets=["@{agent}"], timeout_ms=30_000)


def _patch(*lines: str) -> Call:
    return call("apply_patch", input="\n".join(("*** Begin Patch", *lines, "*** End Patch", "")))


HANDS: Mapping[str, Hands] = {
    "opencode": Hands(
        write=lambda path, text: call("write", filePath=path, content=text),
        read=lambda path: call("read", filePath=path),
        edit=lambda path, old, new: call("edit", filePath=path, oldString=old, newString=new),
        run=lambda command: call("bash", command=command, description="as the user asked"),
        delegate=(turn("delegate", _OPENCODE_HELP),),
    ),
    "codex": Hands(
        write=lambda path, text: _patch(f"*** Add File: {path}", *(f"+{line}" for line in text.splitlines())),
        read=lambda path: call("exec_command", cmd=f"cat {path}"),
        edit=lambda path, old, new: _patch(f"*** Update File: {path}", "@@", f"-{old}", f"+{new}"),
        run=lambda command: call("exec_command", cmd=command),
        delegate=(
            turn("delegate", _CODEX_HELP),
            turn("wait", _CODEX_WAIT, match={"tool_result_matches": '"agent_id": *"(?P<agent>[^"]+)"'}),
        ),
    ),
    "claude": Hands(
        write=lambda path, text: call("Write", file_path=path, content=text),
        read=lambda path: call("Read", file_path=path),
        edit=lambda path, old, new: call("Edit", file_path=path, old_string=old, new_string=new),
        run=lambda command: call("Bash", command=command, description="as the user asked"),
        delegate=(turn("delegate", _CLAUDE_HELP),),
    ),
}

"""Which published chat templates render a conversation with tools, and how each is adapted to it.

The templates are those in the engine's source archive, which scripts/set-up keeps; or *.jinja of a
folder. Each renders a system message, a user's question, an assistant's reasoning, text and two calls,
their results, a late system message and another question. Exit status 1 if one does not.

    scripts/check-templates                     # the archive's, one line each
    scripts/check-templates --write             # and docs/templates.md from it
    scripts/check-templates ~/my-templates
"""

from __future__ import annotations

import argparse
import os
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from bootstrap.places import find_places
from inference.chat import ChatRequest, Message, Reasoning, Tool, ToolCall
from inference.errors import HotseatError
from inference.template_messages import Shape
from inference.template_tool_text import tool_teller
from inference.template_tools import CallForm
from inference.templates import ChatTemplate

_MEMBERS = "/vendor/llama.cpp/models/templates/"
_DOCUMENT = Path("docs") / "templates.md"

_TOOL = Tool(
    name="get_weather",
    description="The weather of a place",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where"},
            "days": {"type": "integer", "minimum": 1},
            "units": {"anyOf": [{"type": "string", "enum": ["C", "F"]}, {"type": "null"}]},
        },
        "required": ["city"],
    },
)
_CALLS = (
    ToolCall(id="call_0001", name="get_weather", arguments='{"city": "Bern", "days": 2}'),
    ToolCall(id="call_0002-long", name="get_weather", arguments='{"city": "Graz"}'),
)
_MESSAGES = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="Rain?"),
    Message(role="assistant", content="Looking.", reasoning="Two places.", tool_calls=_CALLS),
    Message(role="tool", content="wet", tool_call_id=_CALLS[0].id),
    Message(role="tool", content="dry", tool_call_id=_CALLS[1].id),
    Message(role="system", content="Hurry."),
    Message(role="user", content="And?"),
)
_SAID = ("Be brief.", "Rain?", "get_weather", "Bern", "Graz", "wet", "dry", "Hurry.", "And?")

_INTRODUCTION = """\
# Chat templates

Written by `scripts/check-templates --write` from the {count} templates in llama-cpp-python's archive.
Each was asked to render one conversation: system, user, assistant with reasoning, text and two calls, two
results, a late system message, user. {rendered} of {count} render it, with every word of it in the prompt,
except for what the last column names.

*Calls* is the format in which calls are read from the answer; `generic` means that tools, calls and results
are told as text. *Reasoning* is where the template reads the reasoning of earlier messages. *Adapted*: what
is said otherwise than it was sent, because the template would refuse or lose it
(`inference/template_messages.py`).

| template | calls | reasoning | switches | adapted | not shown |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    load_s: float
    format: str = ""
    reasoning: str = ""
    switches: str = ""
    adapted: str = ""
    missing: str = ""
    refusal: str = ""

    def line(self) -> str:
        state = f"unsupported: {self.refusal}" if self.refusal else f"rendered, calls as {self.format}"
        return f"{self.name}: {state}" + (f", not shown: {self.missing}" if self.missing else "")

    def row(self) -> str:
        adapted = f"**unsupported**: {self.refusal}" if self.refusal else self.adapted
        cells = (self.name, self.format, self.reasoning, self.switches, adapted, self.missing)
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') or '–' for cell in cells)} |"


def check(name: str, source: str) -> Outcome:
    began = time.perf_counter()
    try:
        template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")
        load_s = time.perf_counter() - began
        teller = tool_teller(source, template.shape)
        # Asked for, because many templates show reasoning only where it is switched on.
        request = ChatRequest(
            model=name, messages=_MESSAGES, tools=(_TOOL,), reasoning=Reasoning(enabled=True)
        )
        text = template.render(request, teller, all_told=teller.all_told)
    except HotseatError as error:
        return Outcome(name, time.perf_counter() - began, refusal=error.message)
    switches = template.switches
    return Outcome(
        name,
        load_s,
        format=teller.format.name,
        reasoning=template.shape.reasoning or "",
        switches=", ".join((*switches.booleans, *switches.modes, *switches.efforts, *switches.budgets)),
        adapted=", ".join(_adapted(template.shape, all_told=teller.all_told)),
        missing=", ".join(f"“{said}”" for said in (*_SAID, "Looking.") if said not in text),
    )


def _adapted(shape: Shape, *, all_told: bool) -> Iterator[str]:
    if all_told:
        yield "tools, calls and results as text"
    for field in fields(Shape):
        value = getattr(shape, field.name)
        told = all_told and field.name in ("tools", "calls", "results", "several_calls", "text_with_calls")
        if value == field.default or field.name in ("reasoning", "developer_role") or told:
            continue
        if isinstance(value, CallForm):
            yield from (
                _ADAPTED[form.name] for form in fields(CallForm) if getattr(value, form.name) != form.default
            )
        else:
            yield _ADAPTED[field.name]


_ADAPTED = {
    "text_as_parts": "text as a part",
    "tools_as_list": "no tools as an empty list",
    "system_role": "system text in the first user message",
    "several_system": "one system message",
    "late_system": "late system messages as user messages",
    "consecutive_users": "one user message at a time",
    "consecutive_answers": "one assistant message at a time",
    "empty_answers": "no empty assistant messages",
    "user_after_result": "an OK between result and user",
    "tools": "tools in the system message",
    "described_parameters": "every parameter described",
    "calls": "calls as text",
    "results": "results as user messages",
    "several_calls": "one call at a time",
    "text_with_calls": "text before calls as a message",
    "reasoning_with_text": "text beside calls as reasoning",
    "flat": "calls flat",
    "arguments_as_text": "arguments as JSON text",
    "no_text_is_none": "no text is None",
    "long_ids": "ids of nine characters",
}


def _templates(folder: Path | None) -> Iterator[tuple[str, str]]:
    if folder is not None:
        for path in sorted(folder.glob("*.jinja")):
            yield path.stem, path.read_text("utf-8")
        return
    root = Path(__file__).resolve().parents[2]
    archives = sorted(find_places(root, os.environ).sdists.glob("*/llama_cpp_python-*.tar.gz"))
    if not archives:
        sys.exit(
            "check-templates: the engine's source archive is not here: run scripts/set-up, or name a folder"
        )
    with tarfile.open(archives[-1]) as archive:
        found = {
            Path(member.name).stem: member
            for member in archive
            if _MEMBERS in member.name and member.name.endswith(".jinja")
        }
        for name, member in sorted(found.items()):
            if (file := archive.extractfile(member)) is not None:
                yield name, file.read().decode("utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="a folder of *.jinja files")
    parser.add_argument("--write", action="store_true", help=f"write {_DOCUMENT}")
    options = parser.parse_args()
    outcomes = [check(name, source) for name, source in _templates(options.folder)]
    for outcome in outcomes:
        print(outcome.line())
    rendered = sum(not outcome.refusal for outcome in outcomes)
    slowest = max((outcome.load_s for outcome in outcomes), default=0.0)
    print(f"{rendered} of {len(outcomes)} rendered; the slowest took {slowest * 1000:.0f} ms to load")
    if options.write:
        text = _INTRODUCTION.format(count=len(outcomes), rendered=rendered)
        _DOCUMENT.write_text(text + "".join(outcome.row() + "\n" for outcome in outcomes), "utf-8")
    return 0 if rendered == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())

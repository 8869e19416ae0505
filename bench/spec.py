"""A specification in stages: Markdown -> one frozen Spec. Pure.

    # Payments                                  everything outside of stages is told to every stage

    ## Stage: parse                             or "## Stage 1: parse"; a stage ends at the next ## or #
    What is to be done, in prose.

    ### Acceptance                              or "### Acceptance criteria"; nothing but a list
    - Rows with a bad amount are reported. check: `python3 -m pytest -q tests/test_parse.py`
    - The README says how to run it.            without a check: it is listed as unverified

What looks like a stage, a list or a check and is none is an error that names the line: a criterion that was
lost in silence would pass for one that holds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.errors import SpecError

MAX_SPEC_BYTES = 128 * 1024
MAX_STAGES = 50
MAX_ITEMS = 100
MAX_COMMAND_CHARS = 4000
MAX_NAME_CHARS = 40

_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_STAGE = re.compile(r"stage(?:[ \t]+(\d+))?[ \t]*:[ \t]*(.*)", re.IGNORECASE)
_ACCEPTANCE = re.compile(r"acceptance(?:[ \t]+criteria)?:?", re.IGNORECASE)
_ITEM = re.compile(r"(?:[-*+]|\d{1,9}[.)])[ \t]+(?:\[[ xX]\][ \t]+)?(\S.*)")
_CHECK = re.compile(
    r"\bchecks?[ \t]*:[ \t]*(?:(?P<ticks>`+)(?P<command>.+?)(?<!`)(?P=ticks)(?!`))?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Item:
    """One criterion of acceptance. `command` None: nothing but a reader can tell whether it holds."""

    text: str
    command: str | None


@dataclass(frozen=True, slots=True)
class Stage:
    """`number` from 1. `label`: for folders. `text`: its section as written, without the heading."""

    number: int
    name: str
    label: str
    text: str
    items: tuple[Item, ...]

    @property
    def checks(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.command is not None)

    @property
    def digest(self) -> str:
        """Equal as long as nothing that matters to it has been rewritten."""
        return hashlib.sha256(f"{self.name}\n{self.text}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Spec:
    """`title`: of the first heading. `common`: what is outside of the stages."""

    title: str
    common: str
    stages: tuple[Stage, ...]

    def stage(self, wanted: str) -> Stage:
        """By its number or its name. Raises SpecError."""
        for stage in self.stages:
            if wanted.strip().lower() in (str(stage.number), stage.name.lower(), stage.label):
                return stage
        known = ", ".join(f"{stage.number} ({stage.name})" for stage in self.stages)
        raise SpecError(f"there is no stage {wanted!r}: expected one of {known}")


def parse_spec(data: bytes, source: str = "the specification") -> Spec:
    """`source`: what it is called in errors. Raises SpecError."""
    if len(data) > MAX_SPEC_BYTES:
        raise SpecError(f"{source}: {len(data)} bytes, more than {MAX_SPEC_BYTES}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{source}: not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        return _spec(list(_lines(text)))
    except _Wrong as error:
        raise SpecError(
            f"{source}, line {error.line}: {error}" if error.line else f"{source}: {error}"
        ) from None


# --- lines and sections ----------------------------------------------------------------------------


class _Wrong(Exception):
    def __init__(self, line: int, said: str) -> None:
        super().__init__(said)
        self.line = line


@dataclass(frozen=True, slots=True)
class _Line:
    """`level` 0: no heading."""

    number: int
    text: str
    level: int = 0
    heading: str = ""
    in_fence: bool = False


@dataclass(frozen=True, slots=True)
class _Section:
    head: _Line
    body: Sequence[_Line]


def _lines(text: str) -> Iterator[_Line]:
    """What is inside a fence is no heading, whatever it looks like."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        if "\0" in line:
            raise _Wrong(number, "a NUL character: expected text")
        marks = _FENCE.fullmatch(line)
        if fence:
            closes = marks is not None and marks[1].startswith(fence) and not marks[2].strip()
            fence = "" if closes else fence
            yield _Line(number, line, in_fence=True)
        elif marks is not None and not (marks[1][0] == "`" and "`" in marks[2]):
            fence = marks[1]
            yield _Line(number, line, in_fence=True)
        elif (heading := _HEADING.fullmatch(line)) is not None:
            yield _Line(number, line, len(heading[1]), (heading[2] or "").strip())
        else:
            yield _Line(number, line)


def _spec(lines: Sequence[_Line]) -> Spec:
    common, sections = _sections(lines)
    if not sections:
        raise _Wrong(0, 'it has no stages: expected at least one heading "## Stage: NAME"')
    if len(sections) > MAX_STAGES:
        raise _Wrong(sections[MAX_STAGES].head.number, f"more than {MAX_STAGES} stages")
    stages: list[Stage] = []
    for number, section in enumerate(sections, 1):
        stage = _stage(number, section)
        if any(stage.label.partition("-")[2] == other.label.partition("-")[2] for other in stages):
            raise _Wrong(section.head.number, f"two stages are called {stage.name!r}")
        stages.append(stage)
    title = next((line.heading for line in common if line.level), "")
    return Spec(title, _text(common), tuple(stages))


def _sections(lines: Sequence[_Line]) -> tuple[list[_Line], list[_Section]]:
    common: list[_Line] = []
    sections: list[tuple[_Line, list[_Line]]] = []
    is_in_stage = False
    for line in lines:
        if line.level and _STAGE.fullmatch(line.heading):
            if line.level != 2:
                raise _Wrong(line.number, f'a stage is a heading of two "#": found {line.text.strip()!r}')
            sections.append((line, []))
            is_in_stage = True
        elif line.level in (1, 2):
            is_in_stage = False
            common.append(line)
        else:
            (sections[-1][1] if is_in_stage else common).append(line)
    return common, [_Section(head, body) for head, body in sections]


def _text(lines: Sequence[_Line]) -> str:
    return "\n".join(line.text for line in lines).strip()


# --- a stage ---------------------------------------------------------------------------------------


def _stage(number: int, section: _Section) -> Stage:
    head = section.head
    match = _STAGE.fullmatch(head.heading)
    assert match is not None, "sections begin with a stage's heading"
    name = " ".join(match[2].split())
    slug = re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-.")[:MAX_NAME_CHARS].rstrip("-.")
    if not slug:
        raise _Wrong(head.number, f"a stage needs a name with letters or digits, found {name!r}")
    if match[1] is not None and int(match[1]) != number:
        raise _Wrong(head.number, f"stage {number} of the specification is headed stage {match[1]}")
    return Stage(number, name, f"{number}-{slug}", _text(section.body), _items(head, section.body))


def _items(head: _Line, body: Sequence[_Line]) -> tuple[Item, ...]:
    starts = [line for line in body if line.level and _ACCEPTANCE.fullmatch(line.heading)]
    if len(starts) != 1:
        found = "none" if not starts else f"another in line {starts[1].number}"
        raise _Wrong(head.number, f'a stage needs one list under "### Acceptance": found {found}')
    (start,) = starts
    if start.level != 3:
        raise _Wrong(start.number, f'expected "### Acceptance", found {start.text.strip()!r}')
    after = body[list(body).index(start) + 1 :]
    section = after[: next((n for n, line in enumerate(after) if line.level in (1, 2, 3)), len(after))]
    items = tuple(_item(lines) for lines in _listed(section))
    if not 1 <= len(items) <= MAX_ITEMS:
        raise _Wrong(start.number, f"expected 1 to {MAX_ITEMS} items of acceptance, found {len(items)}")
    return items


def _listed(section: Sequence[_Line]) -> list[list[_Line]]:
    """The lines of each item; an indented line goes on with the item before it."""
    items: list[list[_Line]] = []
    for line in section:
        if not line.text.strip():
            continue
        if not line.in_fence and _ITEM.fullmatch(line.text.rstrip()):
            items.append([line])
        elif items and line.text[0] in " \t":
            items[-1].append(line)
        else:
            raise _Wrong(line.number, f'expected an item of a list ("- …"), found {line.text.strip()[:60]!r}')
    return items


def _item(lines: Sequence[_Line]) -> Item:
    match = _ITEM.fullmatch(lines[0].text.rstrip())
    assert match is not None, "an item begins with its mark"
    text = " ".join([match[1], *(line.text.strip() for line in lines[1:])])
    checks = list(_CHECK.finditer(text))
    if not checks:
        return Item(text, None)
    if len(checks) > 1:
        raise _Wrong(lines[0].number, "an item with two checks: make two items of it")
    command = (checks[0]["command"] or "").strip()
    if not command:
        raise _Wrong(lines[0].number, "expected a command in backticks after check:, found none")
    if len(command) > MAX_COMMAND_CHARS:
        raise _Wrong(lines[0].number, f"a check of {len(command)} characters, more than {MAX_COMMAND_CHARS}")
    said = (text[: checks[0].start()] + text[checks[0].end() :]).strip()
    return Item(re.sub(r"\s*[-–—(,;:]*\s*$", "", said) or command, command)

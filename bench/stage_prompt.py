"""What a stage is told: the specification, its own part of it, what came before, and the state file. Pure.

It is told nothing of who did the earlier stages, nor of the later stages more than their names: those are not
its work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.patches import FileChange
from bench.spec import Item, Spec, Stage

MAX_FILES_TOLD = 40
MAX_SAID_CHARS = 800
MAX_FAILED_TOLD = 20


@dataclass(frozen=True, slots=True)
class State:
    """The file that stages hand on. `cut`: it is longer than what is shown of it."""

    name: str
    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """A check that did not pass, of the stage before or an earlier one. `said`: the end of its output."""

    stage: Stage
    item: Item
    said: str


@dataclass(frozen=True, slots=True)
class Before:
    """The outcome of the stage before. `passed` of `checked`: of all checks up to it. `ended`: "" if its
    agent came to an end by itself."""

    stage: Stage
    passed: int
    checked: int
    failed: Sequence[Failed]
    changes: Sequence[FileChange]
    ended: str = ""


def first_state(spec: Spec) -> str:
    """The state file before the first stage."""
    stages = "".join(f"- [ ] {stage.number}. {stage.name}\n" for stage in spec.stages)
    return f"# State\n\nNothing is done yet.\n\n{stages}"


def told(spec: Spec, stage: Stage, state: State, before: Before | None) -> str:
    parts = [_opening(spec, stage, state.name)]
    if spec.common:
        parts.append(f"# What is being built\n\n{_fenced(spec.common)}")
    parts.append(f"# Your stage: {stage.name}\n\n{_fenced(stage.text)}")
    parts.append("# How it will be checked\n\n" + _checks(spec.stages[: stage.number - 1]))
    if before is not None:
        parts.append(_before(before))
    parts.append(_state(state))
    return "\n\n".join(parts) + "\n"


def _opening(spec: Spec, stage: Stage, state_name: str) -> str:
    listed = "\n".join(
        f"{one.number}. {one.name}{'   <- yours' if one is stage else ''}" for one in spec.stages
    )
    return (
        f"You work on stage {stage.number} of {len(spec.stages)} of a project, in the repository in the"
        " current directory. It is as the stage before left it. Do your stage, all of it, and no later one:"
        f"\n\n{listed}\n\n"
        "Whoever does the next stage starts with a fresh context and knows nothing of yours but the"
        f" repository and the file {state_name} in its root. Before you end, bring {state_name} up to date:"
        " what is done, what was decided and why, what is left and what the next stage must know. Keep it"
        " short."
    )


def _checks(earlier: Iterable[Stage]) -> str:
    kept = [f"- {item.text}{_command(item)}" for one in earlier for item in one.checks]
    said = (
        "Everything under Acceptance above must hold when you end. The commands after check: are run in the"
        " root of a copy of the repository, and must end with exit code 0; the rest is read by somebody."
    )
    if not kept:
        return said
    return "\n".join([said, "", "What earlier stages were to reach must go on to hold:", "", *kept])


def _command(item: Item) -> str:
    if item.command is None:
        return ""
    ticks = "`" * (_longest_run(item.command, "`") + 1)
    space = " " if item.command[0] == "`" or item.command[-1] == "`" else ""
    return f" check: {ticks}{space}{item.command}{space}{ticks}"


def _before(before: Before) -> str:
    lines = [f"# What stage {before.stage.number}, {before.stage.name}, left", ""]
    if before.ended:
        lines += [f"Its agent did not come to its end: {before.ended}.", ""]
    if before.checked:
        lines.append(f"Of {before.checked} checks so far {before.passed} passed.")
    else:
        lines.append("No stage so far has a check: nothing of it is verified.")
    for failed in before.failed[:MAX_FAILED_TOLD]:
        lines += ["", f"FAILED, of stage {failed.stage.number}: {failed.item.text}{_command(failed.item)}"]
        if failed.said:
            lines += ["", _fenced(failed.said[-MAX_SAID_CHARS:])]
    if len(before.failed) > MAX_FAILED_TOLD:
        lines += ["", f"And {len(before.failed) - MAX_FAILED_TOLD} more failed."]
    lines += ["", "It changed these files:" if before.changes else "It changed no file."]
    lines += [f"- {file_line(change)}" for change in before.changes[:MAX_FILES_TOLD]]
    if len(before.changes) > MAX_FILES_TOLD:
        lines.append(f"- and {len(before.changes) - MAX_FILES_TOLD} more")
    return "\n".join(lines)


def file_line(change: FileChange) -> str:
    """ "total.py (new): +12 -0"."""
    added = sum(line.startswith("+") for hunk in change.hunks for line in hunk.lines)
    removed = sum(line.startswith("-") for hunk in change.hunks for line in hunk.lines)
    kinds = {"new file mode": "new", "deleted file mode": "deleted", "rename from": "renamed"}
    kind = next(
        (word for start, word in kinds.items() for head in change.headers if head.startswith(start)), ""
    )
    if any(head.startswith(("Binary files", "GIT binary patch")) for head in change.headers):
        return f"{change.path} ({kind or 'changed'}, binary)"
    return f"{change.path}{f' ({kind})' if kind else ''}: +{added} -{removed}"


def _state(state: State) -> str:
    cut = f"\n\n(Only its beginning is shown: read {state.name} for the rest.)" if state.cut else ""
    return f"# {state.name} as it is now\n\n{_fenced(state.text.strip() or '(it is empty)')}{cut}"


def _fenced(text: str) -> str:
    """What others wrote, set off: its headings are not this text's."""
    fence = "`" * max(3, _longest_run(text, "`") + 1)
    return f"{fence}\n{text}\n{fence}"


def _longest_run(text: str, char: str) -> int:
    return max((len(run) for run in re.findall(re.escape(char) + "+", text)), default=0)

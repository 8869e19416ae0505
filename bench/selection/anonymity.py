"""What a judge may see of a candidate: what it does and what it changed, and nothing that tells who made it.
Pure.

Names of harnesses, models, their makers and the configurations are replaced, the same name by the same word
in every candidate of a field. A name that the task or the repository itself uses is a word of the trade there
and stays: it tells nothing, and the code would no longer fit together. Comments and docstrings are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.candidates import Candidate
from bench.patches import changes, without_comments
from bench.selection.prompts import Note, Shown

MIN_NAME_CHARS = 3
"""A configuration called "a" cannot be told from the letter."""

KNOWN_NAMES = (
    "claude-code", "claude", "anthropic", "sonnet", "opus", "haiku", "codex", "openai", "chatgpt", "gpt",
    "opencode", "gemini", "qwen", "glm", "deepseek", "kimi", "mistral", "llama", "grok", "copilot", "cursor",
    "aider", "openrouter",
)  # fmt: skip
_ODD = "name0"
"""For letters that are the same but for their case, and have no lower case that is."""

_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Scrubber:
    """`names`: longest first, each with the word in its place."""

    names: tuple[tuple[str, str], ...]

    def __call__(self, text: str) -> str:
        if not self.names:
            return text
        words = dict(self.names)
        found = "|".join(re.escape(name) for name, _ in self.names)
        pattern = rf"(?<![^\W_])(?:{found})(?![^\W_])"  # not within a word; _ ends one
        return re.sub(pattern, lambda match: words.get(match[0].lower(), _ODD), text, flags=re.IGNORECASE)

    def note(self, note: Note) -> Note:
        return Note(
            score=note.score,
            strengths=tuple(self(one) for one in note.strengths),
            problems=tuple(self(one) for one in note.problems),
            criteria=tuple(
                one.model_copy(update={"criterion": self(one.criterion)}) for one in note.criteria
            ),
        )


def scrubber_for(task: str, candidates: Sequence[Candidate]) -> Scrubber:
    ordinary = _own_words(task, candidates)
    names = sorted({name for one in candidates for name in _names_of(one)} | set(KNOWN_NAMES))
    telling = [
        name
        for name in names
        if len(name) >= MIN_NAME_CHARS and f" {' '.join(_WORD.findall(name))} " not in ordinary
    ]
    replaced = [(name, f"name{number}") for number, name in enumerate(telling, start=1)]
    return Scrubber(tuple(sorted(replaced, key=lambda pair: (-len(pair[0]), pair[0]))))


def _names_of(candidate: Candidate) -> set[str]:
    """In lower case; of "vendor/model" both parts too."""
    result = candidate.result
    said = [result.configuration, result.trial, result.manifest.harness]
    said += [name for pair in result.manifest.models.items() for name in pair]
    said += [node.model for node in result.nodes]
    parts = [part for name in said for part in (name, *name.split("/"))]
    return {part.lower() for part in parts if part}


def _own_words(task: str, candidates: Iterable[Candidate]) -> str:
    """Of the task and of the repository before anybody changed it, each between spaces."""
    lines = [task]
    for one in candidates:
        for change in changes(one.patch):
            lines += [line[1:] for hunk in change.hunks for line in hunk.lines if line[:1] in (" ", "-")]
    return f" {' '.join(_WORD.findall(' '.join(lines).lower()))} "


# --- the field as a judge sees it ------------------------------------------------------------------


def shown_field(candidates: Sequence[Candidate], scrub: Scrubber) -> list[Shown]:
    """Of the probes only those whose outputs differ: where all do the same there is nothing to choose."""
    differing = _differing(candidates)
    return [
        Shown(
            patch=scrub(without_comments(one.patch, with_context=True)),
            probes=tuple(
                (scrub(probe.name), scrub(probe.input), scrub(probe.output))
                for probe in (one.behaviour.probes if one.behaviour else ())
                if probe.name in differing
            ),
        )
        for one in candidates
    ]


def _differing(candidates: Sequence[Candidate]) -> set[str]:
    outputs: dict[str, set[str | None]] = {}
    for one in candidates:
        for probe in one.behaviour.probes if one.behaviour else ():
            outputs.setdefault(probe.name, set()).add(probe.output)
    for one in candidates:
        made = {probe.name for probe in one.behaviour.probes} if one.behaviour else set()
        for name in outputs.keys() - made:
            outputs[name].add(None)
    return {name for name, found in outputs.items() if len(found) > 1}

"""What a race came to: a line for each candidate, what was chosen, and what to do with it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.progress import printable, spell
from bench.race import Race, Size
from bench.results import TrialResult

if TYPE_CHECKING:
    from bench.selection.record import Selection

VISIBLE = "visible"
MAX_WHY_CHARS = 600
_NOT_DONE = ("infrastructure", "verifier-failed")


@dataclass(frozen=True, slots=True)
class Ended:
    """`results` in the order in which the candidates were named; `sizes` of their patches by trial."""

    folder: Path
    race: Race
    results: Sequence[TrialResult]
    sizes: Mapping[str, Size | None]
    selections: Sequence[Selection] | None = None

    @property
    def is_good(self) -> bool:
        """Whether there is a candidate at all."""
        return any(one.outcome not in _NOT_DONE for one in self.results)

    def as_json(self) -> dict[str, Any]:
        selections = [one.model_dump(mode="json") for one in self.selections or ()]
        return {
            "job": str(self.folder),
            "task": self.race.task,
            "repo": self.race.repo,
            "head": self.race.head,
            "limits": list(self.race.limits),
            "baseline": self.race.baseline,
            "candidates": [self._candidate(one) for one in self.results],
            "selections": selections if self.selections is not None else None,
        }

    def _candidate(self, one: TrialResult) -> dict[str, Any]:
        size = self.sizes.get(one.trial)
        return {
            "trial": one.trial,
            "configuration": one.configuration,
            "outcome": one.outcome,
            "validity": one.validity,
            "invalid_because": list(one.invalid_because),
            "error": one.error,
            "reward": one.verified_reward,
            "scores": one.scores,
            "patch": str(self.folder / "trials" / one.trial / "diff.patch") if size else None,
            "files": size.files if size else 0,
            "added": size.added if size else 0,
            "removed": size.removed if size else 0,
            "wall_s": one.wall_s,
            "requests": sum(node.requests for node in one.nodes),
            "tokens": one.tokens.input + one.tokens.output,
            "cost_usd": None if one.cost_usd is None else str(one.cost_usd),
        }

    def text(self) -> str:
        worth = "checks" if self.race.checks else "reward"
        rows = [("candidate", "outcome", worth, *_HEAD), *(self._row(one) for one in self.results)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        lines += [f"{one.configuration}: {_trouble(one)}" for one in self.results if _trouble(one)]
        for selection in self.selections or ():
            lines.append(_chosen(selection))
        lines += self._next()
        return "\n".join(printable(line).rstrip() for line in lines)

    def _row(self, one: TrialResult) -> tuple[str, ...]:
        size = self.sizes.get(one.trial)
        patch = f"+{size.added} -{size.removed} in {size.files}" if size and size.files else "nothing"
        asked = bool(one.run)
        return (
            one.configuration,
            one.outcome if one.validity == "VALID" else f"{one.outcome}, INVALID",
            self._worth(one),
            patch,
            spell(one.wall_s),
            f"{one.tokens.input + one.tokens.output:,}" if asked else "-",
            ("unknown" if one.cost_usd is None else f"{one.cost_usd:.4f}") if asked else "-",
        )

    def _worth(self, one: TrialResult) -> str:
        if one.reward is None:
            return "unknown"
        if one.is_unverified:
            return "unverified"
        if VISIBLE in one.scores and self.race.checks:
            return f"{round(one.scores[VISIBLE] * len(self.race.checks))} of {len(self.race.checks)}"
        return f"{one.reward:.2f}"

    def _next(self) -> list[str]:
        with_patch = [one for one in self.results if (size := self.sizes.get(one.trial)) and size.files]
        if not self.race.repo or not with_patch:
            return []
        chosen = [one.configuration for one in self.selections or () if one.configuration]
        best = max(with_patch, key=lambda one: (one.validity == "VALID", one.reward or 0.0))
        words = ["hotseat", "bench", "apply", str(self.folder), *([] if chosen else [best.configuration])]
        return [f"take one over: {shlex.join(words)}"]


_HEAD = ("patch", "time", "tokens", "dollars")


def _trouble(one: TrialResult) -> str:
    if one.outcome == "infrastructure":
        return one.error or "it could not be run"
    if one.validity == "INVALID":
        return f"INVALID: {(one.invalid_because or ('no reason',))[0]}"
    return one.error


def _chosen(selection: Selection) -> str:
    said = f"{selection.judge}: {selection.decision}"
    said += f" {selection.configuration}" if selection.configuration else ""
    return f"{said}: {' '.join(selection.why.split())}"[:MAX_WHY_CHARS]

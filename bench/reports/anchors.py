"""What the first post found of the seven combinations in April 2026, to stand beside new results. Pure.

One run of each, audited by hand. The numbers are as published, by harness and in the post's order. Where
there are more of them than combinations they cannot be told apart, so none is set against a configuration by
name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.reports.report import AnchorRow, ConfigurationSummary
from bench.reports.words import NONE, percent, plural, usd

PLAN = "akita-2026-04"
DELEGATIONS = "0 of 7 (95 % upper bound 35–41 %)"
TESTS = "24 / 18 / 34"


@dataclass(frozen=True, slots=True)
class _Published:
    harness: str
    minutes: str
    dollars: str


_PUBLISHED = (
    _Published("claude-code", "11.0 / 10.1 / 14.7", "6.74 / 5.13 / 7.83"),
    _Published("opencode", "18.2 / 10.3 / 19.4", "1.10, later corrected to about 7"),
    _Published("codex", "21.9 / 21.2 / 20.2", "about 16 / 11 / 10"),
)


def anchors(configurations: Sequence[ConfigurationSummary]) -> tuple[AnchorRow, ...]:
    rows = [AnchorRow("trials with a delegation", "all", DELEGATIONS, _delegations(configurations))]
    for published in _PUBLISHED:
        here = [found for found in configurations if found.harness == published.harness]
        minutes = "; ".join(f"{found.name} {_minutes(found)}" for found in here)
        dollars = "; ".join(f"{found.name} {_dollars(found)}" for found in here)
        rows.append(AnchorRow("minutes", published.harness, published.minutes, minutes or NONE))
        rows.append(AnchorRow("dollars", published.harness, published.dollars, dollars or NONE))
    rows.append(AnchorRow("tests written", "as published", TESTS, "not counted: hidden checks grade here"))
    return tuple(rows)


def _delegations(configurations: Sequence[ConfigurationSummary]) -> str:
    shares = [found.delegations.share for found in configurations if found.competes]
    with_one, n = sum(share.count for share in shares), sum(share.n for share in shares)
    return f"{with_one} of {plural(n, 'trial')} ({percent(with_one / n)})" if n else NONE


def _minutes(found: ConfigurationSummary) -> str:
    return NONE if found.wall is None else f"{found.wall.median / 60:.1f}"


def _dollars(found: ConfigurationSummary) -> str:
    """A trial's mean, as far as costs are known."""
    known = found.trials - found.cost.unknown_trials
    if not known:
        return "unknown"
    rest = f" ({found.cost.unknown_trials} unknown)" if found.cost.unknown_trials else ""
    return usd(found.cost.known_usd / known) + rest

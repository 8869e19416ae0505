"""Who is compared at all: what fails the checks that anybody could see is left out, and of those that do the
same one stands for all. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.candidates import Candidate, Cluster, Field, clusters
from bench.selection.prompts import MAX_CANDIDATES

VISIBLE = "visible"
"""The score of a trial that says which share of the visible checks passed."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """`compared`: one of each cluster, in the clusters' order. `left_out`: why, by trial; also clusters that
    are too many to compare."""

    compared: tuple[Candidate, ...]
    clusters: tuple[Cluster, ...]
    left_out: Mapping[str, str]


def pruned(field: Field, *, rewards_are_hidden: bool) -> Pruned:
    """`rewards_are_hidden`: rewards are the truth that a selection is measured by, and not to be used."""
    left_out: dict[str, str] = {}
    kept = _working(field.candidates, left_out)
    kept = _passing(kept, left_out, rewards_are_hidden)
    found = clusters(kept)
    for cluster in found[MAX_CANDIDATES:]:
        for one in cluster.candidates:
            left_out[one.result.trial] = f"not compared: {MAX_CANDIDATES} clusters at most are, the largest"
    chosen = tuple(found[:MAX_CANDIDATES])
    return Pruned(tuple(representative(cluster) for cluster in chosen), chosen, left_out)


def representative(cluster: Cluster) -> Candidate:
    """The smallest change says what they do with the least beside it."""
    return min(cluster.candidates, key=lambda one: (len(one.patch), one.name, one.result.trial))


def visible_share(candidate: Candidate, *, rewards_are_hidden: bool) -> float | None:
    """Of the checks that count here."""
    visible = candidate.result.scores.get(VISIBLE)
    return visible if visible is not None or rewards_are_hidden else candidate.result.verified_reward


def _working(candidates: Sequence[Candidate], left_out: dict[str, str]) -> list[Candidate]:
    """Those that were tried and that changed something; those that changed nothing only if all did."""
    tried = [one for one in candidates if one.result.outcome != "infrastructure"]
    left_out |= {
        one.result.trial: "it could not be run"
        for one in candidates
        if one.result.outcome == "infrastructure"
    }
    changed = [one for one in tried if one.patch.strip()]
    if not changed:
        return tried
    left_out |= {one.result.trial: "it changed nothing" for one in tried if not one.patch.strip()}
    return changed


def _passing(
    candidates: Sequence[Candidate], left_out: dict[str, str], rewards_are_hidden: bool
) -> list[Candidate]:
    """Those with the best share of the checks: all of them, if anybody passes all. Where nothing was checked
    of one, nothing can be said against it."""
    shares = {
        one.result.trial: visible_share(one, rewards_are_hidden=rewards_are_hidden) for one in candidates
    }
    best = max((share for share in shares.values() if share is not None), default=None)
    kept = []
    for one in candidates:
        share = shares[one.result.trial]
        if share is None or best is None or share >= best:
            kept.append(one)
        else:
            left_out[one.result.trial] = f"passes {_percent(share)} of the checks; the best {_percent(best)}"
    return kept


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"

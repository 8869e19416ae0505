"""From the folders of jobs, read, to one Report: everything anew from the results. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.candidates import Field
from bench.convergence import Convergence, convergence, repeated
from bench.reports.anchors import PLAN, anchors
from bench.reports.comparison import all_pairs, design_of, not_comparable, pairs_of, ratios_of
from bench.reports.cost_map import maps_of
from bench.reports.evidence_rows import claim_rows, manifest_rows, node_rows, trial_views
from bench.reports.joining import JobResults, Joined, joined
from bench.reports.report import FORMAT, Report
from bench.reports.summary import exclusions, summarise, task_rows
from bench.reports.words import plural

SEED = 0
"""Of the bootstrap: the same results give the same report."""


Side = tuple[int, str]
"""A configuration of a job, by the job's place."""


def report_of(jobs: Sequence[JobResults], wanted: Sequence[tuple[Side, Side]] | None = None) -> Report:
    """`wanted`: the only pairs to compare. Not given: all."""
    found = joined(jobs)
    trials = found.trials
    if wanted is None:
        pairs = all_pairs(trials)
    else:
        pairs = [(found.names[a], found.names[b]) for a, b in wanted]
    configurations = summarise(trials, SEED)
    is_akita = any(info.plan == PLAN for info in found.jobs)
    return Report(
        format=FORMAT,
        title=", ".join(info.name for info in found.jobs) or "no job",
        jobs=found.jobs,
        notes=(*_first_notes(found), *found.notes, *not_comparable(trials, pairs)),
        configurations=configurations,
        tasks=task_rows(trials),
        pairs=pairs_of(trials, pairs, SEED),
        ratios=ratios_of(trials, pairs),
        design=design_of(trials),
        nodes=node_rows(trials),
        claims=claim_rows(trials),
        excluded=exclusions(trials),
        manifests=manifest_rows(trials),
        anchors=anchors(configurations) if is_akita else (),
        trials=trial_views(trials),
        maps=maps_of(trials, SEED),
        convergence=_convergence(found.fields),
        selections=tuple(job.selection for job in jobs if job.selection is not None),
    )


def _convergence(fields: Sequence[Field]) -> tuple[Convergence, ...]:
    """Of several configurations at one attempt; then of each at several attempts."""
    several = [convergence(field) for field in fields if len(field.candidates) > 1]
    return (*several, *repeated(fields))


def _first_notes(found: Joined) -> list[str]:
    if not found.trials:
        return ["There are no results: no trial has come to its end."]
    left_out = sum(not trial.result.counts for trial in found.trials)
    if not left_out:
        return []
    return [f"Left out: {left_out:,} of {plural(len(found.trials), 'trial')}, see Validity."]

"""What the wire and the harnesses say, added up: agents by role and model, claims, manifests, and each trial
with its requests. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from bench.evidence import Row
from bench.reports.joining import Trial
from bench.reports.report import ClaimRow, ManifestRow, NodeRow, Span, TrialView
from bench.reports.summary import cost_of
from bench.results import Manifest, NodeTotals, Role, Tokens, TrialResult

ROLES: tuple[Role, ...] = ("main", "subagent", "auxiliary", "unattributed")
HASH_CHARS = 12


def node_rows(trials: Sequence[Trial]) -> tuple[NodeRow, ...]:
    groups: dict[tuple[str, int, str, str], list[tuple[int, NodeTotals]]] = {}
    for number, trial in enumerate(trials):
        for node in trial.result.nodes:
            key = (trial.configuration, ROLES.index(node.role), node.model, node.upstream)
            groups.setdefault(key, []).append((number, node))
    return tuple(_node_row(key[0], group) for key, group in sorted(groups.items(), key=lambda item: item[0]))


def _node_row(configuration: str, group: Sequence[tuple[int, NodeTotals]]) -> NodeRow:
    nodes = [node for _, node in group]
    costs = [node.cost_usd for node in nodes if node.cost_usd is not None]
    return NodeRow(
        configuration=configuration,
        role=nodes[0].role,
        model=nodes[0].model,
        upstream=nodes[0].upstream,
        trials=len({number for number, _ in group}),
        agents=len({(number, node.node) for number, node in group}),
        requests=sum(node.requests for node in nodes),
        failed_requests=sum(node.failed_requests for node in nodes),
        tool_calls=sum(node.tool_calls for node in nodes),
        tokens=sum((node.tokens for node in nodes), Tokens()),
        cost_usd=sum(costs, Decimal(0)) if len(costs) == len(nodes) else None,
        busy_s=sum(node.busy_s for node in nodes),
        waited_s=sum(node.waited_s for node in nodes),
    )


# --- claims ---------------------------------------------------------------------------------------


def claim_rows(trials: Iterable[Trial]) -> tuple[ClaimRow, ...]:
    """By harness and its version. Trials that never reached a harness claim nothing and are not counted."""
    groups: dict[tuple[str, str], list[TrialResult]] = {}
    for trial in trials:
        if trial.result.claimed.tokens:
            manifest = trial.result.manifest
            groups.setdefault((manifest.harness, manifest.harness_version), []).append(trial.result)
    return tuple(row for key, results in sorted(groups.items()) for row in _claims(*key, results))


def _claims(harness: str, version: str, results: Sequence[TrialResult]) -> list[ClaimRow]:
    rows = []
    for name in Tokens.model_fields:
        gaps = [result.claimed.tokens[name] for result in results if name in result.claimed.tokens]
        said = [(Decimal(gap.wire), Decimal(gap.claimed)) for gap in gaps if gap.claimed is not None]
        rows.append(_claim(harness, version, name, said, len(results)))
    delegations = [(Decimal(r.delegations), Decimal(r.claimed.delegations)) for r in results]
    costs = [
        (cost, claimed)
        for result in results
        if (cost := cost_of(result)) is not None and (claimed := result.claimed.cost_usd) is not None
    ]
    rows.append(_claim(harness, version, "delegations", delegations, len(results)))
    rows.append(_claim(harness, version, "usd", costs, len(results)))
    return rows


def _claim(
    harness: str, version: str, what: str, said: Sequence[tuple[Decimal, Decimal]], trials: int
) -> ClaimRow:
    return ClaimRow(
        harness=harness,
        version=version,
        what=what,
        trials=len(said),
        silent=trials - len(said),
        wire=sum((wire for wire, _ in said), Decimal(0)),
        claimed=sum((claimed for _, claimed in said), Decimal(0)),
        differing=sum(wire != claimed for wire, claimed in said),
    )


# --- manifests ------------------------------------------------------------------------------------


def manifest_rows(trials: Iterable[Trial]) -> tuple[ManifestRow, ...]:
    """Every value of every key: a key with two values is a difference that nobody chose. What the task alone
    decides (its prompt) is not among them: it differs from task to task."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for trial in trials:
        for key, value in _facts(trial.result.manifest, trial.result.policy).items():
            counts.setdefault((trial.configuration, key), Counter())[value] += 1
    return tuple(
        ManifestRow(configuration, key, tuple(sorted(values.items())))
        for (configuration, key), values in counts.items()
    )


def _facts(manifest: Manifest, policy: str) -> dict[str, str]:
    harness = f"{manifest.harness} {manifest.harness_version}".strip()
    facts = {
        "Hotseat": manifest.hotseat,
        "harness": harness,
        "policy": policy,
        "engine": manifest.engine,
        "price book": manifest.price_book,
        "isolation": manifest.isolation,
        "cache": manifest.cache,
        "context cap": "" if manifest.context_cap is None else str(manifest.context_cap),
        "providers": "replayed" if manifest.replay else "recorded" if manifest.recording else "",
    }
    groups: tuple[tuple[str, Mapping[str, object]], ...] = (
        ("model", _shortened(manifest.models)),
        ("context", manifest.context),
        ("slots", manifest.slots),
        ("told as", manifest.aliases),
        ("sampling", manifest.sampling),
        ("sampling where silent", manifest.sampling_defaults),
        ("system prompt", _shortened(manifest.system_sha)),
        ("tools' text", _shortened(manifest.tools_sha)),
    )
    for title, group in groups:
        facts |= {f"{title}: {name}": str(value) for name, value in sorted(group.items())}
    return {key: value for key, value in facts.items() if value}


def _shortened(hashes: Mapping[str, str]) -> dict[str, str]:
    """A SHA-256 by its first digits, also one that says of what it is; a provider's id as it is."""
    return {name: _short(text) for name, text in hashes.items()}


def _short(text: str) -> str:
    kind, colon, digits = text.rpartition(":")
    return f"{kind}{colon}{digits[:HASH_CHARS]}" if _is_sha(digits) else text


def _is_sha(text: str) -> bool:
    return len(text) == 64 and not text.strip("0123456789abcdef")


# --- trials ---------------------------------------------------------------------------------------


def trial_views(trials: Iterable[Trial]) -> tuple[TrialView, ...]:
    return tuple(_view(trial, trial.result) for trial in trials)


def _view(trial: Trial, result: TrialResult) -> TrialView:
    return TrialView(
        trial=result.trial,
        job=trial.job,
        task=trial.task,
        configuration=trial.configuration,
        attempt=result.attempt,
        outcome=result.outcome,
        why_ended=result.why_ended,
        error=result.error,
        validity=result.validity,
        invalid_because=result.invalid_because,
        is_counted=result.counts,
        reward=result.verified_reward,
        wall_s=result.wall_s,
        active_s=result.active_s,
        cost_usd=cost_of(result),
        delegations=result.delegations,
        findings=result.findings,
        nodes=result.nodes,
        spans=trial.spans,
    )


def spans_of(rows: Sequence[Row], result: TrialResult) -> tuple[Span, ...]:
    """A trial's rows on the clock of its nodes, whose first second is the first row's."""
    if not rows or not result.nodes:
        return ()
    begun_at = min(row.started_at for row in rows) - min(node.first_s for node in result.nodes)
    return tuple(
        Span(
            node=row.node,
            role=row.role,
            model=row.model,
            upstream=row.upstream,
            start_s=row.started_at - begun_at,
            answers_s=min(row.started_at + row.waited_s, row.ended_at) - begun_at,
            end_s=row.ended_at - begun_at,
            is_answered=row.is_answered,
        )
        for row in sorted(rows, key=lambda row: row.started_at)
    )

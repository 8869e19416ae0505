"""Traffic for simulations: patterns of requests, as a trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from inference.request_trace import TracedRequest

HAMMERING_CLIENTS = 2
OTHERS_SHARE = 8
SESSION_TURNS_PER_SUBAGENT = 4

Pattern = Callable[[Sequence[str], int, Random], list[TracedRequest]]


def interleaved(models: Sequence[str], n: int, rng: Random) -> list[TracedRequest]:
    """All at once, the models in turn: what each policy makes of a backlog."""
    return [TracedRequest(0.0, models[i % len(models)], _service_s(rng, 1.0)) for i in range(n)]


def hammer(models: Sequence[str], n: int, rng: Random) -> list[TracedRequest]:
    """Clients of the first model that never pause, and every few seconds a request for another one."""
    n_others = n // OTHERS_SHARE
    requests = [
        TracedRequest(0.0, models[0], _service_s(rng, 1.0), client=f"hammer-{i % HAMMERING_CLIENTS}")
        for i in range(n - n_others)
    ]
    others = models[1:] or models
    gap_s = n / HAMMERING_CLIENTS / (n_others + 1)
    requests += [
        TracedRequest((i + 1) * gap_s, others[i % len(others)], _service_s(rng, 1.0)) for i in range(n_others)
    ]
    return requests


def sessions(models: Sequence[str], n: int, rng: Random) -> list[TracedRequest]:
    """Harnesses: each waits for its answer, runs a tool, asks again; now and then a subagent's model."""
    requests = []
    n_clients = max(1, n // 40)
    for i in range(n):
        client = i % n_clients
        turn = i // n_clients
        is_subagent = turn % (SESSION_TURNS_PER_SUBAGENT + 1) == SESSION_TURNS_PER_SUBAGENT
        model = models[(client + is_subagent) % len(models)]
        at_s = turn * 12.0 + rng.uniform(0.0, 6.0)
        requests.append(TracedRequest(at_s, model, _service_s(rng, 6.0), client=f"session-{client}"))
    return requests


def mixed(models: Sequence[str], n: int, rng: Random) -> list[TracedRequest]:
    """Strangers at random, the first model wanted most."""
    weights = [1.0 / (rank + 1) for rank in range(len(models))]
    requests = []
    at_s = 0.0
    for _ in range(n):
        at_s += rng.expovariate(0.5)
        requests.append(TracedRequest(at_s, rng.choices(models, weights)[0], _service_s(rng, 2.0)))
    return requests


PATTERNS: dict[str, Pattern] = {
    "interleaved": interleaved,
    "hammer": hammer,
    "sessions": sessions,
    "mixed": mixed,
}


def _service_s(rng: Random, mean_s: float) -> float:
    """Between half and one and a half times the mean, in milliseconds: answers differ in length."""
    return round(rng.uniform(0.5, 1.5) * mean_s, 3)

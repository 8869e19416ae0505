"""What `hotseat serve` prints when it answers: address, memory, models, and a call to try. Pure."""

from __future__ import annotations

import json

from proxy.auth import WILDCARDS
from proxy.inventory import Surveyed
from proxy.server import Serving
from proxy.units import format_bytes


def banner(serving: Serving) -> str:
    device, budget = serving.device, serving.budget_bytes
    memory = f"{format_bytes(device.free_bytes)} of {format_bytes(device.total_bytes)} free"
    everywhere = serving.config.server.host in WILDCARDS
    lines = [
        f"Hotseat serves {serving.url}" + (", and every address of this machine" if everywhere else ""),
        f"{device.kind} {device.name}: {memory}, budget {format_bytes(budget)}",
        *([serving.device_note] if serving.device_note else []),
        f"models of {serving.config.path}:",
        *(_model_line(found, budget) for found in serving.surveyed),
        _try_line(serving),
    ]
    return "\n".join(lines)


def _model_line(found: Surveyed, budget: int) -> str:
    spec = found.entry.spec
    if found.problem is not None:
        return f"  {spec.name}: {found.state}"
    fits = "" if found.estimated_bytes <= budget else ", more than the budget"
    context = f"{spec.n_ctx} tokens × {spec.slots} slot{'' if spec.slots == 1 else 's'}"
    return f"  {spec.name}: {context}, {format_bytes(found.estimated_bytes)}{fits}"


def _try_line(serving: Serving) -> str:
    """A curl command that works as it stands, if any model can answer it."""
    usable = [
        found.entry.spec
        for found in serving.surveyed
        if found.problem is None and found.estimated_bytes <= serving.budget_bytes
    ]
    if not usable:
        return "No model can be served: `hotseat doctor` says why."
    spec = min(usable, key=lambda spec: spec.embeddings)  # one that talks, if there is one
    path, question = (
        ("embeddings", {"input": "Hello."})
        if spec.embeddings
        else ("chat/completions", {"messages": [{"role": "user", "content": "Say hello."}]})
    )
    key = ' -H "authorization: Bearer $HOTSEAT_API_KEY"' if serving.config.server.api_keys else ""
    body = json.dumps({"model": spec.name, **question})
    return f"Try:\n  curl {serving.url}/v1/{path} -H 'content-type: application/json'{key} -d '{body}'"

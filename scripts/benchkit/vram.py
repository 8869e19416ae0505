"""Estimated memory beside the dry run's, for generated models of real sizes and the demo models.

The estimate comes from the file's header alone. The dry run is llama.cpp itself, making the same
model and context without weights or KV cache, and logging its compute, output and recurrent
buffers. Weights and KV cache are the estimate's in both totals: a dry run logs none, and
tests/inference/test_vram_log.py holds them equal to the log of real loads. A generated model is a
file of the right size with nothing in it, so 18 GB of weights cost no disk.

Prints one JSON line per model and setting (ratio of the totals, ratio of the compute buffers, bytes)
and one with the worst deviation; a table on stderr. What is further off than 2 % is marked, and
what has no dry run is listed with the reason and counts as a failure: exit status 1 for both.

Examples:
    scripts/bench-vram
    scripts/bench-vram --only gemma3 --settings default,long
    scripts/bench-vram --limit 0.01
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchkit.figures import figure, machine, note
from benchkit.peers import demo_model
from inference.buffer_sizes import corrected
from inference.dry_run import NoDryRun, dry_run
from inference.gguf import read_header
from inference.model_spec import ModelSpec
from inference.vram import MemoryEstimate, estimate
from tests.inference import gguf_models

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {"n_ctx": 4096},
    "4 slots": {"n_ctx": 4096, "slots": 4},
    "4 slots, unified": {"n_ctx": 4096, "slots": 4, "kv_unified": True},
    "long": {"n_ctx": 32768, "n_ubatch": 512},
    "long, q8_0": {"n_ctx": 32768, "n_ubatch": 512, "kv_type": "q8_0"},
    "q8_0": {"n_ctx": 4096, "kv_type": "q8_0"},
    "f32": {"n_ctx": 4096, "kv_type": "f32"},
    "no flash attention": {"n_ctx": 4096, "flash_attn": False},
    "small batch": {"n_ctx": 4096, "n_ubatch": 32},
    "full windows": {"n_ctx": 8192, "slots": 2, "swa_full": True},
}
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Compared:
    model: str
    setting: str
    estimated: MemoryEstimate
    dry: MemoryEstimate
    seconds: float

    @property
    def ratio(self) -> float:
        return self.estimated.total_bytes / self.dry.total_bytes

    @property
    def compute_ratio(self) -> float:
        return self.estimated.compute_bytes / self.dry.compute_bytes


@click.command(help=__doc__)
@click.option("--only", default="", help="Models whose name contains this.")
@click.option("--settings", default=",".join(SETTINGS), help="Default: all of them.")
@click.option("--limit", default=0.02, show_default=True, help="Deviation of the total that is a failure.")
def main(only: str, settings: str, limit: float) -> None:
    chosen = _chosen(settings)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: path for name, path in _files(Path(folder)) if only in name}
        if not files:
            raise click.BadParameter(f"no model's name contains {only!r}", param_hint="--only")
        compared, failed = asyncio.run(_compare_all(files, chosen))
    report(compared, failed, limit)
    is_good = compared and not failed and all(abs(c.ratio - 1) <= limit for c in compared)
    sys.exit(0 if is_good else 1)


def _chosen(settings: str) -> list[str]:
    """Setting names may hold commas themselves: the longest that fits is meant."""
    rest, found = settings, []
    while rest:
        name = max((n for n in SETTINGS if rest == n or rest.startswith(f"{n},")), key=len, default=None)
        if name is None:
            raise click.BadParameter(f"expected some of: {'; '.join(SETTINGS)}", param_hint="--settings")
        found.append(name)
        rest = rest.removeprefix(name).removeprefix(",")
    return found


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for name, model in gguf_models.REAL_SIZES.items():
        file = folder / f"{name}.gguf"
        yield name, gguf_models.write(gguf_models.without_vocabulary(model), file, weights=False)
    for name in ("smollm2", "gemma3"):
        yield f"{name} (demo)", demo_model(name)


async def _compare_all(files: dict[str, Path], settings: list[str]) -> tuple[list[Compared], list[str]]:
    compared: list[Compared] = []
    failed: list[str] = []
    for model, path in files.items():
        header = read_header(path)
        for setting in settings:
            spec = ModelSpec(**{"name": model, "path": str(path), "slots": 1, **SETTINGS[setting]})
            estimated = estimate(header, spec, offload=False)
            started_s = time.perf_counter()
            found = await dry_run(spec)
            if isinstance(found, NoDryRun):
                failed.append(f"{model}, {setting}: no dry run: {found.reason}")
                continue
            dry = corrected(estimated, found, offload=False)
            compared.append(Compared(model, setting, estimated, dry, time.perf_counter() - started_s))
    return compared, failed


def report(compared: list[Compared], failed: list[str], limit: float) -> None:
    head = f"{'model':18} {'setting':20} {'estimated':>10} {'dry run':>10} {'ratio':>7} {'compute':>19}"
    note(f"{head}   (MiB)")
    for c in compared:
        mark = "" if abs(c.ratio - 1) <= limit else f"  <-- outside {limit:.0%}"
        compute = f"{c.estimated.compute_bytes / MIB:.1f}/{c.dry.compute_bytes / MIB:.1f}"
        totals = f"{c.estimated.total_bytes / MIB:10.1f} {c.dry.total_bytes / MIB:10.1f}"
        note(
            f"{c.model:18} {c.setting:20} {totals} {c.ratio:7.4f} {compute:>13} {c.compute_ratio:5.3f}{mark}"
        )
        figure(
            "estimate_to_dry_run",
            c.ratio,
            "ratio",
            model=c.model,
            setting=c.setting,
            within_limit=abs(c.ratio - 1) <= limit,
            estimated_bytes=c.estimated.total_bytes,
            dry_run_bytes=c.dry.total_bytes,
            compute_ratio=round(c.compute_ratio, 4),
            estimated_compute_bytes=c.estimated.compute_bytes,
            dry_run_compute_bytes=c.dry.compute_bytes,
            dry_run_s=round(c.seconds, 2),
        )
    for line in failed:
        note(line)
    if compared:
        figure(
            "worst_deviation_from_dry_run",
            max(abs(c.ratio - 1) for c in compared),
            "share",
            cases=len(compared),
            outside_limit=sum(abs(c.ratio - 1) > limit for c in compared),
            without_dry_run=failed,
            limit=limit,
            **machine(),
        )


if __name__ == "__main__":
    main()

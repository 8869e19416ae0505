"""Estimates against the log of the installed llama.cpp: a new engine version that keeps its caches
differently fails here first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inference.gguf import read_header
from inference.model_spec import ModelSpec
from inference.vram import estimate
from tests.inference import gguf_models

REPOSITORY = Path(__file__).parents[2]
MIB = 1024 * 1024

MODELS = {
    "llama": gguf_models.llama(),
    "llama tied": gguf_models.llama(tied=True),
    "gemma3": gguf_models.gemma3(),
    "qwen35moe": gguf_models.qwen35moe(),
    "qwen35moe mtp": gguf_models.qwen35moe(mtp_layers=1),
    "deepseek2": gguf_models.deepseek2(),
}
SETTINGS: list[dict[str, Any]] = [
    {"n_ctx": 700},
    {"n_ctx": 1000, "slots": 3},
    {"n_ctx": 1000, "slots": 3, "kv_unified": True},
    {"n_ctx": 1024, "slots": 2, "kv_type": "q8_0", "n_ubatch": 128},
    {"n_ctx": 1024, "slots": 2, "flash_attn": False, "swa_full": True},
]


def test_estimates_equal_the_log_of_the_installed_engine(tmp_path: Path) -> None:
    cases: list[tuple[str, dict[str, Any]]] = []
    for name, model in MODELS.items():
        written = gguf_models.write(model, tmp_path / f"{name}.gguf")
        cases += [(str(written), settings) for settings in SETTINGS]
    run = subprocess.run(
        [sys.executable, "-m", "tests.inference.llama_log"],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    logged = [json.loads(line) for line in run.stdout.splitlines()]
    for (path, settings), found in zip(cases, logged, strict=True):
        spec = ModelSpec(**{"name": "m", "path": path, "slots": 1, **settings})
        expected = estimate(read_header(path), spec, offload=False)
        case = f"{Path(path).name} {settings}"
        assert found["weights"] == pytest.approx(expected.weights_bytes / MIB, abs=0.02), case
        assert found["kv"] == pytest.approx(expected.kv_bytes / MIB, abs=0.011), case
        assert found["recurrent"] == pytest.approx(expected.recurrent_bytes / MIB, abs=0.006), case
        assert found["output"] == pytest.approx(expected.output_bytes / MIB, abs=0.006), case
        assert 0.98 * found["compute"] <= expected.compute_bytes / MIB <= 1.25 * found["compute"], case

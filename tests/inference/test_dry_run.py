"""Dry runs in processes of their own: the engine's on real files, and what becomes of bad ones."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from inference.buffer_sizes import Buffer, corrected
from inference.dry_run import MAX_ANSWER_BYTES, NoDryRun, dry_run
from inference.gguf import read_header
from inference.model_spec import ModelSpec
from inference.vram import estimate
from tests.inference import gguf_models
from tests.inference.gguf_models import GgufModel

REPOSITORY = Path(__file__).parents[2]
SPEC = ModelSpec(name="m", path="/nowhere/m.gguf")


def scripted(code: str, timeout_s: int = 30) -> tuple[Buffer, ...] | NoDryRun:
    """A dry run whose process is a few lines of Python; argv[1] is the spec, argv[2] the seconds."""
    command = [sys.executable, "-c", f"import os, signal, sys, time\n{code}"]
    return asyncio.run(dry_run(SPEC, timeout_s=timeout_s, command=command))


def reason(result: tuple[Buffer, ...] | NoDryRun) -> str:
    assert isinstance(result, NoDryRun)
    return result.reason


def test_the_answer_is_read() -> None:
    code = """print('[{"device": "CPU", "kind": "compute", "n_bytes": 7}]')"""
    assert scripted(code) == (Buffer("CPU", "compute", 7),)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param("os.abort()", "it died of SIGABRT", id="crash"),
        pytest.param(
            "sys.stderr.write('GGML_ASSERT(x) failed\\n'); os.abort()", "GGML_ASSERT(x) failed", id="assert"
        ),
        pytest.param("sys.exit(3)", "it ended with exit code 3", id="silent refusal"),
        pytest.param("print('{')", "its answer cannot be read", id="not JSON"),
        pytest.param("print('[{\"device\": 7}]')", "its answer cannot be read", id="wrong types"),
        pytest.param("pass", "its answer cannot be read", id="no answer"),
        pytest.param(f"print('x' * {3 * MAX_ANSWER_BYTES})", "it printed more than", id="too long an answer"),
        pytest.param("sys.stderr.write('noise\\n' * 100_000)", "its answer cannot be read", id="long log"),
    ],
)
def test_a_process_that_fails_is_a_reason_and_no_error(code: str, expected: str) -> None:
    assert expected in reason(scripted(code))


def test_a_command_that_is_not_there() -> None:
    assert "cannot be started" in reason(asyncio.run(dry_run(SPEC, command=["/nowhere/python"])))


def test_one_that_hangs_is_ended_in_time(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    pid_file.write_text("0")  # what it stays if the machine is so busy that Python does not start in time
    code = f"open({str(pid_file)!r}, 'w').write(str(os.getpid())); signal.pause()"
    command = [sys.executable, "-c", f"import os, signal\n{code}"]

    async def main() -> tuple[Buffer, ...] | NoDryRun:
        async with asyncio.timeout(20):
            return await dry_run(SPEC, timeout_s=1, command=command)

    assert reason(asyncio.run(main())) == "no answer within 1 s"
    assert not psutil.pid_exists(int(pid_file.read_text() or "0"))


def test_cancelling_it_ends_the_process(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = f"import os, signal\nopen({str(fifo)!r}, 'w').write(str(os.getpid()))\nsignal.pause()"

    async def main() -> int:
        task = asyncio.create_task(dry_run(SPEC, command=[sys.executable, "-c", code]))
        pid = int(await asyncio.to_thread(fifo.read_text))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid

    assert not psutil.pid_exists(asyncio.run(main()))


def test_no_key_reaches_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTSEAT_API_KEY", "canary")
    monkeypatch.setenv("OPENROUTER_API_KEY", "canary")
    code = "found = [v for v in os.environ.values() if 'canary' in v]\n"
    code += "sys.stderr.write(f'failed with {found}'); sys.exit(1)"
    assert reason(scripted(code)) == "failed with []"


# --- the engine's ----------------------------------------------------------------------------------

CASES: list[tuple[str, GgufModel, dict[str, Any]]] = [
    ("llama", gguf_models.llama(), {"slots": 3, "n_ctx": 1000}),
    ("gemma3", gguf_models.gemma3(), {"n_ctx": 2048, "kv_type": "q8_0"}),
    ("qwen35moe", gguf_models.qwen35moe(), {"slots": 2, "n_ctx": 1024, "kv_unified": True}),
    ("deepseek2", gguf_models.deepseek2(), {"n_ctx": 1024, "flash_attn": False}),
]


@pytest.mark.parametrize(("model", "settings"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_dry_run_equals_the_log_of_a_load(
    model: GgufModel, settings: dict[str, Any], tmp_path: Path
) -> None:
    """The load is made by other code, with parameters written out there."""
    path = gguf_models.write(model, tmp_path / "m.gguf")
    fields = {"slots": 1, **settings}
    spec = ModelSpec(**{"name": "m", "path": str(path), **fields})
    buffers = asyncio.run(dry_run(spec))
    assert not isinstance(buffers, NoDryRun), buffers
    load = subprocess.run(
        [sys.executable, "-m", "tests.inference.llama_log"],
        input=json.dumps([[str(path), {"n_batch": spec.n_batch, "n_ubatch": spec.n_ubatch, **fields}]]),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=60,
        check=True,
    )
    logged = json.loads(load.stdout)
    for kind in ("compute", "recurrent", "output"):
        found = sum(buffer.n_bytes for buffer in buffers if buffer.kind == kind)
        assert found / 2**20 == pytest.approx(logged[kind], abs=0.006), kind


def test_a_model_of_a_real_size_takes_no_memory(tmp_path: Path) -> None:
    """18 GB of weights in a file without content; the estimate is within 2 % of the dry run."""
    model = gguf_models.without_vocabulary(gguf_models.QWEN35_35B)
    path = gguf_models.write(model, tmp_path / "m.gguf", weights=False)
    spec = ModelSpec(name="m", path=str(path), n_ctx=32768, slots=2)
    buffers = asyncio.run(dry_run(spec))
    assert not isinstance(buffers, NoDryRun), buffers
    estimated = estimate(read_header(path), spec, offload=False)
    total = corrected(estimated, buffers, offload=False).total_bytes
    assert estimated.weights_bytes > 17 * 2**30
    assert estimated.total_bytes == pytest.approx(total, rel=0.02)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 64, b"x" * 1000])
def test_a_hostile_file_gives_a_reason(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert reason(asyncio.run(dry_run(ModelSpec(name="m", path=str(path)))))


def test_the_kernel_bounds_it_without_its_parent(tmp_path: Path) -> None:
    """A file that never comes: nobody but SIGALRM ends this process."""
    fifo = tmp_path / "m.gguf"
    os.mkfifo(fifo)
    spec = json.dumps({"name": "m", "path": str(fifo)})
    run = subprocess.run(
        [sys.executable, "-m", "inference.engines.llama_dry_run", spec, "1"],
        cwd=REPOSITORY,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == -14  # SIGALRM

"""What scripts/bench-gpu and scripts/bench-vram decide before they measure."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from benchkit import gpu, vram
from inference.vram import MemoryEstimate
from proxy.doctor import EngineProbe


@pytest.mark.parametrize("device", ["cpu", "cuda:999"])
def test_without_a_gpu_each_figure_is_skipped_with_the_reason_and_nothing_fails(device: str) -> None:
    name, why = gpu.find_gpu(device, EngineProbe(gpu=True))
    assert name == ""
    assert why
    result = CliRunner().invoke(gpu.main, ["--device", device])
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["figure"] for line in lines] == list(gpu.FIGURES)
    assert {line["skipped"] for line in lines} == {why}
    assert "nothing measured" in result.stderr


def test_settings_are_named_as_the_table_names_them() -> None:
    assert vram._chosen("long, q8_0,default,4 slots, unified,4 slots") == [
        *("long, q8_0", "default", "4 slots, unified", "4 slots"),
    ]
    assert vram._chosen(",".join(vram.SETTINGS)) == list(vram.SETTINGS)
    with pytest.raises(click.BadParameter, match="expected some of"):
        vram._chosen("default,huge")


def test_what_is_outside_the_limit_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    near = vram.Compared("m", "near", MemoryEstimate(900, 99, 0, 20), MemoryEstimate(900, 99, 0, 1), 0.1)
    far = vram.Compared("m", "far", MemoryEstimate(900, 99, 0, 100), MemoryEstimate(900, 99, 0, 1), 0.1)
    vram.report([near, far], ["m, none: no dry run: it crashed"], 0.02)
    shown = capsys.readouterr()
    marked = [line for line in shown.err.splitlines() if "outside 2%" in line]
    assert [line.split()[1] for line in marked] == ["far"]
    assert "it crashed" in shown.err
    first, second, worst = (json.loads(line) for line in shown.out.splitlines())
    assert (first["within_limit"], second["within_limit"]) == (True, False)
    assert (worst["value"], worst["outside_limit"], worst["cases"]) == (0.099, 1, 2)
    assert worst["without_dry_run"] == ["m, none: no dry run: it crashed"]

"""Which of estimate, dry run and measurement admission goes by."""

from __future__ import annotations

import pytest

from inference.footprint import Footprint, footprint


@pytest.mark.parametrize(
    ("estimated", "dry_run", "measured", "on_gpu", "expected"),
    [
        pytest.param(100, None, None, True, Footprint(100, "estimate"), id="estimate alone"),
        pytest.param(100, 90, None, True, Footprint(90, "dry run"), id="dry run replaces the estimate"),
        pytest.param(100, 110, None, False, Footprint(110, "dry run"), id="also upwards"),
        pytest.param(100, 90, 95, True, Footprint(95, "measured"), id="gpu: measured wins"),
        pytest.param(100, 90, 80, True, Footprint(80, "measured"), id="gpu: also downwards"),
        pytest.param(100, None, 80, True, Footprint(80, "measured"), id="gpu: over the estimate"),
        pytest.param(100, 90, 95, False, Footprint(95, "measured"), id="host: measured raises the dry run"),
        pytest.param(100, 90, 80, False, Footprint(90, "dry run"), id="host: resident pages lag"),
        pytest.param(100, None, 80, False, Footprint(100, "estimate"), id="host: lag behind the estimate"),
        pytest.param(100, 90, 90, False, Footprint(90, "dry run"), id="host: the same says nothing new"),
    ],
)
def test_rule(
    estimated: int, dry_run: int | None, measured: int | None, on_gpu: bool, expected: Footprint
) -> None:
    assert footprint(estimated, dry_run, measured, measured_wins=on_gpu) == expected

"""What every test of the benchmark layer stands on: a python3 that starts at once."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _python3_itself() -> Iterator[None]:
    """A version manager's python3 is a shell script, which takes three times as long as what it starts in the
    end; checks and generators start hundreds."""
    found = shutil.which("python3")
    with pytest.MonkeyPatch.context() as patched:
        if found is not None and Path(found).parent.name == "shims":
            own = Path(sys.base_prefix) / "bin"
            patched.setenv("PATH", f"{own}{os.pathsep}{os.environ['PATH']}")
        yield

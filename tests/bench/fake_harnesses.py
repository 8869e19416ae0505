"""Programs called opencode, codex and claude that say a version, or how they were started."""

from __future__ import annotations

from pathlib import Path

from bench.harnesses.installed import pinned

_PROGRAM = """#!/bin/sh
if [ "$1" = --version ]; then {version}; exit; fi
pwd; env | sort
for word; do printf 'argument: %s\\n' "$word"; done
"""


def fake_harnesses(folder: Path, **says: str) -> Path:
    """For HOTSEAT_HARNESSES. `says`: program -> what it runs for --version; else it tells its pin."""
    folder.mkdir()
    for name, version in pinned().items():
        program = folder / name
        program.write_text(_PROGRAM.format(version=says.get(name, f"echo {name} {version}")))
        program.chmod(0o755)
    return folder

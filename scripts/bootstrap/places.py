"""Where set-up puts things.

What belongs to one clone lies in its root; what every clone of this user can share (the built
engine, models, the benchmark peer) lies in Hotseat's home. Everything in both can be fetched or
built again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    root: Path
    home: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def stamp(self) -> Path:
        return self.venv / "hotseat-set-up.json"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def harnesses(self) -> Path:
        return self.root / ".harnesses"

    @property
    def wheels(self) -> Path:
        return self.home / "wheels"

    @property
    def sdists(self) -> Path:
        return self.home / "sdists"

    @property
    def peers(self) -> Path:
        return self.home / "peers"

    @property
    def models(self) -> Path:
        return self.home / "models" / "pypi"

    @property
    def scratch(self) -> Path:
        """Half-made things. Emptied by whoever holds the set-up lock."""
        return self.home / "tmp"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def flock_files(self) -> tuple[Path, Path]:
        """Held during set-up, in this order: one start per clone, one writer per home."""
        return (self.root / ".set-up.lock", self.home / "set-up.lock")


def find_places(root: Path, environ: Mapping[str, str]) -> Places:
    """Home as proxy/model_files.py finds it: $HOTSEAT_HOME, $XDG_CACHE_HOME/hotseat, ~/.cache/hotseat."""
    if configured := environ.get("HOTSEAT_HOME"):
        home = Path(_expand(configured, environ))
    elif cache := environ.get("XDG_CACHE_HOME"):
        home = Path(cache) / "hotseat"
    else:
        home = Path(_expand("~/.cache/hotseat", environ))
    return Places(root.absolute(), home.absolute())


def _expand(path: str, environ: Mapping[str, str]) -> str:
    if path == "~" or path.startswith("~/"):
        return (environ.get("HOME") or str(Path.home())) + path[1:]
    return path

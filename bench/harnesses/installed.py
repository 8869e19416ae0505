"""Which harnesses there are, where their programs lie, which versions they are, and what is known of those.

A program is looked for in $HOTSEAT_HARNESSES (a directory of programs), then in .harnesses/ of the
clone, where scripts/install-harnesses puts the versions that Hotseat is tested with, then in PATH.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from bench.harnesses.base import Harness, Recipe
from bench.harnesses.claude_code import ClaudeCode
from bench.harnesses.codex import Codex
from bench.harnesses.opencode import OpenCode

HARNESSES: Mapping[str, Harness] = {"opencode": OpenCode(), "codex": Codex(), "claude": ClaudeCode()}
"""By the word of `hotseat launch`."""

CLONE = Path(__file__).resolve().parents[2]
VERSION_TIMEOUT_S = 20.0
_VERSION = re.compile(r"\b(\d+\.\d+\.\d+)\b")
_REMEDY = "scripts/install-harnesses"
_PACKAGES = {"opencode": "opencode-ai", "codex": "@openai/codex", "claude": "@anthropic-ai/claude-code"}

Status = Literal["ok", "note", "fail"]


@dataclass(frozen=True, slots=True)
class Installed:
    """A harness's program, or none. `version` "": it did not say."""

    harness: Harness
    path: Path | None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One harness as `hotseat doctor` shows it."""

    status: Status
    text: str
    remedy: str = ""


def find(binary: str, environ: Mapping[str, str], clone: Path = CLONE) -> Path | None:
    """A harness's program. None: there is none."""
    places = [environ.get("HOTSEAT_HARNESSES", ""), str(clone / ".harnesses" / "node_modules" / ".bin")]
    search = os.pathsep.join(place for place in (*places, environ.get("PATH", os.defpath)) if place)
    found = shutil.which(binary, path=search)
    return Path(found).absolute() if found else None


def ask(harness: Harness, environ: Mapping[str, str], clone: Path = CLONE) -> Installed:
    """Find the program and ask its version, in a home of its own: no file of the user is touched."""
    path = find(harness.binary, environ, clone)
    if path is None:
        return Installed(harness, None)
    with TemporaryDirectory(prefix="hotseat-") as home:
        env = {"PATH": environ.get("PATH", os.defpath), "HOME": home, "DISABLE_AUTOUPDATER": "1"}
        try:
            said = subprocess.run(
                [path, "--version"],
                env=env,
                cwd=home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=VERSION_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return Installed(harness, path)
    match = _VERSION.search(said.stdout) if said.returncode == 0 else None
    return Installed(harness, path, match[1] if match else "")


def write_files(recipe: Recipe) -> None:
    """Write what the recipe says, for this user's eyes only; seeds only where nothing is."""
    for path, content in recipe.files.items():
        merge = recipe.merges.get(path)
        _write(path, merge(path.read_text("utf-8"), content) if merge and path.exists() else content)
    for path, content in recipe.seeds.items():
        if not path.exists():
            _write(path, content)


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(content, "utf-8")
    partial.replace(path)  # a harness that reads it now sees the old text or the new


def pinned(clone: Path = CLONE) -> dict[str, str]:
    """Program -> the version that Hotseat is tested with; nothing where the clone's pins are not at hand."""
    try:
        manifest = json.loads((clone / "locks" / "harnesses" / "package.json").read_text("utf-8"))
        return {binary: manifest["dependencies"][name] for binary, name in _PACKAGES.items()}
    except (OSError, ValueError, KeyError):
        return {}


def verdicts(environ: Mapping[str, str], clone: Path = CLONE) -> Iterator[Verdict]:
    """All harnesses, as `hotseat doctor` wants them."""
    with ThreadPoolExecutor(len(HARNESSES)) as pool:  # each takes up to a second to say its version
        for found in pool.map(lambda harness: ask(harness, environ, clone), HARNESSES.values()):
            yield judge(found, pinned(clone))
    yield from _own_codex_config(environ)


def _own_codex_config(environ: Mapping[str, str]) -> Iterator[Verdict]:
    """The user's own configuration, which `hotseat launch` leaves alone, may point Codex here too."""
    home = environ.get("CODEX_HOME") or f"{environ.get('HOME') or Path.home()}/.codex"
    path = Path(home) / "config.toml"
    try:
        providers = tomllib.loads(path.read_text("utf-8")).get("model_providers")
    except (OSError, ValueError):
        return
    for name, provider in providers.items() if isinstance(providers, dict) else ():
        if isinstance(provider, dict) and provider.get("wire_api") == "chat":
            text = f'{path}: provider {name} has wire_api = "chat", which Codex no longer starts with'
            yield Verdict(
                "note", text, 'say "responses", which Hotseat speaks too, or use `hotseat launch codex`'
            )


def judge(found: Installed, pins: Mapping[str, str]) -> Verdict:
    """What is to be said about an installation. A missing harness is no fault: nobody needs all."""
    harness, version = found.harness, found.version
    if found.path is None:
        return Verdict("note", f"{harness.name}: not installed", _REMEDY)
    if not version:
        return Verdict("fail", f"{harness.name}: {found.path} does not start", f"run {_REMEDY}")
    what = f"{harness.name} {version} at {found.path}"
    for problem in _PROBLEMS:
        if problem.binary == harness.binary and _number(version) <= problem.last:
            return Verdict(problem.status, f"{what}: {problem.text}", problem.remedy)
    if pins and version != pins[harness.binary]:
        text = f"{what}: untested, Hotseat is tested with {pins[harness.binary]}"
        return Verdict("note", text, f"{_REMEDY} installs that one beside yours")
    return Verdict("ok", what)


@dataclass(frozen=True, slots=True)
class _Problem:
    """What goes wrong with versions up to `last`."""

    binary: str
    last: tuple[int, ...]
    status: Status
    text: str
    remedy: str


_PROBLEMS = (
    _Problem(
        "claude",
        (2, 1, 197),
        "note",
        "takes any local model for one of 200,000 tokens, and npm chooses it on Node 20 by itself",
        f"{_REMEDY}, or npm install @anthropic-ai/claude-code with the version named: it runs without Node",
    ),
)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))

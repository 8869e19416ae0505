"""The coding harnesses, at the versions of locks/harnesses, into .harnesses/ of the clone.

npm is asked to run no package's script; the two that are needed (they put the native program in
place of a stub) are run here by name. So the outcome does not depend on what this npm's version
allows, and nothing else is executed. Then each program is started once: npm calls an installation
without a platform's program a success.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from bootstrap.commands import run_logged
from bootstrap.failures import CommandFailed, SetupError
from bootstrap.steps import fingerprint
from bootstrap.storage import only_one, replace_text, require_free, scratch_directory
from bootstrap.tools import Tools

_NEEDED_BYTES = 2 * 2**30
_MANIFEST, _LOCK, _STAMP = "package.json", "package-lock.json", "installed.txt"
_REMEDY = "install Node.js 20 or later with npm (Debian, Ubuntu: apt install nodejs npm)"


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    program: str
    script: str | None  # puts the native program in place


PACKAGES = (
    Package("opencode-ai", "opencode", "postinstall.mjs"),
    Package("@openai/codex", "codex", None),
    Package("@anthropic-ai/claude-code", "claude", "install.cjs"),
)


def install_harnesses(tools: Tools) -> None:
    """Raises SetupError unless all three are in place, at the pinned versions, and start."""
    if _is_current(tools):
        return
    require_npm(tools)
    with only_one(tools.places, tools.progress):
        if not _is_current(tools):
            _install(tools)


def install_harnesses_if_possible(tools: Tools) -> None:
    """The same for a test run: without npm it says what will be skipped."""
    if _is_current(tools) or _has_npm(tools):
        install_harnesses(tools)
        return
    tools.progress.step(
        "harnesses: skipped, there is no npm: the tests with opencode, Codex and Claude Code will not run"
        f"\n  remedy: {_REMEDY}"
    )


def require_npm(tools: Tools) -> None:
    if not _has_npm(tools):
        raise SetupError(
            "opencode, Codex and Claude Code are installed with npm, and node or npm is missing\n"
            f"  remedy: {_REMEDY}"
        )


def _has_npm(tools: Tools) -> bool:
    return tools.has("npm") and tools.has("node")


def _is_current(tools: Tools) -> bool:
    """As pinned, by the stamp that is written last."""
    programs = tools.places.harnesses / "node_modules" / ".bin"
    try:
        stamp = (tools.places.harnesses / _STAMP).read_text("utf-8").strip()
    except (OSError, ValueError):
        return False
    return stamp == _wanted(tools) and all((programs / package.program).is_file() for package in PACKAGES)


def _wanted(tools: Tools) -> str:
    pins = tools.places.locks / "harnesses"
    return fingerprint((pins / _MANIFEST).read_bytes(), (pins / _LOCK).read_bytes())


def _install(tools: Tools) -> None:
    tools.progress.step("harnesses: installing opencode, Codex and Claude Code (1.1 GB, half a minute)")
    pins, home = tools.places.locks / "harnesses", tools.places.harnesses
    require_free(home, _NEEDED_BYTES, "installing the harnesses")
    (home / _STAMP).unlink(missing_ok=True)
    for name in (_MANIFEST, _LOCK):
        shutil.copyfile(pins / name, home / name)
    # `install`, not `ci`: the lock knows the platforms that its maker could see; for others npm
    # resolves the programs, at the exact versions that the packages themselves name.
    command = ("npm", "install", "--prefix", home, "--no-global", "--ignore-scripts", "--include=optional")
    quiet = ("--no-audit", "--no-fund", "--no-progress", "--no-update-notifier")
    tools.run("harnesses", *command, *quiet, doing="installing the harnesses")
    versions = json.loads((pins / _MANIFEST).read_text("utf-8"))["dependencies"]
    for package in PACKAGES:
        _put_in_place(tools, package)
        _start(tools, package, versions[package.name])
    replace_text(home / _STAMP, _wanted(tools) + "\n")


def _put_in_place(tools: Tools, package: Package) -> None:
    if package.script is not None:
        script = tools.places.harnesses / "node_modules" / package.name / package.script
        tools.run(f"harnesses-{package.program}", "node", script, doing=f"installing {package.program}")


def _start(tools: Tools, package: Package, version: str) -> None:
    """The program says its version, or SetupError. Its home is scratch: no file of the user is touched."""
    program = tools.places.harnesses / "node_modules" / ".bin" / package.program
    said: list[str] = []
    with scratch_directory(tools.places, package.program) as scratch:
        env = tools.environment(HOME=str(scratch), XDG_CONFIG_HOME=str(scratch), CODEX_HOME=str(scratch))
        env.update(CLAUDE_CONFIG_DIR=str(scratch), DISABLE_AUTOUPDATER="1", OPENCODE_DISABLE_AUTOUPDATE="1")
        try:
            log = tools.log(f"harnesses-{package.program}-version")
            run_logged([program, "--version"], log=log, env=env, on_line=said.append)
        except (CommandFailed, OSError) as failure:
            raise _unusable(package, program, str(failure), said) from failure
    if version not in " ".join(said).split():
        raise _unusable(package, program, f"it should be {version}", said)


def _unusable(package: Package, program: Path, reason: str, said: list[str]) -> SetupError:
    words = f", its last words: {said[-1].strip()}" if said else ""
    return SetupError(
        f"{package.program} was installed and does not work: {reason}{words}\n"
        f"  remedy: remove {program.parents[2]} and run scripts/install-harnesses again;"
        f" if that fails too, {package.name} has no program for this platform ({os.uname().machine})"
    )

"""Set-up itself: find out what is to do, hold the lock, do it step by step."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bootstrap import demo_models, engine, toolchain
from bootstrap.engine import Build
from bootstrap.engine_flags import EngineRequest, engine_request
from bootstrap.failures import SetupError
from bootstrap.places import Places
from bootstrap.steps import Purpose, Stamp, StepName, fingerprint, outstanding, read_stamp, write_stamp
from bootstrap.storage import only_one, replace_text, require_free
from bootstrap.tools import Tools

_PACKAGES_BYTES = 2**30
_ANSWER_S = 60
_IS_USABLE = "import pip, sys; sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix)"


def set_up(tools: Tools, purpose: Purpose) -> None:
    """Everything that `purpose` needs, made or found in order. Raises SetupError."""
    if not _Plan(tools, purpose).steps:
        return
    with only_one(tools.places, tools.progress):
        plan = _Plan(tools, purpose)  # again: whoever held the lock may have done it all
        plan.require_means()
        for step in plan.steps:
            plan.do(step)


def current_request(tools: Tools) -> EngineRequest:
    """The engine that the environment asks for, or did the last time it said so."""
    request = engine_request(tools.environ, _stamp(tools.places).engine)
    return toolchain.resolve_architectures(request, tools.environ)


class _Plan:
    """What is wanted now against what the stamp says, and the means to close the gap."""

    def __init__(self, tools: Tools, purpose: Purpose) -> None:
        self._tools = tools
        self._places = tools.places
        self._stamp = _stamp(tools.places)
        self._request = self._stamp.engine
        self._engine: Build | None = None
        if purpose in ("serve", "test"):
            self._request = current_request(tools)
            self._engine = engine.wanted_build(tools.places, self._request)
        self._wanted = self._fingerprints()
        in_place = all(demo_models.in_place(tools.places, model) for model in demo_models.DEMO_MODELS)
        self.steps = outstanding(purpose, self._wanted, self._stamp, models_in_place=in_place)

    def require_means(self) -> None:
        """What would fail after minutes fails now."""
        if self._engine is not None and "engine" in self.steps:
            engine.require_means(self._tools, self._engine)

    def do(self, step: StepName) -> None:
        if step == "models":
            demo_models.provide(self._tools)
        elif step == "environment":
            self._make_environment()
            self._record(Stamp({"environment": self._wanted["environment"]}, self._request))
        else:
            self._record(self._stamp.without(step))
            settled = self._install(step)
            self._record(self._stamp.having({name: self._wanted[name] for name in settled}, self._request))

    def _fingerprints(self) -> dict[StepName, str]:
        locks = self._places.locks
        return {
            # a venv's scripts name their own path: a clone that was moved gets a new one
            "environment": fingerprint(os.fsencode(self._places.root)),
            "runtime": fingerprint((locks / "runtime.txt").read_bytes()),
            "development": fingerprint((locks / "dev.txt").read_bytes()),
            "engine": self._engine.key if self._engine else "",
            "project": fingerprint((self._places.root / "pyproject.toml").read_bytes()),
        }

    def _record(self, stamp: Stamp) -> None:
        self._stamp = stamp
        replace_text(self._places.stamp, write_stamp(stamp))

    def _make_environment(self) -> None:
        """A virtual environment that works: the one that is there, or a new one."""
        progress, venv = self._tools.progress, self._places.venv
        moved = "environment" in self._stamp.done
        if not moved and _is_usable(self._places.python):
            progress.step("environment: using the .venv that is there")
            return
        if venv.exists():
            progress.step(f"environment: .venv {'was moved' if moved else 'does not work'}, replacing it")
            shutil.rmtree(venv)
        progress.step(f"environment: making .venv with Python {sys.version.split()[0]}")
        require_free(self._places.root, _PACKAGES_BYTES, "the Python environment")
        command = (sys.executable, "-m", "venv", venv)
        self._tools.run("environment", *command, doing="making the Python environment")
        if not _is_usable(self._places.python):
            raise SetupError(
                f"{sys.executable} makes environments without pip\n"
                "  remedy: install its venv module (Debian, Ubuntu: apt install python3-venv)"
            )

    def _install(self, step: StepName) -> tuple[StepName, ...]:
        """Do one of the steps that fill the environment; those that are settled by it."""
        match step:
            case "runtime":
                self._install_packages("runtime.txt")
            case "development":
                self._install_packages("dev.txt")
                return ("development", "runtime")
            case "engine":
                assert self._engine is not None
                engine.install(self._tools, self._engine)
                self._hint_at_gpu()
            case "project":
                self._install_project()
        return (step,)

    def _install_packages(self, lock: str) -> None:
        self._tools.progress.step("packages: installing what locks/ pins (about a minute, less next time)")
        self._tools.pip_install("packages", self._places.locks / lock, doing="installing packages")

    def _install_project(self) -> None:
        self._tools.progress.step("clone: installing the hotseat command, in place")
        options = ("--no-deps", "--no-index", "--no-build-isolation", "--editable")
        self._tools.pip("project", "install", *options, self._places.root, doing="installing hotseat")

    def _hint_at_gpu(self) -> None:
        if not self._request.cuda and self._tools.has("nvidia-smi"):
            self._tools.progress.step("engine: it is the CPU's; HOTSEAT_CUDA=1 scripts/serve makes the GPU's")


def _stamp(places: Places) -> Stamp:
    """The stamp of a .venv that can still be started."""
    if not os.access(places.python, os.X_OK):
        return Stamp()
    try:
        return read_stamp(places.stamp.read_text("utf-8"))
    except OSError:
        return Stamp()


def _is_usable(python: Path) -> bool:
    try:
        command = [str(python), "-c", _IS_USABLE]
        return subprocess.run(command, capture_output=True, timeout=_ANSWER_S, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False

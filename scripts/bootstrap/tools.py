"""Tools as set-up uses them: pip of the clone's .venv, cmake, ninja. Logged, counted, explained."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bootstrap import toolchain
from bootstrap.commands import run_logged, tool_environment
from bootstrap.failures import CommandFailed, explain
from bootstrap.lockfiles import blocks
from bootstrap.places import Places
from bootstrap.progress import Progress

_NINJA = re.compile(r"\s*\[(\d+)/(\d+)\]")
_PIP = re.compile(r"(Collecting|Processing|Requirement already satisfied:) ")

Argument = str | Path


@dataclass(frozen=True, slots=True)
class Tools:
    places: Places
    environ: Mapping[str, str]
    progress: Progress

    def run(
        self, log_name: str, *command: Argument, doing: str, env: Mapping[str, str] | None = None
    ) -> None:
        """Run to the end, counting what ninja compiles. Raises SetupError with cause and remedy."""

        def count(line: str) -> None:
            if match := _NINJA.match(line):
                self.progress.count("compiled", int(match[1]), int(match[2]))

        try:
            run_logged(command, log=self.log(log_name), env=env or self.environment(), on_line=count)
        except CommandFailed as failure:
            raise explain(failure, doing) from failure

    def pip_install(self, log_name: str, *locks: Path, doing: str) -> None:
        """Install exactly what the lock files pin."""
        total = len({name for lock in locks for name in blocks(lock.read_text("utf-8"))})
        seen: set[str] = set()

        def count(line: str) -> None:
            if _PIP.match(line):
                seen.add(line)
                self.progress.count("packages", min(len(seen), total), total)

        requirements: list[Argument] = [part for lock in locks for part in ("-r", lock)]
        command = self._pip("install", "--require-hashes", "--progress-bar", "off", *requirements)
        try:
            run_logged(command, log=self.log(log_name), env=self.environment(), on_line=count)
        except CommandFailed as failure:
            raise explain(failure, doing) from failure

    def pip_download(self, log_name: str, lock: Path, to: Path, *options: str, doing: str) -> None:
        """The pinned files themselves, without what they depend on."""
        command = self._pip("download", "--no-deps", "--require-hashes", "--progress-bar", "off", *options)
        self.run(log_name, *command, "--dest", to, "-r", lock, doing=doing)

    def pip(
        self, log_name: str, *arguments: Argument, doing: str, env: Mapping[str, str] | None = None
    ) -> None:
        self.run(log_name, *self._pip(*arguments), doing=doing, env=env)

    def environment(self, **more: str) -> dict[str, str]:
        """For every tool: .venv's own programs first (ninja is there)."""
        path = f"{self.places.python.parent}{os.pathsep}{self.environ.get('PATH', os.defpath)}"
        return tool_environment(self.environ, PATH=path, **more)

    def compile_environment(self, *, cuda: bool, **more: str) -> dict[str, str]:
        self.places.scratch.mkdir(parents=True, exist_ok=True)
        jobs = self.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(toolchain.build_jobs(cuda=cuda))
        if cuda and (compiler := toolchain.nvcc(self.environ)):
            more["CUDACXX"] = compiler
        # /tmp may be small, and a killed build would leave gigabytes there; scratch is emptied.
        return self.environment(TMPDIR=str(self.places.scratch), CMAKE_BUILD_PARALLEL_LEVEL=jobs, **more)

    def has(self, program: str) -> bool:
        return shutil.which(program, path=self.environ.get("PATH")) is not None

    def log(self, name: str) -> Path:
        return self.places.logs / f"{name}.log"

    def _pip(self, *arguments: Argument) -> list[Argument]:
        return [self.places.python, "-m", "pip", *arguments]

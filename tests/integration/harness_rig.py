"""A real coding harness at work on a real Hotseat: one process of the CLI, offline, on loopback.

What the CLI needs is written by the recipes of bench.harnesses, as for a user. Nothing of this machine's own
configuration reaches it, and whoever it wants to talk to besides Hotseat is noted and refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from bench.harnesses.base import ModelCard, Setup, SubAgent, Transcript
from bench.harnesses.installed import HARNESSES, find
from inference.chat import ChatRequest, Message, TextPart
from tests.integration.harness_scripts import HELPER, REQUESTS_FILE
from tests.proxy.rig import Rig, serving_file

NAMES = tuple(HARNESSES)

MAIN, SUB, SMALL = "main", "sub", "small"
CONTEXT = 128_000
LONG = (
    pytest.mark.long,
    pytest.mark.skipif(
        os.environ.get("HOTSEAT_TEST_SLOW") != "1", reason="takes long: scripts/test-harnesses --slow runs it"
    ),
)
"""Marks of tests that are left to a run of their own."""

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """What is served: `scripts` and `gguf_files` by model, beside the small model for titles and such."""

    scripts: Mapping[str, str] = field(default_factory=dict)
    gguf_files: Mapping[str, Path] = field(default_factory=dict)
    n_ctx: int = CONTEXT
    keys: str = ""  # of every GGUF model, as lines of models.toml
    limits: str = ""  # lines of [server.limits]


@dataclass(frozen=True, slots=True)
class Job:
    """What the CLI is told. `context`: what it believes the models' context to be."""

    prompt: str
    files: Mapping[str, str] = field(default_factory=dict)  # in the working directory
    context: int = CONTEXT
    max_output_tokens: int = 4096
    environment: Mapping[str, str] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)  # in the recipe's files
    options: tuple[str, ...] = ()  # of the command, before the recipe's own
    limit_s: float = 50.0


@dataclass(frozen=True, slots=True)
class Ended:
    exit_code: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        """For a failed assertion: the end of what it said."""
        return f"exit code {self.exit_code}\n{self.stdout[-4000:]}\n{self.stderr[-2000:]}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`strangers`: whom the CLI tried to reach besides Hotseat."""

    ended: Ended
    said: Transcript
    strangers: tuple[str, ...]


class Seen(msgspec.Struct, frozen=True):
    """What a scripted model was asked, and the turn that answered."""

    turn: str | int | None
    request: ChatRequest

    def texts(self, *roles: str) -> list[str]:
        """Of the messages in these roles."""
        return [_text(message) for message in self.request.messages if message.role in roles]


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True)
class Bench:
    """One folder, one server, and whoever works with it."""

    folder: Path
    rig: Rig
    models: tuple[str, ...]

    def workdir(self, name: str) -> Path:
        return self.folder / name / "work"

    async def work(self, name: str, job: Job) -> Outcome:
        """From the prompt to the end of the CLI."""
        setup = self._setup(name, job)
        setup.workdir.mkdir(parents=True)
        _write({setup.workdir / path: text for path, text in job.files.items()})
        recipe = HARNESSES[name].headless(setup, job.prompt)
        _write(_replaced({**recipe.seeds, **recipe.files}, job.replaced))
        async with _nobody_else() as (proxies, strangers):
            environment = {"PATH": os.environ["PATH"], **proxies, **recipe.env, **job.environment}
            command = (str(require(name)), *job.options, *recipe.argv[1:])
            ended = await _run(command, recipe.stdin or "", environment, setup.workdir, job.limit_s)
        said = HARNESSES[name].parse(ended.stdout.splitlines())
        return Outcome(ended, said, tuple(strangers))

    def _setup(self, name: str, job: Job) -> Setup:
        helper = SubAgent(HELPER, SUB, "Does small chores.", "You are a small local helper.")
        return Setup(
            base_url=self.rig.url,
            api_key="none",
            main=MAIN,
            small=SMALL,
            models=tuple(ModelCard(model, job.context, job.max_output_tokens) for model in self.models),
            subagents=(helper,) if SUB in self.models else (),
            home=self.folder / name / "home",
            workdir=self.workdir(name),
        )

    def seen(self, model: str = MAIN) -> list[Seen]:
        """In the order in which the model was asked."""
        file = self.folder / model / REQUESTS_FILE
        lines = file.read_bytes().splitlines() if file.exists() else []
        return [msgspec.json.decode(line, type=Seen) for line in lines]

    def turns(self, model: str = MAIN) -> list[str | int | None]:
        return [seen.turn for seen in self.seen(model)]

    async def records(self, model: str) -> list[dict[str, Any]]:
        """Of the requests for a model, oldest first."""
        answer = await self.rig.get(f"/api/requests?limit=1000&model={model}")
        found: list[dict[str, Any]] = answer["requests"]
        return found[::-1]


@contextlib.asynccontextmanager
async def bench(folder: Path, server: Server) -> AsyncIterator[Bench]:
    lines = ["[server.limits]", server.limits]
    for name, source in {SMALL: "", **server.scripts}.items():
        (folder / name).mkdir()
        (folder / name / "script.toml").write_text(source)
        lines += [f"[models.{name}]", f'path = "{name}/script.toml"', 'engine = "scripted"']
        lines += [f"n_ctx = {server.n_ctx}"]
    for name, path in server.gguf_files.items():
        lines += [f"[models.{name}]", f'path = "{path}"', f"n_ctx = {server.n_ctx}", server.keys]
    config = folder / "models.toml"
    config.write_text("\n".join(lines))
    async with serving_file(config) as rig:
        yield Bench(folder, rig, (*server.scripts, *server.gguf_files, SMALL))


def run(main: Coroutine[Any, Any, None], patience_s: float = PATIENCE_S) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main, patience_s))


def require(name: str) -> Path:
    """The CLI's program. Skips the test where there is none; in CI that is a failure."""
    found = find(HARNESSES[name].binary, os.environ)
    if found is None:
        missing = f"{name} is not installed: scripts/install-harnesses does it"
        if os.environ.get("CI", "") not in ("", "0", "false"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def _replaced(files: Mapping[Path, str], replaced: Mapping[str, str]) -> Mapping[Path, str]:
    for old, new in replaced.items():
        assert any(old in text for text in files.values()), f"no file of the recipe says {old}"
        files = {path: text.replace(old, new) for path, text in files.items()}
    return files


def _write(files: Mapping[Path, str]) -> None:
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


async def _run(
    command: tuple[str, ...], stdin: str, environment: Mapping[str, str], workdir: Path, limit_s: float
) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(environment),
        cwd=workdir,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    said = asyncio.ensure_future(process.communicate(stdin.encode()))
    try:
        done, _ = await asyncio.wait([said], timeout=limit_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also what it left running
    stdout, stderr = await said
    ended = Ended(await process.wait(), stdout.decode(), stderr.decode())
    assert done, f"{command[0]} was still at work after {limit_s:g} s: {ended}"
    return ended


@contextlib.asynccontextmanager
async def _nobody_else() -> AsyncIterator[tuple[dict[str, str], list[str]]]:
    """A proxy, as variables of the environment, that leads nowhere and notes who was asked for."""
    asked: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode("latin-1").strip())
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    async with server:
        yield {**dict.fromkeys(names, url), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}, asked

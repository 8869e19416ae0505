"""Any OpenAI-compatible server as an engine: llama-server, vLLM, SGLang, xllamacpp.

The worker starts the server as its child, waits until its health check is answered, and from then
on only watches it: requests do not come through the worker but go to `facts.base_url`. What the
server prints is the worker's log. When the server ends, so does the worker, with an error.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from inference.command_line import filled_in, values_for
from inference.engines.base import OnProgress
from inference.engines.health_probe import probe
from inference.engines.server_process import HINTS, ServerProcess
from inference.errors import EngineFault, LoadFailed
from inference.messages import Embed, Generate, ModelFacts, Output
from inference.model_spec import ModelSpec
from inference.process_ending import ending

FIRST_PAUSE_S = 0.01
LAST_PAUSE_S = 0.25
PAUSE_PER_WAITED = 0.05
"""Pauses between probes grow with the wait: what they add to a load is 5 % of it, and a quarter second."""

WATCH_INTERVAL_S = 0.1
"""How often the worker looks whether its server still runs."""

_NOT_INHERITED = ("PYTHONPATH",)
"""Ours: a server with a Python of its own would import our packages."""


def load(spec: ModelSpec, on_progress: OnProgress) -> CommandEngine:
    """Returns when the server is ready. Raises LoadFailed; a load that hangs is ended by the pool."""
    port = _free_port()
    if spec.engine == "xllamacpp":
        argv, env = _xllamacpp_argv(spec, port), {**os.environ, **spec.env}
    else:
        argv, env = _filled_in(spec.command, spec, port), _environment(spec, port)
    if not argv:
        raise LoadFailed(f"model '{spec.name}': expected a command, found none: set command in models.toml")
    server = ServerProcess(argv, env)
    try:
        _await_health(server, spec, port, on_progress)
    except BaseException:
        server.kill()
        raise
    return CommandEngine(spec, server, port, argv, env)


class CommandEngine:
    """Watches a ready server. It generates nothing itself."""

    def __init__(
        self, spec: ModelSpec, server: ServerProcess, port: int, argv: Sequence[str], env: dict[str, str]
    ) -> None:
        self._spec = spec
        self._server = server
        self._port = port
        self._env = env
        self.facts = ModelFacts(
            architecture="",
            n_ctx=spec.n_ctx,
            n_ctx_train=0,
            n_vocab=0,
            slots=spec.slots,
            engine_build=Path(argv[0]).name if spec.engine == "command" else spec.engine,
            has_chat_template=True,
            rss_bytes=0,
            base_url=f"http://127.0.0.1:{port}",
            server_pid=server.pid,
            sampling=spec.sampling,
        )

    def prepare(self, message: Generate | Embed) -> None:
        raise EngineFault(f"requests for '{self._spec.name}' go to its own server, {self.facts.base_url}")

    def submit(self, job: None) -> None:
        """Nothing is ever prepared."""

    def cancel(self, request_id: int) -> None:
        """Nothing ever runs here."""

    def step(self) -> list[Output]:
        exit_code = self._server.exit_code()
        if exit_code is not None:
            raise EngineFault(f"the server of '{self._spec.name}' {ending(exit_code, HINTS)}")
        return []

    def wait_s(self) -> float | None:
        return WATCH_INTERVAL_S

    @property
    def archive_bytes(self) -> int:
        return 0

    def save(self, deadline_s: float) -> int:
        return 0

    def close(self) -> None:
        values = values_for(self._spec, self._port) | {"pid": str(self._server.pid)}
        self._server.stop([filled_in(word, values) for word in self._spec.stop_command], self._env)


def _free_port() -> int:
    """Free now. Should another process take it first, the server cannot listen, and says so as it ends."""
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        return int(probe_socket.getsockname()[1])


def _filled_in(words: Sequence[str], spec: ModelSpec, port: int) -> list[str]:
    values = values_for(spec, port)
    try:
        return [filled_in(word, values) for word in words]
    except KeyError as error:
        raise LoadFailed(f"model '{spec.name}': command: unknown placeholder {{{error.args[0]}}}") from error


def _environment(spec: ModelSpec, port: int) -> dict[str, str]:
    """The worker's own, which was allow-listed when it was started, and the model's additions."""
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return inherited | dict(zip(spec.env, _filled_in(list(spec.env.values()), spec, port), strict=True))


def _xllamacpp_argv(spec: ModelSpec, port: int) -> list[str]:
    told = msgspec.json.encode(msgspec.structs.replace(spec, env={})).decode()
    return [sys.executable, "-P", "-m", "inference.engines.xllamacpp_server", told, str(port)]


def _await_health(server: ServerProcess, spec: ModelSpec, port: int, on_progress: OnProgress) -> None:
    """Only news counts as progress: a server that says the same for too long is ended as stalled."""
    begun_s = time.monotonic()
    path = spec.health_path if spec.engine == "command" else "/health"
    said = None
    while True:
        health = probe(port, path, spec.health_timeout_s)
        exit_code = server.exit_code()
        if exit_code is not None:  # even after a good answer: then another process has taken the port
            raise LoadFailed(f"the server of '{spec.name}' {ending(exit_code, HINTS)} while loading")
        if health.is_ready:
            return
        if health.said != said:
            said = health.said
            sys.stderr.write(f"hotseat: waiting for GET {path} on port {port}: {said}\n")
            sys.stderr.flush()
            on_progress(0.0)
        server.ends_within(_pause_s(time.monotonic() - begun_s))


def _pause_s(waited_s: float) -> float:
    return min(max(FIRST_PAUSE_S, waited_s * PAUSE_PER_WAITED), LAST_PAUSE_S)

"""A real `hotseat serve` process with scripted models, for tests of what talks to it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from click.testing import Result

ROOT = Path(__file__).parents[2]
CANARY = "canary-0123456789"
START_TIMEOUT_S = 60.0

SCRIPTS = {
    "quick": """
[model]
memory_bytes = 1000
[load]
allocate_bytes = 4_000_000
stderr = "quick says hello"
[[turn]]
match.user_contains = "colour"
reasoning = "hm"
text = "A fine\\u001b[31m red"
[[turn]]
match.user_contains = "slowly"
text = "tick "
repeat = 60
tokens_per_second = 18.0
[[turn]]
match.user_contains = "crash"
text = "one two three four five six"
[turn.fault]
kind = "kill"
after_chunks = 3
""",
    "second": "[model]\nmemory_bytes = 1000\n",
    "broken": '[load]\nstderr = "no such tensor"\nfail = "the scripted cause"\n',
}

CONFIG = """
[server.limits]
keepalive = 0.2
[models.quick]
path = "quick.toml"
engine = "scripted"
aliases = ["q"]
[models.second]
path = "second.toml"
engine = "scripted"
[models.broken]
path = "broken.toml"
engine = "scripted"
[models.absent]
source = "hf:owner/repo/absent.gguf"
[models.hostile]
path = "hostile.gguf"
[providers.far]
base_url = "https://example.org/v1"
api_key_env = "FAR_KEY"
[routes."far-away"]
provider = "far"
model = "vendor/model"
"""


def write_config(folder: Path, text: str = CONFIG) -> Path:
    for name, script in SCRIPTS.items():
        (folder / f"{name}.toml").write_text(script)
    (folder / "hostile.gguf").write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 16)
    config = folder / "models.toml"
    config.write_text(text)
    return config


def environment(folder: Path, **extra: str) -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH")
    keep = {name: os.environ[name] for name in kept if name in os.environ}
    return {**keep, "HOTSEAT_HOME": str(folder / "home"), "PYTHONUNBUFFERED": "1", **extra}


@dataclass(frozen=True, slots=True)
class Serving:
    process: subprocess.Popen[str]
    url: str
    banner: str
    folder: Path

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """Spare ones too."""
        return [child for child in self.children() if "inference.worker" in child.cmdline()]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Exit code, and stderr if it goes to no file."""
        self.process.send_signal(number)
        _, stderr = self.process.communicate(timeout=START_TIMEOUT_S)
        return self.process.returncode, stderr or ""


@contextlib.contextmanager
def serving(folder: Path, *options: str, **extra_environment: str) -> Iterator[Serving]:
    """`hotseat serve` with scripted models on a free port, from its first line to its death."""
    with serving_config(folder, write_config(folder), *options, **extra_environment) as served:
        yield served


@contextlib.contextmanager
def serving_config(
    folder: Path, config: Path, *options: str, log: Path | str | None = None, **extra_environment: str
) -> Iterator[Serving]:
    """The same with a configuration of the caller's; Hotseat's home is in `folder` unless overridden. `log`:
    takes stderr, for a server that says more than a pipe holds."""
    stderr = subprocess.PIPE if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy.cli", "serve", "--config", str(config), "--port", "0", *options],
        cwd=ROOT,
        env={**environment(folder), **extra_environment},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    if log is not None:
        os.close(stderr)
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if "curl" in line:
                break
        else:
            raise AssertionError(process.communicate()[1] or f"see {log}")
        url = lines[0].split()[-1]
        yield Serving(process, url, "".join(lines), folder)
    finally:
        process.kill()
        with process:  # closes its pipes and waits
            pass


def error_line(result: Result) -> str:
    """What a failed command says: exactly one line on stderr, and no exit code 0."""
    assert result.exit_code != 0
    assert result.stderr.startswith("hotseat: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def unused_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def question(model: str, prompt: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True}


def text_of(chunk: dict[str, Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key

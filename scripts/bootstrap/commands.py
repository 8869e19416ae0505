"""Running the tools that set-up needs: pip, cmake, the compiler.

Their output goes to a log, not to the user: what the user should know is said by the caller.
Each runs as its own process group, and the group ends when set-up does.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bootstrap.failures import CommandFailed

_TAIL_LINES = 200
_STOP_GRACE_S = 5.0

# Dropped from the environment of every tool. The first row would change what is compiled: a
# "-march=native" in CXXFLAGS brings back the AMX kernels that crash (see engine_flags.py), and
# with SOURCE_DATE_EPOCH set ggml switches AVX2 off. The second would change what Python sees.
_DROPPED = re.compile(
    r"CMAKE_ARGS|FORCE_CMAKE|SKBUILD_.*|C(XX|PP)?FLAGS|SOURCE_DATE_EPOCH"
    r"|PYTHONPATH|PYTHONHOME|VIRTUAL_ENV|PIP_(TARGET|PREFIX|ROOT|REQUIRE_VIRTUALENV)"
)


def tool_environment(environ: Mapping[str, str], **more: str) -> dict[str, str]:
    """The environment for pip and cmake: the user's, less what would change the outcome."""
    kept = {name: value for name, value in environ.items() if not _DROPPED.fullmatch(name)}
    return kept | {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"} | more


def run_logged(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str],
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run to the end. Raises CommandFailed with the last lines of output."""
    log.parent.mkdir(parents=True, exist_ok=True)
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    with (
        log.open("w", encoding="utf-8") as out,
        subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                out.write(line)
                tail.append(line.rstrip("\n"))
                if on_line is not None:
                    on_line(line)
            returncode = process.wait()
        except BaseException:
            _end_group(process)
            raise
    if returncode != 0:
        raise CommandFailed(Path(command[0]).name, returncode, list(tail), log)


def _end_group(process: subprocess.Popen[str]) -> None:
    """End a tool and all it started: a compiler under ninja under cmake under pip."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_STOP_GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)

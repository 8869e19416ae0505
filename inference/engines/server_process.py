"""A server process below a worker: started, waited for, stopped, and never left behind.

The kernel kills it when the worker dies (PDEATHSIG). That reaches this one process only; what it
has started itself is in its process group, which a guard kills: a shell that reads from a pipe of
which the worker holds the other end, and that therefore wakes up however the worker ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from inference.errors import LoadFailed

STOP_GRACE_S = 3.0
"""Between asking the server to stop and killing it; less than the pool's stop_grace for the worker."""

GUARD_PATIENCE_S = 1.0
PR_SET_PDEATHSIG = 1

_STDERR = 2
_GUARD = 'read -r _; kill -KILL "-$1"'  # dash's kill knows no --
HINTS = {
    signal.SIGILL: "it was built for another CPU",
    signal.SIGKILL: "killed from outside, often by the kernel for lack of memory",
}


class ServerProcess:
    """Call everything from the thread that created it: the server dies with that thread."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Raises LoadFailed if it cannot be started. What it prints goes to this process's stderr."""
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,
                stderr=_STDERR,
                env=env,
                process_group=0,
                # After the fork it calls nothing but prctl, signal and getppid.
                preexec_fn=_dying_with(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise LoadFailed(
                f"{argv[0]!r} cannot be started: {getattr(error, 'strerror', None) or error}: "
                "install it, or correct the first word of command"
            ) from error
        self.pid = self._process.pid
        self._guard = _guard(self.pid)

    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._process.poll()

    def ends_within(self, timeout_s: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self._process.returncode is not None

    def stop(
        self, stop_argv: Sequence[str], env: Mapping[str, str], *, grace_s: float = STOP_GRACE_S
    ) -> None:
        """Ask it with `stop_argv`, or SIGTERM if that is empty; kill what is left after `grace_s`."""
        deadline_s = time.monotonic() + grace_s
        if self.exit_code() is None:
            if not (stop_argv and _was_run(stop_argv, env, grace_s)):
                self._signal_group(signal.SIGTERM)
            self.ends_within(max(0.0, deadline_s - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """Nothing of it is left when this returns."""
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(GUARD_PATIENCE_S)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def _dying_with(parent_pid: int) -> Callable[[], None]:
    prctl = ctypes.CDLL(None).prctl

    def in_child() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the worker ignores it, and that would be inherited
        if os.getppid() != parent_pid:  # it died before the line above
            os._exit(0)

    return in_child


def _guard(group: int) -> subprocess.Popen[bytes] | None:
    """None without a shell: then only the server itself is sure to die with the worker."""
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "hotseat-guard", str(group)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # else it would hold the worker's stderr open
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,  # else the signal that ends the worker's group would end it first
        )
    except OSError:
        return None


def _was_run(argv: Sequence[str], env: Mapping[str, str], timeout_s: float) -> bool:
    """Whether a stop command did what it should; its words are in the log."""
    try:
        subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,
            stderr=_STDERR,
            env=env,
            timeout=timeout_s,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"hotseat: stop_command failed: {error}: sending SIGTERM\n")
        return False
    return True

"""The ledger's writer as the server holds it: a process that is started, given batches, and started again.

All on one thread, but `kill`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import msgspec

from inference.messages import FrameReader, framed
from inference.worker_process import worker_environment
from proxy.ledger_place import LedgerConfig
from proxy.ledger_process import READ_BYTES, Opening, Written

ANSWER_S = 60.0
"""For one batch. A writer that takes longer is ended, and the batch is tried again."""

END_S = 2.0


class WriterError(OSError):
    """The database takes no batch now."""


class WriterGoneError(OSError):
    """The process has ended, or was ended because it was silent. Whether it wrote the batch is not known."""


class LedgerWriter:
    def __init__(self, config: LedgerConfig, server: str) -> None:
        path = None if config.path is None else str(config.path)
        self._opening = msgspec.json.encode(Opening(path, str(config.journal), config.url, server))
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def start(self) -> None:
        """Nothing, if it runs. Raises OSError."""
        if self._running is not None:
            return
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack, theirs:
            stack.enter_context(ours)
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "proxy.ledger_process"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env=_environment(os.environ),
                start_new_session=True,  # Ctrl-C is for the server, which ends it
            )
            stack.pop_all()
        self._running = process, ours
        with contextlib.suppress(ConnectionError):  # it ended at once, which the first batch finds out
            ours.sendall(framed(self._opening))

    def write(self, lines: Sequence[bytes], *, answer_s: float = ANSWER_S) -> Written:
        """Of the journal, each of a request that ended. Raises OSError; the lines may be given again then, to
        a new process: a row that is there already stays as it is."""
        try:
            self.start()
            assert self._running is not None
            answer = _ask(self._running[1], b"".join(lines), answer_s)
        except TimeoutError:
            self.end(grace_s=0.0)
            raise WriterGoneError(
                f"its writer has not answered within {answer_s:g} s: it is started again"
            ) from None
        except ConnectionError:
            self.end()
            raise WriterGoneError("its writer, a process, has ended: it is started again") from None
        except BaseException:
            self.end(grace_s=0.0)
            raise
        if answer.error is not None:
            self.end()  # the next one begins anew, with the limits and rights that hold by then
            raise WriterError(answer.error)
        return answer

    def end(self, *, grace_s: float = END_S) -> None:
        if self._running is None:
            return
        process, link = self._running
        self._running = None
        link.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
            return
        process.kill()
        process.wait()

    def kill(self) -> None:
        """Of another thread, which does not wait for an answer any longer."""
        running = self._running
        if running is not None:
            running[0].kill()


def _ask(link: socket.socket, batch: bytes, answer_s: float) -> Written:
    deadline_s = time.monotonic() + answer_s
    link.settimeout(answer_s)
    link.sendall(framed(batch))
    reader = FrameReader()
    while True:
        link.settimeout(max(0.001, deadline_s - time.monotonic()))
        data = link.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError
        for body in reader.feed(data):  # there is one answer to a batch
            return msgspec.json.decode(body, type=Written)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """libpq's variables, and no key of a provider."""
    postgresql = {name: value for name, value in environ.items() if name.startswith("PG")}
    return worker_environment(environ) | postgresql

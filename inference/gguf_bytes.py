"""Bytes of a file that is not trusted, read forward: what inference/gguf.py parses headers with.

Owns the limits on how much is read, and what may be opened at all. Reads are buffered and not
mapped: a mapped file that shrinks would kill the process with SIGBUS.
"""

from __future__ import annotations

import os
import stat
import struct
from types import TracebackType
from typing import NoReturn

from inference.errors import InvalidModelFile

MAX_HEADER_BYTES = 64 * 1024 * 1024  # a 262k-token vocabulary with its merges takes about 16 MiB
MAX_STRING_BYTES = 1024 * 1024  # chat templates are the longest real ones, at about 30 kB
MAX_TEXT_BYTES = 4 * 1024 * 1024  # of all strings kept
AGAIN = "download the file again"

_BLOCK_BYTES = 1024 * 1024
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Reader:
    """Reads a regular file forward in blocks and never past its end or MAX_HEADER_BYTES.

    `doing` says what is being read, for messages.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.doing = "the file"
        self._fd = _open_regular(path)
        self.size = os.fstat(self._fd).st_size
        self._block = b""
        self._base = 0  # file offset of the block
        self._at = 0  # position in the block; beyond its end after a long skip
        self._text_bytes = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    @property
    def offset(self) -> int:
        return self._base + self._at

    def refuse(self, found: str, remedy: str) -> NoReturn:
        raise InvalidModelFile(f"{self.path}: {found}: {remedy}")

    def peek(self, n: int) -> bytes:
        """Up to `n` bytes from here, fewer at the end of the file."""
        return self._read(self.offset, min(n, max(self.size - self.offset, 0)))

    def take(self, n: int) -> bytes:
        end = self._at + n
        if end > len(self._block):
            self._fill(n)
            end = n
        piece = self._block[self._at : end]
        self._at = end
        return piece

    def skip(self, n: int) -> None:
        self._check(n)
        self._at += n

    def u32(self) -> int:
        value: int = _U32.unpack(self.take(4))[0]
        return value

    def u64(self) -> int:
        value: int = _U64.unpack(self.take(8))[0]
        return value

    def scalars(self, code: str, count: int) -> tuple[bool | int | float, ...]:
        layout = struct.Struct(f"<{count}{code}")
        return layout.unpack(self.take(layout.size))

    def text(self) -> str:
        """A string value. Bytes that are not UTF-8 show as U+FFFD: they harm nobody here."""
        raw = self._string(MAX_STRING_BYTES, "text")
        self._text_bytes += len(raw)
        if self._text_bytes > MAX_TEXT_BYTES:
            self.refuse(f"more than {MAX_TEXT_BYTES} bytes of text up to {self.doing}", AGAIN)
        return raw.decode("utf-8", errors="replace")

    def name(self, max_bytes: int, what: str) -> str:
        raw = self._string(max_bytes, what)
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            name = ""
        if not name:
            self.refuse(f"expected {what} in UTF-8 at {self.doing}, found {raw[:32]!r}", AGAIN)
        return name

    def _string(self, max_bytes: int, what: str) -> bytes:
        length = self.u64()
        if length > max_bytes:
            self.refuse(
                f"{self.doing}: {what} of {length} bytes announced, at most {max_bytes} accepted", AGAIN
            )
        return self.take(length)

    def skip_strings(self, count: int) -> None:
        """Steps over `count` strings; a vocabulary of 262k takes 25 ms, and no Python string is made."""
        self._check(8 * count)
        length_at = _U64.unpack_from
        while count:
            block, at, last = self._block, self._at, len(self._block) - 8
            for done in range(count + 1):
                if at > last or done == count:
                    self._at = at
                    count -= done
                    break
                at += length_at(block, at)[0] + 8
            if count:
                self._fill(8)
        self._check(0)

    def _fill(self, n: int) -> None:
        """Makes at least `n` bytes from here available."""
        self._check(n)
        here = self.offset
        self._block = self._read(here, max(n, min(_BLOCK_BYTES, self.size - here)))
        self._base, self._at = here, 0
        if len(self._block) < n:
            self.refuse(f"the file shrank while it was read ({self.doing})", AGAIN)

    def _check(self, n: int) -> None:
        """Refuses what would end beyond the file or beyond what a header may take."""
        end = self.offset + n
        if end > self.size:
            self.refuse(
                f"the header continues past the end of the file ({self.doing} ends at byte {end} or later, "
                f"the file at {self.size})",
                f"the file is truncated or damaged: {AGAIN}",
            )
        if end > MAX_HEADER_BYTES:
            self.refuse(
                f"the header exceeds {MAX_HEADER_BYTES} bytes ({self.doing})",
                f"no known model needs that; {AGAIN} or get it from another source",
            )

    def _read(self, offset: int, n: int) -> bytes:
        pieces: list[bytes] = []
        try:
            while n > 0 and (piece := os.pread(self._fd, n, offset)):
                pieces.append(piece)
                offset += len(piece)
                n -= len(piece)
        except OSError as error:
            self.refuse(f"reading failed: {error.strerror}", "check the disk or network share it is on")
        return b"".join(pieces)


def _open_regular(path: str) -> int:
    """A descriptor of the regular file at `path` (or behind its symbolic link).

    Looks before it opens (opening some devices has effects) and again afterwards (the name may
    have changed hands); O_NONBLOCK keeps a FIFO from blocking in between.
    """
    try:
        _refuse_irregular(path, os.stat(path).st_mode)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        raise InvalidModelFile(f"{path}: no such file: check the path, or download the model") from None
    except PermissionError:
        raise InvalidModelFile(f"{path}: not readable by this user: change its permissions") from None
    except (OSError, ValueError) as error:
        raise InvalidModelFile(f"{path!r:.200}: cannot be opened: {error}: check the path") from error
    try:
        _refuse_irregular(path, os.fstat(fd).st_mode)
    except InvalidModelFile:
        os.close(fd)
        raise
    return fd


def _refuse_irregular(path: str, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
    }
    found = kinds.get(stat.S_IFMT(mode), "something else")
    raise InvalidModelFile(f"{path}: expected a GGUF file, found {found}: give the path of the file itself")

"""What providers answered in a run, in files, to be given again: `recordings/NAME` in Hotseat's home.

    index.jsonl     a head, then a line for each answer, appended when its file is there
    000001.body     the answer's body, as it came, without the provider's key

A request is found again by its address and the SHA-256 of its body: of its JSON with the keys in order,
without the fields that say who asks (IDENTITY). Of the body itself nothing is kept but digests of its
parts, by which the first difference to another one can be named. The n-th equal request gets the n-th
answer, and when there are no more of them the last again.

Everything here blocks. What is on disk was written whole: a body lies under another name until it is.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from proxy.errors import NoSuchRecording, RecordingTaken, RecordingUnusable
from proxy.redaction import REDACTED, Redaction

MAX_ANSWER_BYTES = 16 * 2**20
MAX_RECORDING_BYTES = 2 * 2**30
"""Its index too."""

MAX_ANSWERS = 20_000
MAX_PARTS = 2000
MAX_CHUNKS = 50_000
MAX_LINE_BYTES = 4 * 2**20
NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}"

INDEX, _VERSION = "index.jsonl", 1
_PART_CHARS = 12
_BILLING = "x-anthropic-billing-header:"

IDENTITY = frozenset({"metadata", "client_metadata", "prompt_cache_key", "safety_identifier", "user"})
"""Of a body, what differs from session to session and leaves the answer alone."""

End = Literal["whole", "broken", "silent", "bad"]
"""Of a body: as it should; or what went wrong then, in the words of upstream_errors.py."""

_json = msgspec.json.Encoder(order="sorted")


# --- which request it is -------------------------------------------------------------------------


class Address(msgspec.Struct, frozen=True):
    """Of whom it was asked: the path has the dialect, and the host is not in it."""

    method: str
    path: str
    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.method} {self.path} to {self.provider} for {self.model}"


@dataclass(frozen=True, slots=True)
class Question:
    """`parts`: digests of the body's parts by where they are ("messages[3]")."""

    address: Address
    sha: str
    parts: Mapping[str, str] = field(repr=False)

    @property
    def key(self) -> tuple[Address, str]:
        return self.address, self.sha


def question(address: Address, body: bytes) -> Question:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):  # the provider will refuse it, in the same words every time
        return Question(address, _sha(body), {})
    said = {name: value for name, value in fields.items() if name not in IDENTITY}
    if isinstance(said.get("system"), list):
        said["system"] = [block for block in said["system"] if not _is_billing(block)]
    return Question(address, _sha(_json.encode(said)), dict(_parts(said)))


def _is_billing(block: Any) -> bool:
    """Claude Code's first system block: it is another one in every conversation."""
    text = block.get("text") if isinstance(block, dict) else None
    return isinstance(text, str) and text.startswith(_BILLING)


def _parts(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    n_parts = 0
    for name, value in sorted(said.items()):
        for where, part in _within(name, value):
            n_parts += 1
            if n_parts > MAX_PARTS:
                return
            yield where[:100], _sha(_json.encode(part))[:_PART_CHARS]


def _within(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list) and value:
        for i, element in enumerate(value):
            yield f"{name}[{i}]", element
    elif isinstance(value, dict) and value:
        for key, element in sorted(value.items()):
            yield f"{name}.{key}", element
    else:
        yield name, value


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def first_difference(asked: Mapping[str, str], recorded: Mapping[str, str]) -> str:
    """Between two bodies, by their parts."""
    for where, digest in asked.items():
        if where not in recorded:
            return f"{where} is not in it"
        if recorded[where] != digest:
            return f"{where} differs"
    for where in recorded:
        if where not in asked:
            return f"{where} is missing here"
    return f"they differ after their first {MAX_PARTS} parts" if len(asked) == MAX_PARTS else "none"


# --- what was answered ---------------------------------------------------------------------------


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the index. `chunks`: the sizes of the pieces in which the body came. `left_out`: why it was
    not kept; "" for one that was."""

    number: int
    address: Address
    sha: str
    parts: dict[str, str]
    status: int
    headers: dict[str, str]
    chunks: list[int] = []
    body_sha: str = ""
    end: End = "whole"
    message: str = ""
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer as it came. `headers`: those that are kept. `chunks` None: it was too long to be kept."""

    status: int
    headers: Mapping[str, str]
    chunks: Sequence[bytes] | None
    end: End = "whole"
    message: str = ""


def redacted(chunks: Sequence[bytes], redaction: Redaction) -> tuple[bytes, list[int]]:
    """The body without the key, and the sizes of its pieces. A key that was cut in two is found too; the cut
    is then behind it."""
    body = b"".join(chunks)
    spans = iter([*redaction.spans(body), (len(body), len(body))])
    start, stop = next(spans)
    sizes: list[int] = []
    end = put = shorter = inside = 0
    for chunk in chunks:
        end += len(chunk)
        while start < end:
            shorter += stop - start - len(REDACTED)
            inside = stop
            start, stop = next(spans)
        sizes.append(max(end, inside) - shorter - put)
        put += sizes[-1]
    sizes = [size for size in sizes if size]
    most = sizes[: MAX_CHUNKS - 1]
    return redaction.bytes_(body), sizes if len(sizes) <= MAX_CHUNKS else [*most, put - sum(most)]


class Recording:
    """One that is being made. Numbers are given out in the order of `keep`, which any thread may call."""

    def __init__(self, folder: Path, name: str) -> None:
        """Raises RecordingTaken for a name that there is already: nothing is overwritten or mixed."""
        self.name = name
        self._folder = folder / name
        self._lock = threading.Lock()  # protects the counts below, and the order of the index
        self._answers = self._left_out = self._bytes = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.mkdir(mode=0o700)
        except FileExistsError as error:
            raise RecordingTaken(
                f"there is a recording {name!r} already: take another name, or remove its folder"
            ) from error
        except OSError as error:
            raise RecordingUnusable(f"recording {name!r}: {error.strerror}: check the folder") from error
        self._append(_json.encode({"hotseat_recording": _VERSION}))

    @property
    def summary(self) -> dict[str, object]:
        """`left_out`: answers that a replay will not have."""
        counts = {"answers": self._answers, "left_out": self._left_out, "bytes": self._bytes}
        return {"name": self.name, **counts}

    def keep(self, asked: Question, heard: Heard, redaction: Redaction) -> None:
        """Raises OSError where not even its line can be written."""
        entry = Entry(
            number=0,
            address=asked.address,
            sha=asked.sha,
            parts=dict(asked.parts),
            status=heard.status,
            headers={name: redaction.text(value) for name, value in heard.headers.items()},
            end=heard.end,
            message=redaction.text(heard.message),
        )
        body, sizes = (b"", []) if heard.chunks is None else redacted(heard.chunks, redaction)
        with self._lock:
            number = self._answers + self._left_out + 1
            left_out = self._no_room_for(heard, len(body), number) or self._written(number, body)
            if left_out:
                self._left_out += 1
                kept = msgspec.structs.replace(entry, number=number, left_out=left_out)
            else:
                self._answers += 1
                self._bytes += len(body)
                kept = msgspec.structs.replace(entry, number=number, chunks=sizes, body_sha=_sha(body))
            if number <= MAX_ANSWERS:
                self._append(_json.encode(kept))

    def _written(self, number: int, body: bytes) -> str:
        try:
            _write_whole(self._folder / _body_name(number), body)
        except OSError as error:
            return f"it could not be written: {error.strerror}"
        return ""

    def _no_room_for(self, heard: Heard, n_bytes: int, number: int) -> str:
        if heard.chunks is None:
            return f"the answer had more than {MAX_ANSWER_BYTES} bytes"
        if self._bytes + n_bytes > MAX_RECORDING_BYTES:
            return f"the recording had {MAX_RECORDING_BYTES} bytes"
        if number > MAX_ANSWERS:
            return f"the recording had {MAX_ANSWERS} answers"
        return ""

    def discard(self) -> None:
        """One that nobody will record to."""
        (self._folder / INDEX).unlink()
        self._folder.rmdir()

    def _append(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        _write_all(self._folder / INDEX, flags, line + b"\n")
        self._bytes += len(line) + 1


def _body_name(number: int) -> str:
    return f"{number:06}.body"


def _write_whole(path: Path, data: bytes) -> None:
    beside = path.with_suffix(".part")
    _write_all(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, data)
    beside.replace(path)


def _write_all(path: Path, flags: int, data: bytes) -> None:
    with open(os.open(path, flags, 0o600), "wb", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]


# --- given again ---------------------------------------------------------------------------------


class Replay:
    """A recording that is read. `next` belongs to the event loop, the rest to any thread."""

    def __init__(self, folder: Path, name: str) -> None:
        """Raises NoSuchRecording, RecordingUnusable."""
        self.name = name
        self._folder = folder / name
        self._asked: Counter[tuple[Address, str]] = Counter()
        self._entries: dict[tuple[Address, str], list[Entry]] = {}
        for entry in self._read():
            short = msgspec.structs.replace(entry, parts={})
            self._entries.setdefault((entry.address, entry.sha), []).append(short)

    @property
    def n_answers(self) -> int:
        return sum(map(len, self._entries.values()))

    def next(self, asked: Question) -> Entry | None:
        """What the request is answered: None if it was never recorded."""
        entries = self._entries.get(asked.key)
        if entries is None:
            return None
        nth = self._asked[asked.key]
        self._asked[asked.key] += 1
        return entries[min(nth, len(entries) - 1)]

    def body(self, entry: Entry) -> bytes:
        """Raises RecordingUnusable."""
        try:
            with open(_opened(self._folder / _body_name(entry.number)), "rb") as file:
                body = file.read(MAX_ANSWER_BYTES + 1)
        except OSError as error:
            raise self._unusable(f"answer {entry.number}: {error.strerror}") from error
        if len(body) != sum(entry.chunks) or _sha(body) != entry.body_sha:
            raise self._unusable(f"answer {entry.number} is not what was recorded")
        return body

    def explained(self, asked: Question) -> str:
        """Why `next` has nothing for it: the recorded request that is nearest, and how it differs."""
        nearest: Entry | None = None
        best = (-1, -1)
        for entry in self._read():
            same = sum(entry.parts.get(where) == digest for where, digest in asked.parts.items())
            rank = (_agreement(asked.address, entry.address), same)
            if rank > best:
                nearest, best = entry, rank
        if nearest is None:
            return "it has no answers"
        if nearest.address != asked.address:
            return f"the nearest recorded request is number {nearest.number}, {nearest.address}"
        difference = first_difference(asked.parts, nearest.parts)
        return f"the nearest recorded request is number {nearest.number}; first difference: {difference}"

    def _read(self) -> Iterator[Entry]:
        """A last line without its end was never finished: the recording server died then."""
        try:
            with open(_opened(self._folder / INDEX), "rb") as file:
                head = file.readline(MAX_LINE_BYTES)
                if _version(head) != _VERSION:
                    raise self._unusable(f"{INDEX} does not begin as version {_VERSION} does")
                for number in range(2, MAX_ANSWERS + 3):
                    line = file.readline(MAX_LINE_BYTES)
                    if not line.endswith(b"\n"):
                        return
                    yield self._entry(line, number)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoSuchRecording(
                f'there is no recording {self.name!r}: a run with it as "record" makes one'
            ) from error
        except OSError as error:
            raise self._unusable(str(error.strerror)) from error

    def _entry(self, line: bytes, number: int) -> Entry:
        try:
            return msgspec.json.decode(line, type=Entry)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._unusable(f"{INDEX}, line {number}: {error}") from error

    def _unusable(self, message: str) -> RecordingUnusable:
        return RecordingUnusable(f"recording {self.name!r}: {message}: record it again")


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _agreement(asked: Address, recorded: Address) -> int:
    return sum(getattr(asked, name) == getattr(recorded, name) for name in Address.__struct_fields__)


def _version(head: bytes) -> object:
    try:
        found = msgspec.json.decode(head)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found.get("hotseat_recording") if isinstance(found, dict) else None

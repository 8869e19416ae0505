"""Files that people or programs wrote: read within bounds, and what pydantic says of them in one line."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from bench.errors import BenchError

MAX_SHOWN_CHARS = 80


def bounded(path: Path, most_bytes: int, raising: type[BenchError] = BenchError, hint: str = "") -> bytes:
    """Raises `raising` for a file that cannot be read or is longer; `hint`: what to do if it is not there."""
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
            n_bytes = len(data) if len(data) <= most_bytes else path.stat().st_size
    except OSError as error:
        raise raising(f"{path}: {error.strerror}{hint}") from error
    if len(data) > most_bytes:
        raise raising(f"{path}: {n_bytes} bytes, more than {most_bytes}")
    return data


def bounded_text(path: Path, most_bytes: int, raising: type[BenchError] = BenchError, hint: str = "") -> str:
    data = bounded(path, most_bytes, raising, hint)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise raising(f"{path}: not UTF-8") from error


def first_complaint(error: ValidationError) -> str:
    """The key, what is wrong with it, and what was found there."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    found = first["input"]
    shown = repr(found[:MAX_SHOWN_CHARS]) if isinstance(found, str) else repr(found)[:MAX_SHOWN_CHARS]
    return f"{key}: {first['msg']}, found {shown}"

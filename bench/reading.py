"""Files of a benchmark: read within bounds, with what is wrong with them in one line; written whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

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


def bounded_if_there(path: Path, most_bytes: int) -> bytes | None:
    """None: there is no such file. Raises BenchError."""
    try:
        return bounded(path, most_bytes)
    except BenchError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def versioned(path: Path, data: bytes, version: int, hint: str = "") -> dict[str, Any]:
    """A JSON object whose `format` is `version`. Raises BenchError; `hint`: what to do then."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path}: not JSON: {error}{hint}") from error
    said = found.get("format") if isinstance(found, dict) else None
    if not isinstance(found, dict) or said != version:
        raise BenchError(f"{path}: format {said!r}, and this version of Hotseat reads {version}{hint}")
    return found


def write_whole(path: Path, text: str) -> None:
    """Whole or not at all, also when the machine stops. Raises BenchError."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}: name a place that can be written") from error


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

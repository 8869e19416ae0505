"""Lock files: what is in them, and what must not be.

    python -m bootstrap.lockfiles locks/*.txt      # exit 1 and one line per problem

A lock says which files are wanted (name, version, SHA-256) and never where they come from: the
address of an index, or a path, would be a secret of whoever made it or a trap for whoever uses it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_NAME = r"[a-z0-9][a-z0-9.-]*"
_PIN = re.compile(rf"(?P<name>{_NAME})==(?P<version>[A-Za-z0-9.+!]+)( ; [^\\]+)? \\")
_HASH = re.compile(r"    --hash=sha256:(?P<hex>[0-9a-f]{64})( \\)?")
_COMMENT = re.compile(r" *#.*")
_ADDRESS = re.compile(r"://|\\\\|(^|[\s(=])~?/[\w.]|(^|[\s(])\.\.?/")


def blocks(text: str) -> dict[str, str]:
    """Requirement name -> its lines. Lines before the first requirement are left out."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines(keepends=True):
        if match := _PIN.match(line):
            current = found.setdefault(match["name"], [])
        current.append(line)
    return {name: "".join(lines) for name, lines in found.items()}


def version(block: str) -> str:
    match = _PIN.match(block)
    if match is None:
        raise ValueError(f"not a pinned requirement: {block.splitlines()[0]!r}")
    return match["version"]


def hashes(block: str) -> frozenset[str]:
    """The SHA-256 of every file that the requirement accepts, in hex."""
    return frozenset(match["hex"] for line in block.splitlines() if (match := _HASH.fullmatch(line)))


def problems(text: str) -> list[str]:
    """Every line that is not a pin, a hash or a harmless comment, and every pin without a hash."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        known = not line or any(shape.fullmatch(line) for shape in (_PIN, _HASH, _COMMENT))
        if not known:
            found.append(f"line {number}: neither a pin, a hash nor a comment: {line.strip()}")
        elif _ADDRESS.search(line):
            found.append(f"line {number}: an address or a path: {line.strip()}")
    found += [f"{name}: no hash" for name, block in blocks(text).items() if not hashes(block)]
    if not blocks(text):
        found.append("no requirement in it")
    return found


def main(paths: list[str]) -> int:
    found = [f"{path}: {problem}" for path in paths for problem in problems(Path(path).read_text("utf-8"))]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

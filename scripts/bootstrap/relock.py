"""Write locks/ from pyproject.toml, locks/build.in and locks/models.in. Run by scripts/lock.

    scripts/lock              # keep the versions that still fit
    scripts/lock --upgrade    # take the newest that fit

pip-compile finds the versions and the hashes of all their files on the public index (or
PIP_INDEX_URL), whatever else pip is configured to look at here: a package known to one machine
alone must not be pinned. All files are checked before the first is written.

    dev.txt       runtime, tests and checks; runtime.txt is a part of it, at the same versions
    runtime.txt   what `hotseat` needs, less the engine, and what builds it
    engine.txt    the engine's sources
    models.txt    the packages with the demo models
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from bootstrap.engine import DISTRIBUTION
from bootstrap.failures import SetupError
from bootstrap.lockfiles import blocks, problems
from bootstrap.places import find_places
from bootstrap.progress import Progress
from bootstrap.storage import replace_text, scratch_directory
from bootstrap.tools import Tools

_HEADER = "# Written by scripts/lock; change pyproject.toml or the .in files here, not this.\n"
_INDEX_SETTINGS = ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CONSTRAINT")
_OPTIONS = (
    *("--quiet", "--generate-hashes", "--strip-extras", "--no-header", "--allow-unsafe"),
    *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--no-emit-options"),
)


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--upgrade"]):
        print(__doc__, file=sys.stderr)
        return 2
    root = Path(__file__).resolve().parents[2]
    progress = Progress(sys.stderr)
    tools = Tools(find_places(root, os.environ), dict(os.environ), progress)
    try:
        written = _compile_all(tools, upgrade=bool(arguments))
        _check(written)
    except SetupError as error:
        print(f"hotseat: error: {error}", file=sys.stderr)
        return 1
    for name, text in written.items():
        replace_text(tools.places.locks / name, text)
    return 0


def _compile_all(tools: Tools, *, upgrade: bool) -> dict[str, str]:
    """File name -> contents."""
    locks = tools.places.locks
    old = {} if upgrade else blocks("".join(_text(locks / name) for name in ("dev.txt", "engine.txt")))
    development = _compile(tools, old, "--extra=test", "--extra=check", "pyproject.toml", "locks/build.in")
    runtime = _compile(tools, development, "pyproject.toml", "locks/build.in")
    models = _compile(tools, {}, "locks/models.in")
    wanted = {line.partition("==")[0] for line in _text(locks / "models.in").splitlines() if "==" in line}
    return {
        "dev.txt": _joined(development, development.keys() - {DISTRIBUTION}),
        "runtime.txt": _joined(runtime, runtime.keys() - {DISTRIBUTION}),
        "engine.txt": _joined(runtime, {DISTRIBUTION}),
        "models.txt": _joined(models, wanted),
    }


def _compile(tools: Tools, preferred: Mapping[str, str], *arguments: str) -> dict[str, str]:
    """What pip-compile pins, by name; versions in `preferred` are kept where they fit."""
    tools.progress.step(f"locks: resolving {' '.join(arguments)} (1 to 3 minutes)")
    env = {name: value for name, value in tools.environment().items() if name not in _INDEX_SETTINGS}
    env |= {"PIP_CONFIG_FILE": os.devnull}
    with scratch_directory(tools.places, "locks") as scratch:
        output = scratch / "lock.txt"
        output.write_text("".join(preferred.values()), "utf-8")
        # paths are given relative to the root: pip-compile writes them down
        compiling = ("-m", "piptools", "compile", *_OPTIONS, "-o", str(output), *arguments)
        tools.run("locks", tools.places.python, *compiling, doing="resolving versions", env=env)
        return blocks(output.read_text("utf-8"))


def _joined(compiled: Mapping[str, str], names: Iterable[str]) -> str:
    return _HEADER + "".join(compiled[name] for name in sorted(names))


def _check(written: Mapping[str, str]) -> None:
    found = [f"{name}: {problem}" for name, text in written.items() for problem in problems(text)]
    if found:
        raise SetupError("the new locks are not clean, the old ones are kept:\n  " + "\n  ".join(found))


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

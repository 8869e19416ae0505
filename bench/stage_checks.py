"""The tests/check.py of a stage, copied into its task: runs the checks of every stage so far, each on a copy
of its own of what the stage left, so that none can help or harm another.

    python3 -I check.py TESTS APP LOGS

TESTS/checks.json says which, and which of them are the stage's own. LOGS/verifier/checks.json says of each
how it ended; LOGS/verifier/reward.json has the share that passed ("visible": the agent was shown the checks),
and beside it that of the stage's own and of the earlier ones. Without any check nothing is verified: the
reward then says whether anything was changed, and "unverified" that it says no more.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # tests/, where a copy of bench/user_checks.py lies
from bench.user_checks import run, sandbox, walls

SHOWN_CHARS = 2000
LINKED_BEYOND_BYTES = 8 * 2**20
"""A larger file is linked into a copy, not copied: the checks' processes may write no larger ones."""

MAX_GUARDED = 1000


def main() -> None:
    tests, app, logs = (Path(word) for word in sys.argv[1:4])
    wanted = json.loads((tests / "checks.json").read_bytes())
    for name in [name for name in os.environ if name.startswith("HOTSEAT_")]:
        del os.environ[name]
    folder = logs / "verifier"
    folder.mkdir(parents=True, exist_ok=True)
    ended = []
    is_walled = bool(sandbox(app)) if wanted["checks"] else False
    for check in wanted["checks"]:
        ended.append(checked(check, app, wanted["check_s"], is_walled=is_walled))
        whole(folder / "checks.json", ended)
    whole(folder / "checks.json", ended)
    whole(folder / "reward.json", scores(ended, wanted["stage"], logs / "diff.patch"))


def checked(check: dict[str, Any], app: Path, limit_s: float, *, is_walled: bool) -> dict[str, Any]:
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="check-", dir=app.parent, ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / app.name
        shutil.copytree(app, copy, symlinks=True, copy_function=copied)
        ended = run(check["command"], copy, guarded(copy) if is_walled else [], limit_s)
    said = (ended.stdout + ended.stderr).replace(folder, "..").strip()[-SHOWN_CHARS:]
    how = "took too long" if ended.exit_code is None else f"exit code {ended.exit_code}"
    print(f"$ {check['command']}\n{said}\n({how})", flush=True)  # noqa: T201
    return {
        "stage": check["stage"],
        "item": check["item"],
        "passed": ended.exit_code == 0,
        "exit_code": ended.exit_code,
        "seconds": round(time.monotonic() - begun_s, 3),
        "said": said,
    }


def copied(source: str, target: str) -> None:
    if os.path.getsize(source) > LINKED_BEYOND_BYTES and not os.path.islink(source):
        os.link(source, target)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def guarded(copy: Path) -> list[str]:
    """A linked file is the other checks' too: it can be read, and not written."""
    files = (path for path in sorted(copy.rglob("*")) if path.is_file() and not path.is_symlink())
    linked = [str(path) for path in files if path.stat().st_nlink > 1][:MAX_GUARDED]
    return [*walls(copy), *(part for path in linked for part in ("--ro-bind", path, path))]


def scores(ended: list[dict[str, Any]], stage: int, patch: Path) -> dict[str, float]:
    if not ended:
        is_changed = patch.is_file() and patch.stat().st_size > 0
        return {"reward": float(is_changed), "unverified": 1.0}
    own = [one["passed"] for one in ended if one["stage"] == stage]
    earlier = [one["passed"] for one in ended if one["stage"] != stage]
    shares = {"reward": share(own + earlier), "visible": share(own + earlier)}
    if own:
        shares["stage"] = share(own)
    if earlier:
        shares["earlier"] = share(earlier)
    return shares


def share(passed: list[bool]) -> float:
    return sum(passed) / len(passed)


def whole(path: Path, value: object) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value))
    partial.replace(path)


if __name__ == "__main__":
    main()

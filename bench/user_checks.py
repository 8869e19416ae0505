"""The tests/check.py of a user's own task, copied into it: runs the user's commands on what a candidate left.

    python3 -I check.py TESTS APP LOGS

TESTS/checks.json says which; LOGS/verifier/reward.json is the share of checks that passed ("visible": whoever
races has seen them), LOGS/verifier/behaviour.json what the probes printed. Without any check nothing is
verified: the reward then says whether anything was changed, and "unverified" that it says no more.

The commands run what a model wrote. Where bubblewrap is allowed they have no network, and can write to the
copy and to temporary folders alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BEHAVIOUR_BYTES = 64 * 1024
MAX_PROBE_CHARS = 4096
MIN_PROBE_CHARS = 64
MAX_READ_BYTES = 2**20
SHOWN_CHARS = 4000
TRIED_S = 10
TMP = "/tmp"


@dataclass(frozen=True)
class Ended:
    """`exit_code` None: it took too long."""

    exit_code: int | None
    stdout: str
    stderr: str


def main() -> None:
    tests, app, logs = (Path(word) for word in sys.argv[1:4])
    wanted = json.loads((tests / "checks.json").read_bytes())
    before = sandbox(app)
    where = "in a sandbox" if before else "without a sandbox: bubblewrap is not allowed here"
    print(f"the commands run {where}", flush=True)  # noqa: T201
    (logs / "verifier").mkdir(parents=True, exist_ok=True)
    checked = [checks(command, run(command, app, before, wanted["check_s"])) for command in wanted["checks"]]
    (logs / "verifier" / "checks.json").write_text(json.dumps(checked, indent=1))
    outputs = [
        printed(run(probe["command"], app, before, wanted["probe_s"]), app) for probe in wanted["probes"]
    ]
    if wanted["probes"]:
        (logs / "verifier" / "behaviour.json").write_text(behaviour(wanted["probes"], outputs))
    passed = [check["exit_code"] == 0 for check in checked]
    (logs / "verifier" / "reward.json").write_text(json.dumps(scores(passed, logs / "diff.patch")))


def scores(passed: list[bool], patch: Path) -> dict[str, float]:
    if not passed:
        is_changed = patch.is_file() and patch.stat().st_size > 0
        return {"reward": float(is_changed), "unverified": 1.0}
    share = sum(passed) / len(passed)
    each = {f"check {number}": float(one) for number, one in enumerate(passed, 1)} if len(passed) > 1 else {}
    return {"reward": share, "visible": share, **each}


def checks(command: str, ended: Ended) -> dict[str, Any]:
    """How it ended; what it said goes to the log. `exit_code` None: it took too long."""
    how = "it took too long" if ended.exit_code is None else f"exit code {ended.exit_code}"
    print(f"$ {command}\n{(ended.stdout + ended.stderr)[-SHOWN_CHARS:]}\n({how})", flush=True)  # noqa: T201
    return {"command": command, "exit_code": ended.exit_code}


# --- probes ---------------------------------------------------------------------------------------


def printed(ended: Ended, app: Path) -> str:
    """What a probe shows of a candidate, without where the copy lies: that differs from one to the next."""
    said = ended.stdout
    if ended.exit_code is None:
        said += "\n(it did not end in time)"
    elif ended.exit_code != 0:
        last = ended.stderr.strip().splitlines()[-1:] or [""]
        said += f"\n{last[0]}\n(exit code {ended.exit_code})"
    return said.replace(str(app), ".").replace(str(app.parent), "..").strip()


def behaviour(probes: list[dict[str, str]], outputs: list[str]) -> str:
    """Within its bound: the longest outputs are cut, and what was cut off still tells them apart."""
    limit = MAX_PROBE_CHARS
    while True:
        rows = [row(probe, output, limit) for probe, output in zip(probes, outputs, strict=True)]
        text = json.dumps({"probes": rows})
        if len(text.encode()) <= MAX_BEHAVIOUR_BYTES or limit <= MIN_PROBE_CHARS:
            return text
        limit //= 2


def row(probe: dict[str, str], output: str, limit: int) -> dict[str, Any]:
    name = probe["name"]
    if len(output) > limit:
        digest = hashlib.sha256(output.encode(errors="replace")).hexdigest()[:16]
        output = f"{output[:limit]}… (cut: {len(output)} characters, sha256 {digest})"
    question = {"question": name} if name.endswith("?") else {}
    return {"name": name, "input": probe["command"][:limit], "output": output, **question}


# --- running --------------------------------------------------------------------------------------


def run(command: str, app: Path, before: list[str], limit_s: float) -> Ended:
    """In a group of its own, which ends with it. `before`: what goes before the command."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            [*before, "bash", "-c", command],
            cwd=app,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        exit_code: int | None
        try:
            exit_code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            exit_code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said = []
        for file in (stdout, stderr):
            file.seek(0)
            said.append(file.read(MAX_READ_BYTES).decode(errors="replace"))
    return Ended(exit_code, *said)


def sandbox(app: Path) -> list[str]:
    """What goes before a command, or nothing where it is not allowed: tried once."""
    if shutil.which("bwrap") is None:
        return []
    try:
        tried = subprocess.run([*walls(app), "true"], capture_output=True, timeout=TRIED_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return walls(app) if tried.returncode == 0 else []


def walls(app: Path) -> list[str]:
    return [
        *("bwrap", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--die-with-parent"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", TMP),
        *(part for folder in programs_in_tmp() for part in ("--ro-bind", folder, folder)),
        *("--bind", str(app), str(app)),
        *("--bind", os.environ["HOME"], os.environ["HOME"]),
        *("--chdir", str(app)),
    ]


def programs_in_tmp() -> list[str]:
    """What PATH names there, which would be hidden: a virtual environment as a whole."""
    folders = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    whole = [one.parent if one.name == "bin" and one.parent != Path(TMP) else one for one in folders]
    return [str(one) for one in whole if one.is_relative_to(TMP) and one != Path(TMP) and one.is_dir()]


if __name__ == "__main__":
    main()

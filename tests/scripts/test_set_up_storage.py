"""Two set-ups at once, and set-ups that were killed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

from bootstrap.places import Places, find_places
from bootstrap.progress import Progress
from bootstrap.storage import only_file, only_one, replace_directory, replace_text, scratch_directory

SCRIPTS = Path(__file__).parents[2] / "scripts"

# Holds the lock, says so, and waits to be told to end. Run as a process of its own.
HOLDER = """
import sys
from pathlib import Path
from bootstrap.places import Places
from bootstrap.progress import Progress
from bootstrap.storage import only_one
with only_one(Places(Path(sys.argv[1]), Path(sys.argv[2])), Progress(sys.stdout)):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(places: Places) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, places.root, places.home],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_second_set_up_waits_for_the_first(tmp_path: Path) -> None:
    places = find_places(tmp_path, {"HOTSEAT_HOME": str(tmp_path / "home")})
    with holder(places) as first:
        assert line(first) == "held"
        with holder(places) as second:
            assert line(second) == "hotseat: another set-up is running; waiting for it to end"
            first.communicate("\n", timeout=30)
            assert line(second) == "held"
            second.communicate("\n", timeout=30)


def test_a_killed_set_up_leaves_no_lock_and_no_scratch(tmp_path: Path) -> None:
    places = find_places(tmp_path, {"HOTSEAT_HOME": str(tmp_path / "home")})
    with holder(places) as killed:
        assert line(killed) == "held"
        (places.scratch / "wheel-x").mkdir(parents=True)
        killed.kill()
    with only_one(places, Progress(io.StringIO())):
        assert not places.scratch.exists()


def test_scratch_is_gone_after_a_failure(tmp_path: Path) -> None:
    places = find_places(tmp_path, {"HOTSEAT_HOME": str(tmp_path / "home")})
    try:
        with scratch_directory(places, "wheel") as scratch:
            (scratch / "half").write_text("made")
            raise RuntimeError("killed")
    except RuntimeError:
        pass
    assert list(places.scratch.iterdir()) == []


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    kept, made = tmp_path / "wheels" / "key", tmp_path / "made"
    for text in ("old", "new"):
        made.mkdir()
        (made / f"{text}.whl").write_text(text)
        replace_directory(made, kept)
    assert only_file(kept, "*.whl") == kept / "new.whl"


def test_a_text_is_replaced_without_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "stamp.json"
    for text in ("old", "new"):
        replace_text(path, text)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("stamp.json", "new")]


def test_progress_in_a_log_counts_in_few_lines() -> None:
    out = io.StringIO()
    progress = Progress(out)
    progress.step("engine: compiling")
    for done in range(1, 141):
        progress.count("compiled", done, 140)
    lines = out.getvalue().splitlines()
    assert lines[0] == "hotseat: engine: compiling"
    assert len(lines) <= 7
    assert lines[-1].startswith("hotseat:   compiled 140/140, ")

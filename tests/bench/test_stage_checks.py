"""The checks of a stage, as its task runs them."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.sandbox import isolation
from bench.snapshot import pack_folder
from bench.spec import parse_spec
from bench.stage_review import read_ended
from bench.stage_task import write_stage_task
from bench.verifier import MAX_OUTPUT_BYTES, Verdict, verify


def spec_of(*stages: list[str]) -> bytes:
    """Each a list of commands."""
    return "".join(
        f"## Stage: s{number}\n### Acceptance\n- it is readable\n"
        + "".join(f"- it holds. check: `{command}`\n" for command in commands)
        for number, commands in enumerate(stages)
    ).encode()


def verdict(
    folder: Path,
    spec_bytes: bytes,
    number: int,
    app: dict[str, bytes],
    check_s: float = 30.0,
    pipes: tuple[str, ...] = (),
) -> Verdict:
    spec = parse_spec(spec_bytes)
    for name in ("empty", "app", "logs"):
        (folder / name).mkdir()
    for name, data in app.items():
        (folder / "app" / name).write_bytes(data)
    for name in pipes:
        os.mkfifo(folder / "app" / name)
    pack_folder(folder / "empty", folder / "start.tar")
    stage = spec.stages[number - 1]
    task = write_stage_task(folder / stage.label, spec, stage, "Do it.", folder / "start.tar", check_s)
    assert task.name == stage.label
    return asyncio.run(verify(task, folder / "app", folder / "logs", 0))


def reward(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "logs" / "verifier" / "reward.json").read_text())
    return found


def test_the_checks_of_all_stages_so_far_count_and_those_of_later_ones_do_not(tmp_path: Path) -> None:
    spec = spec_of(["true", "echo no; echo why >&2; exit 3"], ["test -f made"], ["false"])
    found = verdict(tmp_path, spec, 2, {"made": b""})
    assert (found.error, found.reward) == ("", 2 / 3)
    assert found.scores == {"visible": 2 / 3, "stage": 1.0, "earlier": 0.5}
    ended = read_ended(tmp_path / "logs")
    assert [(one.stage, one.item, one.passed, one.exit_code) for one in ended] == [
        (1, 2, True, 0),
        (1, 3, False, 3),
        (2, 2, True, 0),
    ]
    assert ended[1].said == "no\nwhy"


def test_no_check_helps_or_harms_another_and_none_knows_where_results_go(tmp_path: Path) -> None:
    big = b"\0" * (MAX_OUTPUT_BYTES + 2**20)  # more than a check may write
    commands = [
        "rm a.txt big.bin; echo 1 > made; env > seen",
        "test -f a.txt && test -f big.bin && test ! -e made",
        "! env | grep HOTSEAT_",
        "test $PWD/a.txt -ef a.txt",
    ]
    found = verdict(tmp_path, spec_of(commands), 1, {"a.txt": b"a\n", "big.bin": big})
    assert (found.reward, found.error) == (1.0, "")
    assert (tmp_path / "app" / "big.bin").read_bytes() == big


@pytest.mark.skipif(isolation().bwrap is None, reason=isolation().why_not or "-")
def test_no_check_writes_to_what_others_are_linked_to(tmp_path: Path) -> None:
    big, middle = b"\0" * (MAX_OUTPUT_BYTES + 1), b"\0" * (MAX_OUTPUT_BYTES // 2 + 1)
    commands = [": > big.bin; echo more >> middle.bin; true", "test -s big.bin && ! grep -q more middle.bin"]
    found = verdict(tmp_path, spec_of(commands), 1, {"big.bin": big, "middle.bin": middle})
    assert (found.reward, found.error) == (1.0, "")


def test_a_pipe_that_a_server_left_is_in_nobodys_way(tmp_path: Path) -> None:
    found = verdict(tmp_path, spec_of(["test -f a.txt"]), 1, {"a.txt": b"a\n"}, pipes=("server.pipe",))
    assert (found.reward, found.error) == (1.0, "")


def test_a_check_that_hangs_fails_alone(tmp_path: Path) -> None:
    found = verdict(tmp_path, spec_of(["exec sleep 600", "true"]), 1, {}, check_s=1.0)
    assert found.reward == 0.5
    assert [(one.passed, one.exit_code) for one in read_ended(tmp_path / "logs")] == [
        (False, None),
        (True, 0),
    ]


def test_without_a_check_nothing_is_verified(tmp_path: Path) -> None:
    found = verdict(tmp_path, spec_of([]), 1, {})
    assert (found.reward, found.scores) == (0.0, {"unverified": 1.0})
    assert read_ended(tmp_path / "logs") == ()

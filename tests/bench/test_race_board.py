"""The lines of a race: what they say, and that they can be drawn over."""

from __future__ import annotations

import io
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.plan import Cell, Configuration
from bench.race_board import Board
from bench.results import Manifest, NodeTotals, Tokens, TrialResult
from bench.task import named_task
from bench.watch import Wire


def the_cell(name: str, main: str = "big") -> Cell:
    configuration = Configuration(name, "codex", main, main, {}, None, "native")
    return Cell(configuration, named_task("smoke"), 1, 1)


def the_result(name: str, **given: Any) -> TrialResult:
    node = NodeTotals(
        node="n", parent_node="", role="main", model="big", upstream="local", requests=3, failed_requests=0,
        tokens=Tokens(input=1000, output=50), tool_calls=0, cost_usd=None, first_s=0, last_s=1, busy_s=1,
        waited_s=0,
    )  # fmt: skip
    fields: dict[str, Any] = {
        "job": "j", "trial": name, "run": "r", "task": "smoke", "task_digest": "d", "configuration": name,
        "attempt": 1, "seed": 1, "policy": "native", "started_at": 0.0, "outcome": "scored",
        "why_ended": "exited", "validity": "VALID", "reward": 0.5, "wall_s": 61.0, "waited_s": 0.0,
        "overhead_s": 0.0, "verifier_s": 0.0, "nodes": (node,), "cost_usd": Decimal("0.0125"),
        "manifest": Manifest(hotseat="1", harness="codex", harness_version="1"),
    }  # fmt: skip
    return TrialResult(**fields | given)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def screen(written: str) -> list[str]:
    """What a terminal shows of it: up, erase, and lines."""
    lines: list[str] = [""]
    at = 0
    for part in re.findall(r"\x1b\[\d*[AKJ]|\r|\n|[^\x1b\r\n]+", written):
        if match := re.fullmatch(r"\x1b\[(\d*)A", part):
            at -= int(match[1])
            assert at >= 0
        elif part == "\x1b[2K":
            lines[at] = ""
        elif part == "\x1b[J":
            del lines[at + 1 :]
            lines[at] = ""
        elif part == "\n":
            at += 1
            lines += [""] * (at + 1 - len(lines))
        elif part != "\r":
            lines[at] += part
    return [re.sub(" {2,}", "  ", line) for line in lines if line]


def test_each_candidate_has_a_line_that_is_redrawn() -> None:
    stream, clock = io.StringIO(), Clock()
    cells = [the_cell("right"), the_cell("subtle"), the_cell("nobody", "")]
    board = Board(stream, cells, size=lambda: (120, 24), clock=clock)
    board.began(cells[0])
    assert screen(stream.getvalue()) == [
        "right  prepares  0 s  0 requests  0 tokens  $0.0000  last sign 0 s ago",
        "subtle  waits",
        "nobody  waits",
    ]
    clock.now_s = 110
    board.saw(cells[0], "works", Wire(requests=2, in_flight=1, tokens=1234, usd=Decimal("0.5")))
    board.draw()
    assert screen(stream.getvalue())[0] == (
        "right  works  10 s  2 requests  1,234 tokens  $0.5000  is answered"
    )
    clock.now_s = 125
    board.saw(cells[0], "works", Wire(requests=2, in_flight=0, tokens=1234, usd=Decimal("0.5")))
    board.began(cells[2])
    shown = screen(stream.getvalue())
    assert shown[0].endswith("last sign 15 s ago")
    assert shown[2] == "nobody  prepares  0 s"
    board.ended(cells[0], the_result("right"))
    board.saw(cells[0], "works", Wire())  # what was asked for before it ended
    board.draw()
    shown = screen(stream.getvalue())
    assert shown[0] == "right  scored  61 s  reward 0.50  3 requests  1,050 tokens  $0.0125"
    assert len(shown) == 3


def test_a_trial_that_does_not_count_says_why() -> None:
    cells = [the_cell("a")]
    board = Board(io.StringIO(), cells, size=lambda: (200, 24), clock=Clock())
    board.began(cells[0])
    board.ended(
        cells[0],
        the_result(
            "a", validity="INVALID", invalid_because=("no request of it",), cost_usd=None, reward=None
        ),
    )
    line = board.lines(200, 24)[0]
    assert "no reward" in line
    assert "$ unknown" in line
    assert line.endswith("INVALID: no request of it")


def test_lines_are_no_wider_than_the_terminal_and_no_more_than_it_has() -> None:
    cells = [the_cell(f"candidate-number-{n}-of-a-long-name-indeed") for n in range(12)]
    clock = Clock()
    board = Board(io.StringIO(), cells, size=lambda: (60, 8), clock=clock)
    board.began(cells[9])
    lines = board.lines(60, 8)
    assert max(len(line) for line in lines) < 60
    assert len(lines) == 6
    assert any("prepares" in line for line in lines)
    assert lines[-1] == "and 7 more"


def test_what_models_are_called_cannot_obey_the_terminal() -> None:
    cells = [the_cell("a")]
    board = Board(io.StringIO(), cells, size=lambda: (200, 24), clock=Clock())
    board.began(cells[0])
    board.ended(cells[0], the_result("a", validity="INVALID", invalid_because=("\x1b[2J\n",)))
    assert "\x1b" not in "".join(board.lines(200, 24))


def test_without_a_terminal_there_are_plain_lines() -> None:
    stream = io.StringIO()
    cells = [the_cell("a")]
    board = Board(stream, cells)
    board.began(cells[0])
    board.saw(cells[0], "works", Wire(requests=1))
    board.draw()
    board.ended(cells[0], the_result("a"))
    assert stream.getvalue() == "a: begins\nsmoke a #1: reward 0.50, scored, 61.0 s\n"


def test_a_terminal_that_becomes_smaller_is_cleared(tmp_path: Path) -> None:
    stream = io.StringIO()
    cells = [the_cell(f"c{n}") for n in range(9)]
    sizes = iter([(80, 24), (80, 8), (80, 8)])
    board = Board(stream, cells, size=lambda: next(sizes), clock=Clock())
    board.draw()
    board.draw()
    assert len(screen(stream.getvalue())) == 6


def test_what_nothing_checked_has_no_reward_to_show() -> None:
    cells = [the_cell("a")]
    board = Board(io.StringIO(), cells, size=lambda: (200, 24), clock=Clock())
    board.began(cells[0])
    board.ended(cells[0], the_result("a", reward=1.0, scores={"unverified": 1.0}))
    line = board.lines(200, 24)[0]
    assert "unverified" in line
    assert "reward" not in line

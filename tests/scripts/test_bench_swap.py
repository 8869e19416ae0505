"""What scripts/bench-swap makes of what it measured."""

from __future__ import annotations

import itertools
import json

import pytest

from benchkit.swap_client import Answer
from benchkit.swap_cold import overheads
from benchkit.swap_models import Pace
from benchkit.swap_traffic import _interleaved, report_starvation, tokens_per_s
from inference.engines.script import parse_script


def answer(
    sent_s: float, total_s: float, *, first_s: float = 0.1, queue_s: float = 0.0, load_s: float = 0.0
) -> Answer:
    return Answer(sent_s=sent_s, first_s=first_s, total_s=total_s, queue_s=queue_s, load_s=load_s, tokens=50)


def test_throughput_runs_from_the_first_request_to_the_last_answer() -> None:
    assert tokens_per_s([answer(10.0, 1.0), answer(10.5, 1.5), answer(11.0, 1.0)]) == 150 / 2.0


def test_starvation_is_judged_by_the_bound_and_loss_by_the_same_model_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    alone = [answer(number, 1.0) for number in range(10)]
    both = [answer(number, 1.0) for number in range(8)] + [answer(9.0, 1.0)]
    waited = [answer(2.0, 12.0, queue_s=10.0, load_s=1.0), answer(22.0, 9.0, queue_s=8.0, load_s=0.8)]
    report_starvation(alone, both, waited, max_wait_s=10.0, mixed_s=10.0, unload_s=0.1)
    wait, lost = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (wait["value"], wait["bound_s"], wait["is_within"]) == (11.0, 12.1, True)
    assert (lost["value"], lost["goal"]) == (0.1, 0.2)
    report_starvation(alone, both, waited, max_wait_s=8.0, mixed_s=10.0, unload_s=0.1)
    assert json.loads(capsys.readouterr().out.splitlines()[0])["is_within"] is False


def test_overhead_is_what_the_engine_alone_would_not_have_taken() -> None:
    cold = [answer(0.0, 1.0, first_s=0.9), answer(0.0, 1.0, first_s=1.0)]
    assert overheads(cold, [0.6, 0.8]) == pytest.approx([300.0, 200.0])


def test_requests_alternate_and_no_prompt_comes_twice() -> None:
    serial = itertools.count()
    asks = _interleaved(6, serial) + _interleaved(6, serial)
    assert [one.model for one in asks] == ["a", "b"] * 6
    assert len({one.prompt for one in asks}) == 12


def test_a_pace_is_a_script() -> None:
    script = parse_script(Pace(load_s=1.5, first_token_s=0.2, tokens=7, tokens_per_s=50.0).script())
    assert (script.load.seconds, script.defaults.tokens_per_second, script.turn[0].repeat) == (1.5, 50.0, 7)
    assert parse_script(Pace().script()).defaults.tokens_per_second is None

"""Plans: what they may say, the order of their trials, other models in the place of those named."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from bench.errors import PlanError, TaskError
from bench.plan import Plan, load_plan, named_plan, seconds

PLAN = """
name = "demo"
seed = 7
attempts = 3
parallel = 2
caps = { wall = "10m", tokens = 1000, usd = 0.5 }
tasks = ["smoke"]

[configurations.both]
harness = "opencode"
main = "big"
subagents = { helper = "little" }
effort = "high"

[configurations.alone]
harness = "codex"
main = "big"
small = "little"
policy = "encouraged"

[configurations.best]
harness = "oracle"
"""


def plan(tmp_path: Path, text: str = PLAN, **remap: str) -> Plan:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return load_plan(path, remap)


def test_what_a_plan_says(tmp_path: Path) -> None:
    read = plan(tmp_path)
    assert (read.caps.wall_s, read.caps.tokens, read.caps.usd) == (600, 1000, Decimal("0.5"))
    both, alone, best = read.configurations
    assert (both.main, both.small, dict(both.subagents)) == ("big", "big", {"helper": "little"})
    assert (both.policy, alone.policy) == ("native", "encouraged")
    assert (both.models, alone.models, best.models) == (("big", "little"), ("big", "little"), ())
    assert [task.name for task in read.tasks] == ["smoke"]


def test_how_its_runs_are_held(tmp_path: Path) -> None:
    read = plan(tmp_path)
    assert (read.native_names, read.record, read.replay) == (False, False, None)
    assert [one.context for one in read.configurations] == [None] * 3
    given = 'context = 16384\nnative_names = true\nreplay = "../jobs/friday"\n'
    own = "[configurations.both]"
    read = plan(tmp_path, PLAN.replace(own, f"{given}{own}\ncontext = 4096", 1))
    assert [one.context for one in read.configurations] == [4096, 16384, 16384]
    assert (read.native_names, read.replay) == (True, tmp_path / "../jobs/friday")
    assert plan(tmp_path, PLAN.replace("seed = 7", "record = true")).record


def test_every_cell_once_interleaved_and_the_same_again(tmp_path: Path) -> None:
    read = plan(tmp_path)
    cells = read.cells()
    assert len({cell.trial for cell in cells}) == len(cells) == 9
    assert [cell.attempt for cell in cells] == [1] * 3 + [2] * 3 + [3] * 3
    assert [cell.trial for cell in plan(tmp_path).cells()] == [cell.trial for cell in cells]
    other = plan(tmp_path, PLAN.replace("seed = 7", "seed = 8")).cells()
    assert [cell.trial for cell in other] != [cell.trial for cell in cells]


def test_first_places_are_shared_out(tmp_path: Path) -> None:
    many = plan(tmp_path, PLAN.replace("attempts = 3", "attempts = 300")).cells()
    firsts = Counter(cell.configuration.name for cell in many[::3])
    assert min(firsts.values()) > 70


def test_a_task_has_the_same_seed_for_every_configuration(tmp_path: Path) -> None:
    seeds: dict[int, set[int]] = {}
    for cell in plan(tmp_path).cells():
        seeds.setdefault(cell.attempt, set()).add(cell.seed)
    assert [len(found) for found in seeds.values()] == [1, 1, 1]
    assert len(set.union(*seeds.values())) == 3


def test_other_models_in_their_place(tmp_path: Path) -> None:
    text = PLAN + '\n[models]\nbig = "mine"\n'
    assert [c.models for c in plan(tmp_path, text).configurations] == [
        ("mine", "little"),
        ("mine", "little"),
        (),
    ]
    both, *_ = plan(tmp_path, text, big="yours", little="yours").configurations
    assert both.models == ("yours",)
    with pytest.raises(PlanError, match="no configuration names bigg"):
        plan(tmp_path, bigg="x")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "demo"', 'nam = "demo"', "name: Field required"),
        ("attempts = 3", "attempts = 0", "attempts: .* greater than or equal to 1, found 0"),
        ('"10m"', '"10 min"', "caps.wall: .* expected a duration"),
        ('"opencode"', '"aider"', "configurations.both.harness"),
        ('main = "big"\nsub', "sub", "configurations.both.main: opencode takes a main model"),
        ('"oracle"', '"oracle"\nmain = "big"', "configurations.best.main: oracle takes no main model"),
        ('"smoke"', "{ n = 3 }", "expected a name"),
        ('["smoke"]', '["smoke", "smoke"]', "the same name"),
        ("attempts = 3", "attempts = 1000\nfoo = 1", "foo: Extra inputs"),
        ("attempts = 3", "context = 10", "context: .* greater than or equal to 1024, found 10"),
        ("attempts = 3", 'record = true\nreplay = "x"', "records or replays, not both"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in PLAN
    with pytest.raises(PlanError, match=said):
        plan(tmp_path, PLAN.replace(old, new, 1))


def test_unknown_tasks_and_plans(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no task 'smok'"):
        plan(tmp_path, PLAN.replace('"smoke"', '"smok"'))
    with pytest.raises(PlanError, match="Hotseat's own plans are"):
        named_plan("nix")


def test_a_task_of_ones_own_lies_beside_the_plan(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=str(tmp_path / "mine")):
        plan(tmp_path, PLAN.replace('"smoke"', '"./mine"'))


def test_durations() -> None:
    assert [seconds(text) for text in ("90", "90s", "1.5m", "2h")] == [90, 90, 90, 7200]

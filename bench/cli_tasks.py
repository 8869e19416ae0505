"""`hotseat bench tasks`: which tasks there are, and whether their checks can tell right from wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.task import Task
    from bench.task_check import Checked

DIGEST_CHARS = 12


@click.group("tasks", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="print as JSON")
@click.pass_context
def tasks(context: click.Context, as_json: bool) -> None:
    """List Hotseat's own tasks: phases, parameters, tags, what each requires, and what of that is missing.

    \b
    hotseat bench tasks
    hotseat bench tasks verify
    hotseat bench tasks verify migrate-30 ./my-task
    """
    if context.invoked_subcommand is not None:
        return
    from bench.task import own_tasks

    described = [_described(task) for task in _loaded(own_tasks())]
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    width = max(len(task["name"]) for task in described)
    for task in described:
        click.echo(f"{task['name']:<{width}}  {task['digest'][:DIGEST_CHARS]}  {_line(task)}")


@tasks.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--seed", type=int, help="what the workspaces are made from  [default: a fixed one]")
@click.option("--all-parameters", is_flag=True, help="every value of every parameter, not the first alone")
@click.option("--json", "as_json", is_flag=True, help="print as JSON")
def verify(names: tuple[str, ...], seed: int | None, all_parameters: bool, as_json: bool) -> None:
    """Check the checks of tasks, by name or folder: doing nothing must be worth 0, the oracle 1, and every
    broken oracle less than 1.

    Runs the task's own solutions on this machine. Exit status 1 if a task cannot tell; a task whose
    requirements are missing here is named and left out.
    """
    from bench.task import own_tasks
    from bench.task_check import SEED

    wrong, found = 0, []
    for task in _loaded(names or own_tasks(), all_parameters):
        if task.missing():
            click.echo(f"{task.label}: left out: {', '.join(task.missing())} not found", err=True)
            continue
        for checked in _checked(task, SEED if seed is None else seed):
            wrong += not checked.is_right
            found.append(_judged(checked))
            if not as_json:
                click.echo(_verdict(checked))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    if wrong or not found:
        click.echo(f"hotseat: {wrong} of {len(found)} solutions are not worth what they should be", err=True)
        sys.exit(1)


def _loaded(names: Sequence[str], all_parameters: bool = False) -> list[Task]:
    from bench.errors import BenchError
    from bench.task import named_task, variants

    try:
        found = [named_task(name) for name in names]
        return [variant for task in found for variant in variants(task)] if all_parameters else found
    except BenchError as error:
        raise click.ClickException(str(error)) from error


def _checked(task: Task, seed: int) -> list[Checked]:
    from bench.errors import BenchError
    from bench.task_check import check_task

    async def all_of_them() -> list[Checked]:
        return [checked async for checked in check_task(task, seed)]

    try:
        return asyncio.run(all_of_them())
    except BenchError as error:
        raise click.ClickException(str(error)) from error


def _described(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "digest": task.digest,
        "phases": [phase.name for phase in task.phases],
        "parameters": {name: list(values) for name, values in task.choices.items()},
        "tags": list(task.tags),
        "forks": [dataclasses.asdict(fork) for fork in task.forks],
        "requires": list(task.requires),
        "missing": task.missing(),
    }


def _line(task: dict[str, Any]) -> str:
    parts = [", ".join(task["tags"])]
    if len(task["phases"]) > 1:
        parts.append(f"phases {', '.join(task['phases'])}")
    parts += [f"{name} = {values}" for name, values in task["parameters"].items()]
    if task["missing"]:
        parts.append(f"CANNOT RUN HERE: {', '.join(task['missing'])} not found")
    return "; ".join(parts)


def _judged(checked: Checked) -> dict[str, Any]:
    return {
        "task": checked.task,
        "solution": checked.solution,
        "reward": checked.verdict.reward,
        "expected": checked.expected,
        "is_right": checked.is_right,
        "error": checked.verdict.error,
    }


def _verdict(checked: Checked) -> str:
    reward = checked.verdict.reward
    worth = f"the checks failed: {checked.verdict.error}" if reward is None else f"{reward:g}"
    said = "ok" if checked.is_right else f"WRONG: expected {checked.expected}"
    return f"{checked.task}  {checked.solution}: {worth}  {said}"

"""The picture of a simulation: how long requests waited, and who was resident when, policy by policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inference.simulation_script import SimulationReport, Stay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".svg", ".png")
POLICY_COLOURS = {"fifo": "#b0764a", "batching": "#7a7f87", "hotseat": "#1f6f8b"}
MODEL_COLOURS = ("#1f6f8b", "#d98b2b", "#5a8f4e", "#8b4a78", "#4a5f8b", "#8b7a1f")
OTHER_COLOUR = "#7a7f87"
LOADING_COLOUR = "#d7d9dc"


def draw(path: Path, reports: Mapping[str, SimulationReport], models: Sequence[str]) -> None:
    """Raises click.ClickException where the picture cannot be made."""
    if path.suffix not in FORMATS:
        raise click.ClickException(f"--plot {path}: expected a name that ends in {' or '.join(FORMATS)}")
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise click.ClickException("--plot needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(10, 1.6 + 0.42 * len(reports) * (len(models) + 1)), layout="constrained")
    waits, stays = figure.subplots(1, 2, width_ratios=[1, 2])
    _draw_waits(waits, reports)
    _draw_stays(stays, reports, models)
    with rc_context({"svg.hashsalt": "hotseat"}):  # the same picture is the same file
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_waits(axes: Axes, reports: Mapping[str, SimulationReport]) -> None:
    """The share of requests that waited no longer than so many seconds."""
    for policy, report in reports.items():
        waits_s = sorted(report.waits_s)
        shares = [(rank + 1) / len(waits_s) for rank in range(len(waits_s))]
        colour = POLICY_COLOURS.get(policy, OTHER_COLOUR)
        axes.step([0.0, *waits_s], [0.0, *shares], where="post", label=policy, color=colour)
    axes.set(xlabel="wait, s", ylabel="share of requests", title="waits", ylim=(0.0, 1.02))
    axes.set_xlim(left=0.0)
    axes.legend(loc="lower right", frameon=False)
    _clear(axes)


def _draw_stays(axes: Axes, reports: Mapping[str, SimulationReport], models: Sequence[str]) -> None:
    """A row for each policy and model: grey while it loads or leaves, coloured while it is ready."""
    labels: dict[float, str] = {}
    row = 0.0
    for policy, report in reports.items():
        for number, model in enumerate(models):
            labels[row] = f"{policy}: {model}"
            for stay in (stay for stay in report.stays if stay.model == model):
                _draw_stay(axes, stay, row, report.ended_s, MODEL_COLOURS[number % len(MODEL_COLOURS)])
            row += 1
        row += 0.6
    axes.set_yticks(list(labels), list(labels.values()))
    axes.invert_yaxis()
    axes.set(xlabel="time, s", title="who was resident (grey: loading or leaving)")
    axes.set_xlim(left=0.0)
    _clear(axes)


def _draw_stay(axes: Axes, stay: Stay, row: float, ended_s: float, colour: str) -> None:
    gone_s = ended_s if stay.gone_s is None else stay.gone_s
    axes.barh(row, gone_s - stay.started_s, left=stay.started_s, height=0.8, color=LOADING_COLOUR)
    if stay.ready_s is not None:
        until_s = gone_s if stay.stop_s is None else stay.stop_s
        axes.barh(row, until_s - stay.ready_s, left=stay.ready_s, height=0.8, color=colour)


def _clear(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="#e6e7e9")

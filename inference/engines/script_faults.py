"""What a script makes go wrong, and slow, outside of answers: crashes, hangs and the load itself."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from inference.engines.base import OnProgress
from inference.engines.script import LoadPlan
from inference.errors import LoadFailed

Death = Literal["kill", "abort", "hang"]
Die = Callable[[Death], None]


def die(death: Death) -> None:
    """End this process as a crash does, or never return, as a hung driver call does."""
    match death:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "abort":
            os.abort()
        case "hang":
            threading.Event().wait()


def run_load(
    load_plan: LoadPlan, folder: Path, on_progress: OnProgress, pause: Callable[[float], None], die: Die
) -> bytearray:
    if load_plan.stderr:
        print(load_plan.stderr, file=sys.stderr, flush=True)  # noqa: T201 - this is what a native engine does
    ballast = bytearray(b"\x01") * load_plan.allocate_bytes  # written to, hence resident
    for done in range(1, load_plan.progress_steps):
        pause(load_plan.seconds / load_plan.progress_steps)
        on_progress(done / load_plan.progress_steps)
    pause(load_plan.seconds / load_plan.progress_steps)
    goes_wrong = load_plan.fail is not None or load_plan.fault is not None
    if goes_wrong and first_time(load_plan.once_file, folder):
        if load_plan.fault is not None:
            die(load_plan.fault)
        raise LoadFailed(load_plan.fail or "scripted fault during load")
    on_progress(1.0)
    return ballast


def first_time(once_file: str | None, folder: Path) -> bool:
    """Whether a fault is still to happen. The file outlives the worker that the fault ends."""
    if once_file is None:
        return True
    try:
        (folder / once_file).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True

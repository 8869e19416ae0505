"""What the device does over time: a thread that samples it, and a bounded memory of samples.

A thread, since a driver under load takes tens of milliseconds to answer, and no stream should
wait for that. The owner starts it (`with DeviceSampler(meter)`) and stops it; reading is
thread-safe and never blocks on the device.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, Self

from inference.gpu import DeviceProcess, DeviceSample

KEPT_SAMPLES = 600
INTERVAL_S = 1.0

NO_SAMPLES: dict[str, Any] = {
    "interval_s": None,
    "note": "the device is not sampled",
    "latest": None,
    "samples": [],
    "processes": None,
    "foreign": None,
}

_log = logging.getLogger("hotseat.device")


class SampledDevice(Protocol):
    """NvmlMeter and HostMeter. `processes` None: not known, or of no use."""

    note: str | None

    def sample(self, at_s: float) -> DeviceSample: ...

    def processes(self) -> tuple[DeviceProcess, ...] | None: ...


class DeviceSampler:
    """`clock` is epoch time."""

    def __init__(
        self,
        device: SampledDevice,
        *,
        interval_s: float = INTERVAL_S,
        kept: int = KEPT_SAMPLES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._device = device
        self._interval_s = interval_s
        self._clock = clock
        self._lock = threading.Lock()  # of the two below, which the thread writes and others read
        self._samples: deque[DeviceSample] = deque(maxlen=kept)
        self._processes: tuple[DeviceProcess, ...] | None = None
        self._must_end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="device sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._must_end.set()
        self._thread.join(timeout=self._interval_s + 1.0)  # a driver that hangs must not hold up the exit

    def take(self) -> DeviceSample:
        """One sample now. Blocks for the driver; the thread calls it."""
        sample, processes = self._device.sample(self._clock()), self._device.processes()
        with self._lock:
            self._samples.append(sample)
            self._processes = processes
        return sample

    def samples(self, at_most: int) -> list[DeviceSample]:
        """The last ones, oldest first."""
        with self._lock:
            return list(self._samples)[-at_most:] if at_most else []

    def report(self, at_most: int) -> dict[str, Any]:
        """For /api/device: the last sample, `at_most` before and with it, and who is on the GPU."""
        with self._lock:
            latest, processes = (self._samples[-1] if self._samples else None), self._processes
        shown = None if processes is None else [dataclasses.asdict(process) for process in processes]
        return {
            "interval_s": self._interval_s,
            "note": self._device.note,
            "latest": dataclasses.asdict(latest) if latest else None,
            "samples": [dataclasses.asdict(sample) for sample in self.samples(at_most)],
            "processes": shown,
            "foreign": None if shown is None else [process for process in shown if process["is_foreign"]],
        }

    def _run(self) -> None:
        try:
            while not self._must_end.is_set():
                self.take()
                self._must_end.wait(self._interval_s)
        except Exception:  # noqa: BLE001 - the thread's border: the server goes on without samples
            _log.exception("the device is no longer sampled")

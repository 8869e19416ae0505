"""The sampling thread and its bounded memory, over a scripted device."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from inference.device_sampler import KEPT_SAMPLES, NO_SAMPLES, DeviceSampler
from inference.gpu import DeviceProcess, DeviceSample

PATIENCE_S = 30.0


@dataclass
class Device:
    """Counts samples; `at` is called with the number of each."""

    note: str | None = "a note"
    strangers: tuple[DeviceProcess, ...] | None = None
    at: Callable[[int], None] = lambda number: None
    taken: int = 0
    threads: set[str] = field(default_factory=set)

    def sample(self, at_s: float) -> DeviceSample:
        self.taken += 1
        self.threads.add(threading.current_thread().name)
        self.at(self.taken)
        return DeviceSample(at_s, total_bytes=100, free_bytes=self.taken)

    def processes(self) -> tuple[DeviceProcess, ...] | None:
        return self.strangers


def ticking() -> Callable[[], float]:
    times = iter(range(10_000))
    return lambda: float(next(times))


def test_the_last_samples_are_kept_oldest_first() -> None:
    sampler = DeviceSampler(Device(), kept=3, clock=ticking())
    for _ in range(5):
        sampler.take()
    assert [sample.at_s for sample in sampler.samples(10)] == [2.0, 3.0, 4.0]
    assert [sample.at_s for sample in sampler.samples(2)] == [3.0, 4.0]
    assert sampler.samples(0) == []


def test_a_report_before_the_first_sample_says_so() -> None:
    report = DeviceSampler(Device()).report(KEPT_SAMPLES)
    assert report | {"interval_s": None, "note": NO_SAMPLES["note"]} == NO_SAMPLES


def test_a_report_names_strangers() -> None:
    ours = DeviceProcess(7, "python", 50, is_foreign=False)
    stranger = DeviceProcess(8, "blender", 20, is_foreign=True)
    sampler = DeviceSampler(Device(strangers=(ours, stranger)), clock=ticking())
    sampler.take()
    sampler.take()
    report = sampler.report(1)
    assert report["foreign"] == [{"pid": 8, "name": "blender", "used_bytes": 20, "is_foreign": True}]
    assert [process["pid"] for process in report["processes"]] == [7, 8]
    assert report["latest"] == report["samples"][0]
    assert (report["latest"]["at_s"], report["latest"]["free_bytes"], report["note"]) == (1.0, 2, "a note")


def test_a_thread_samples_until_it_is_stopped() -> None:
    enough = threading.Event()
    device = Device(at=lambda number: enough.set() if number == 5 else None)
    with DeviceSampler(device, interval_s=0.001) as sampler:
        assert enough.wait(PATIENCE_S)
    taken = device.taken
    assert device.threads == {"device sampler"}
    assert not any(thread.name == "device sampler" for thread in threading.enumerate())
    assert (device.taken, len(sampler.samples(KEPT_SAMPLES))) == (taken, taken)


def test_stopping_does_not_wait_for_the_next_sample() -> None:
    first = threading.Event()
    with DeviceSampler(Device(at=lambda _: first.set()), interval_s=3600.0):
        assert first.wait(PATIENCE_S)


def test_a_device_that_breaks_ends_the_sampling_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def breaks(number: int) -> None:
        if number == 2:
            raise RuntimeError("the device is lost")

    caplog.set_level(logging.ERROR)
    with DeviceSampler(Device(at=breaks), interval_s=0.001) as sampler:
        for thread in threading.enumerate():
            if thread.name == "device sampler":
                thread.join(PATIENCE_S)
        assert len(sampler.samples(10)) == 1
    assert "the device is lost" in caplog.text

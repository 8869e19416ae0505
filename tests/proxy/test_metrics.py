"""/metrics: what is counted, under which names, and that nobody can invent names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from inference.gpu import DeviceMemory
from inference.pool_state import PoolEvent, PoolState
from proxy.config import Secret
from proxy.metrics import Distribution, Metrics
from proxy.request_log import RequestRecord
from tests.proxy.rig import Rig, Setup, run, serving

TWO = {
    "a": "[model]\nmemory_bytes = 600\n[defaults]\ntokens_per_second = 2000.0\n",
    "b": "[model]\nmemory_bytes = 600\n",
}
CRASHES = """
[model]
memory_bytes = 700
[[turn]]
text = "one two three four"
[turn.fault]
kind = "kill"
after_chunks = 2
"""


class Samples(dict[str, float]):
    """`name{label="value",…}` with labels sorted -> value. What is not there is 0."""

    def __init__(self, text: str) -> None:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
                self[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value

    def __missing__(self, key: str) -> float:
        return 0.0


async def scrape(rig: Rig) -> Samples:
    async with rig.http.get(f"{rig.url}/metrics") as response:
        assert response.status == 200
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return Samples(await response.text())


def test_requests_tokens_and_times(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(TWO, aliases={"a": ("alias",)})) as rig:
            for name in ("a", "alias", "a"):
                await rig.chat({"model": name})
            usage = [
                (await rig.chat({"model": "a"}))[1]["usage"]["completion_tokens"],
                (await rig.get("/api/requests"))["requests"][0]["output_tokens"],
            ]
            assert usage[0] == usage[1] > 0
            await rig.chat({"model": "a", "max_tokens": -1})
            found = await scrape(rig)
            assert found['hotseat_requests_total{fault="none",model="a",outcome="ok"}'] == 4
            assert found['hotseat_output_tokens_total{model="a"}'] == 4 * usage[0]
            rows = (await rig.get("/api/requests"))["requests"]
            for kind in ("input", "cached"):
                total = sum(row[f"{kind}_tokens"] for row in rows)
                assert found[f'hotseat_{kind}_tokens_total{{model="a"}}'] == total > 0
            for histogram in ("queue_seconds", "ttft_seconds", "decode_tokens_per_second"):
                assert found[f'hotseat_{histogram}_count{{model="a"}}'] == 4
                assert found[f'hotseat_{histogram}_bucket{{le="+Inf",model="a"}}'] == 4
            assert found['hotseat_load_wait_seconds_count{model="a"}'] == 1
            assert 0 < found['hotseat_load_wait_seconds_sum{model="a"}'] < 60
            # a body that is wrong reaches no model
            assert found['hotseat_requests_total{fault="client",model="",outcome="invalid_request"}'] == 1

    run(main())


def test_the_pool_and_the_device(tmp_path: Path) -> None:
    async def main() -> None:
        setup = Setup({**TWO, "c": CRASHES, "d": '[load]\nfail = "no"\n'}, budget_bytes=1000)
        async with serving(tmp_path, setup) as rig:
            await rig.chat({"model": "a"})
            await rig.chat({"model": "b"})
            found = await scrape(rig)
            assert found["hotseat_swaps_total"] == 1
            assert found['hotseat_resident_bytes{model="a"}'] == 0
            assert found['hotseat_resident_bytes{model="b"}'] > 0
            assert found['hotseat_model_state{model="a",state="unloaded"}'] == 1
            assert found['hotseat_model_state{model="b",state="ready"}'] == 1
            assert found['hotseat_model_state{model="b",state="failed"}'] == 0
            assert found["hotseat_budget_bytes"] == 1000
            assert (found["hotseat_device_total_bytes"], found["hotseat_device_free_bytes"]) == (2**33, 2**32)
            assert 'hotseat_leases{model="b"}' in found
            assert 'hotseat_queue_length{model="b"}' in found

            assert (await rig.chat({"model": "c"}))[0] == 502
            assert (await rig.chat({"model": "d"}))[0] == 503
            found = await scrape(rig)
            for model, counts in {"a": (1, 0, 0), "b": (1, 0, 0), "c": (1, 0, 1), "d": (0, 1, 0)}.items():
                names = ("loads", "load_failures", "crashes")
                assert (
                    tuple(found[f'hotseat_model_{name}_total{{model="{model}"}}'] for name in names) == counts
                )
                assert found[f'hotseat_model_load_seconds_count{{model="{model}"}}'] == counts[0]
            assert found['hotseat_requests_total{fault="worker",model="c",outcome="worker_crashed"}'] == 1
            assert found['hotseat_requests_total{fault="worker",model="d",outcome="load_failed"}'] == 1

    run(main())


def test_invented_names_make_no_series(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            for number in range(20):
                await rig.chat({"model": f"invented-{number}"})
            found = await scrape(rig)
            assert found['hotseat_requests_total{fault="client",model="",outcome="model_not_found"}'] == 20
            assert not [name for name in found if "invented" in name]

    run(main())


def test_a_key_is_needed_and_the_host_checked(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(api_keys=(Secret("sk-1"),))) as rig:
            for headers, status in (
                ({}, 401),
                ({"x-api-key": "sk-1", "host": "evil.example"}, 403),
                ({"x-api-key": "sk-1", "origin": "http://evil.example"}, 403),
                ({"x-api-key": "sk-1"}, 200),
            ):
                async with rig.http.get(f"{rig.url}/metrics", headers=headers) as response:
                    assert response.status == status

    run(main())


def test_two_servers_share_no_counts(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as rig:
            await rig.chat({})
        async with serving(tmp_path) as rig:
            assert (await scrape(rig))['hotseat_requests_total{fault="none",model="echo",outcome="ok"}'] == 0

    run(main())


def test_each_outcome_is_counted_once() -> None:
    metrics = Metrics(lambda: PoolState((), 0, 1), lambda: DeviceMemory("cpu", "test", 2, 1))
    left = RequestRecord("1", 0.0, "", "chat", model="a", status=499, code="client_gone", fault="client")
    failed_late = RequestRecord(
        "2", 0.0, "", "chat", model="a", status=502, code="x", fault="worker", ttft_s=0.3
    )
    embedded = RequestRecord("3", 0.0, "", "embeddings", model="a", status=200, input_tokens=7, queue_s=3.0)
    for record in (left, failed_late, embedded):
        metrics.count(record)
    found = Samples(asyncio.run(metrics.text()).decode())
    assert found['hotseat_requests_total{fault="client",model="a",outcome="client_gone"}'] == 1
    assert found['hotseat_requests_total{fault="worker",model="a",outcome="x"}'] == 1
    assert found['hotseat_requests_total{fault="none",model="a",outcome="ok"}'] == 1
    assert found['hotseat_queue_seconds_count{model="a"}'] == 2  # one left before its turn
    assert found['hotseat_queue_seconds_sum{model="a"}'] == 3
    assert found['hotseat_ttft_seconds_bucket{le="0.25",model="a"}'] == 0
    assert found['hotseat_ttft_seconds_bucket{le="0.5",model="a"}'] == 1
    assert found['hotseat_decode_tokens_per_second_count{model="a"}'] == 0


def test_loads_are_timed_from_event_to_event_and_never_negative() -> None:
    async def events() -> AsyncIterator[PoolEvent]:
        for kind, at_s in (("loading", 100.0), ("progress", 101.0), ("ready", 103.0), ("missed", 104.0)):
            yield PoolEvent(kind, "" if kind == "missed" else "a", at_s)
        yield PoolEvent("loading", "a", 110.0)
        yield PoolEvent("ready", "a", 90.0)  # the wall clock was set back

    metrics = Metrics(lambda: PoolState((), 0, 1), lambda: DeviceMemory("cpu", "test", 2, 1))
    asyncio.run(metrics.follow(events()))
    found = Samples(asyncio.run(metrics.text()).decode())
    assert found['hotseat_model_load_seconds_count{model="a"}'] == 2
    assert found['hotseat_model_load_seconds_sum{model="a"}'] == 3
    assert not [name for name in found if 'model=""' in name]


@given(
    bounds=st.lists(st.floats(0, 100), unique=True, min_size=1, max_size=8).map(sorted),
    values=st.lists(st.floats(0, 200), max_size=30),
)
def test_buckets_are_cumulative(bounds: list[float], values: list[float]) -> None:
    distribution = Distribution(bounds)
    for value in values:
        distribution.add(value)
    expected = [float(sum(value <= bound for value in values)) for bound in bounds]
    assert [count for _, count in distribution.buckets()] == [*expected, float(len(values))]

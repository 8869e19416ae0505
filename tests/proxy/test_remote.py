"""Who is asked, after whom, and how often: RemoteUpstreams with scripted attempts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from inference.errors import HotseatError, InvalidRequest, Overloaded
from proxy.errors import ProviderCoolingDown, ProviderError, ProviderRateLimit, ProviderUnreachable
from proxy.remote_config import ProviderConfig
from proxy.request_log import RequestRecord
from proxy.retry_policy import COOLDOWN_AFTER, COOLDOWN_S, PROBE_WAIT_S
from proxy.upstream_errors import Broken, Reported, Unreachable
from proxy.upstreams.http_client import HttpClient
from proxy.upstreams.remote import RemoteUpstreams, Target

LOCAL = Target("local", "m", None)


class World:
    """`outcomes`: of the attempts, in order; None: a good answer."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[str] = []
        self.ended: list[str] = []
        self.was_asked = asyncio.Event()
        self.now_s = 0.0
        self.record = RequestRecord("r", 0.0, "", "chat-completions")
        self.upstreams = RemoteUpstreams(
            HttpClient(keep_connections=True), clock=lambda: self.now_s, chance=lambda: 0.0
        )

    def far(self, name: str = "far", retries: int = 2) -> Target:
        provider = ProviderConfig(name, "http://127.0.0.1:9/v1", retries=retries, retry_delay_s=0.0)
        return self.upstreams.target(provider, "v/m")

    @asynccontextmanager
    async def begin(self, target: Target) -> AsyncIterator[str]:
        self.asked.append(target.upstream)
        self.was_asked.set()
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            raise outcome
        try:
            yield target.upstream
        finally:
            self.ended.append(target.upstream)

    async def ask(self, *targets: Target) -> str:
        async with self.upstreams.begun(targets, self.begin, self.record) as answer:
            return answer


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


def busy(status: int = 503) -> Reported:
    return Reported("busy", status=status)


def test_the_first_good_answer() -> None:
    world = World(busy(), Unreachable("refused"), None)
    assert run(world.ask(world.far())) == "far"
    assert world.asked == ["far"] * 3
    assert world.ended == ["far"]
    assert [(a.number, a.status, a.code) for a in world.record.attempts] == [
        (1, 503, "provider_overloaded"),
        (2, 502, "provider_unreachable"),
    ]
    assert (world.record.attempt, world.record.upstream, world.record.model) == (3, "far", "v/m")


def test_the_last_error_is_what_the_client_hears() -> None:
    world = World(busy(), busy(), busy(429))
    with pytest.raises(ProviderRateLimit):
        run(world.ask(world.far()))
    assert len(world.record.attempts) == 2, "the last one is the record itself"


def test_fallbacks_in_their_order() -> None:
    world = World(Broken("x"), Reported("no", status=401), None)
    assert run(world.ask(world.far(), world.far("next"), LOCAL)) == "local"
    assert world.asked == ["far", "next", "local"]
    assert [(a.upstream, a.fault) for a in world.record.attempts] == [
        ("far", "provider"),
        ("next", "provider"),
    ]


def test_a_local_model_that_is_full_is_not_the_end() -> None:
    world = World(Broken("x"), Overloaded("full"), None)
    assert run(world.ask(world.far(), LOCAL, world.far("last"))) == "last"


def test_what_the_request_says_wrongly_is_asked_of_nobody_else() -> None:
    world = World(Reported("bad", status=400))
    with pytest.raises(InvalidRequest):
        run(world.ask(world.far(), LOCAL))
    assert world.asked == ["far"]


def test_a_fallback_that_cannot_be_asked_does_not_hide_the_reason() -> None:
    world = World(Unreachable("refused"), InvalidRequest("no such field"))
    with pytest.raises(ProviderUnreachable):
        run(world.ask(world.far(retries=0), LOCAL))


def test_what_breaks_after_the_beginning_is_not_repeated() -> None:
    async def main() -> None:
        world = World(None, None)
        with pytest.raises(ProviderError, match="broke off"):
            async with world.upstreams.begun([world.far(), LOCAL], world.begin, world.record):
                raise Broken("in the middle")
        assert world.asked == world.ended == ["far"]

    run(main())


def test_who_fails_again_and_again_is_left_alone_for_a_while() -> None:
    world = World(*[Broken("x")] * COOLDOWN_AFTER, None)
    for _ in range(COOLDOWN_AFTER):
        with pytest.raises(HotseatError):
            run(world.ask(world.far()))
    with pytest.raises(ProviderCoolingDown) as caught:
        run(world.ask(world.far()))
    assert caught.value.retry_after_s == COOLDOWN_S
    assert len(world.asked) == COOLDOWN_AFTER
    world.now_s = COOLDOWN_S
    assert run(world.ask(world.far())) == "far"
    world.outcomes = [Broken("x"), None]
    with pytest.raises(ProviderError):
        run(world.ask(world.far()))
    assert run(world.ask(world.far())) == "far", "a good answer ended the count"


async def failed(world: World, target: Target) -> None:
    """So often that it rests, and until its rest is over."""
    world.outcomes = [Broken("x")] * COOLDOWN_AFTER
    for _ in range(COOLDOWN_AFTER):
        with pytest.raises(ProviderError):
            await world.ask(target)
    world.asked.clear()
    world.now_s += COOLDOWN_S


class Gated(World):
    """Answers from afar begin when they may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_begin = asyncio.Event()
        self.may_begin.set()

    @asynccontextmanager
    async def begin(self, target: Target) -> AsyncIterator[str]:
        async with super().begin(target) as answer:
            if target.server is not None:
                await self.may_begin.wait()
            yield answer

    async def others_wait(self, target: Target) -> None:
        for _ in range(3):
            with pytest.raises(ProviderCoolingDown) as caught:
                await self.ask(target)
            assert caught.value.retry_after_s == PROBE_WAIT_S


def test_after_the_rest_one_is_asked_first_and_the_others_wait_for_it() -> None:
    """They all went at once, to a provider that was just coming back."""

    async def main() -> None:
        world = Gated()
        far = world.far()
        await failed(world, far)
        world.may_begin.clear()
        world.outcomes = [None] * 5
        probe = asyncio.create_task(world.ask(far))
        await asyncio.sleep(0)
        await world.others_wait(far)
        assert await world.ask(far, LOCAL) == "local"
        world.may_begin.set()
        assert await probe == "far"
        assert world.asked == ["far", "local"]
        assert await asyncio.gather(*(world.ask(far) for _ in range(3))) == ["far"] * 3

    run(main())


def test_once_it_has_begun_to_answer_all_may_come() -> None:
    """An answer takes minutes: nobody waits for its end."""

    async def main() -> None:
        world = World()
        far = world.far()
        await failed(world, far)
        world.outcomes = [None, None]
        async with world.upstreams.begun([far], world.begin, world.record):
            assert await world.ask(far) == "far"

    run(main())


def test_one_that_finds_out_the_worst_is_not_repeated_and_closes_again() -> None:
    async def main() -> None:
        world = World()
        far = world.far()
        await failed(world, far)
        world.outcomes = [busy(), None]
        with pytest.raises(ProviderError):
            await world.ask(far)
        assert world.record.attempt > 0, "its last attempt, with nothing to come after it"
        with pytest.raises(ProviderCoolingDown) as caught:
            await world.ask(far)
        assert caught.value.retry_after_s == COOLDOWN_S
        assert world.asked == ["far"]

    run(main())


@pytest.mark.parametrize("way", ["client left", "client wrong"])
def test_one_that_finds_out_nothing_makes_way_for_the_next(way: str) -> None:
    async def main() -> None:
        world = Gated()
        far = world.far()
        await failed(world, far)
        if way == "client left":
            world.outcomes = [None]
            world.may_begin.clear()
            probe = asyncio.create_task(world.ask(far))
            await asyncio.sleep(0)
            await world.others_wait(far)
            probe.cancel()
            with pytest.raises(asyncio.CancelledError):
                await probe
            world.may_begin.set()
        else:
            world.outcomes = [Reported("bad", status=400)]
            with pytest.raises(InvalidRequest):
                await world.ask(far)
        world.outcomes = [Broken("x")]
        with pytest.raises(ProviderError):
            await world.ask(far)
        with pytest.raises(ProviderCoolingDown):
            await world.ask(far)

    run(main())


def test_a_target_that_closes_meanwhile_is_not_asked_again() -> None:
    """Its fallback is, with all its patience."""

    async def main() -> None:
        world = World(*[busy()] * COOLDOWN_AFTER, busy(), busy(), None)
        with pytest.raises(ProviderError):
            await world.ask(world.far())
        assert await world.ask(world.far(), world.far("next")) == "next"
        assert world.asked == ["far"] * COOLDOWN_AFTER + ["next"] * 3

    run(main())


def test_who_rests_is_passed_over() -> None:
    world = World(*[Broken("x")] * COOLDOWN_AFTER, None)
    for _ in range(COOLDOWN_AFTER):
        with pytest.raises(HotseatError):
            run(world.ask(world.far()))
    assert run(world.ask(world.far(), LOCAL)) == "local"


def test_leaving_while_it_waits_ends_it() -> None:
    async def main() -> None:
        world = World(Reported("later", status=429, retry_after_s=20.0))
        asking = asyncio.create_task(world.ask(world.far()))
        await world.was_asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert world.asked == ["far"]

    run(main())

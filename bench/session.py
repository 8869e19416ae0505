"""One harness at work on one task: its run on the wire, its models warm, every phase in the same session.

Nothing here judges. What comes out is what was seen: when, for how long, why it ended, what the harness says
of itself, and every row of the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from bench.aliases import Cast, capped, neutral
from bench.evidence import Expected, Row
from bench.harnesses.base import Claim, Harness, Recipe, Setup, Transcript, added
from bench.harnesses.installed import Installed, write_files
from bench.launch import Wishes, compose
from bench.neighbours import Neighbours
from bench.plan import Cell, Configuration
from bench.process import Command, Ended, run
from bench.proxy_client import ProxyClient, RunEnd, RunFeed, RunTicket, RunWish, StateNow
from bench.sandbox import Isolation, confined, relay
from bench.server import Offer, OfferedModel
from bench.tapes import Tape
from bench.watch import Caps, Why
from bench.workspace import Workspace

RUN_SPARE_S = 3600.0
"""A run's token outlives the harness's wall clock by this: for loads before, and its last rows after."""

MAX_RUN_NAME_CHARS = 64
_PLAIN_HTTP = "http"


@dataclass(frozen=True, slots=True)
class Server:
    """One for all trials of a job."""

    client: ProxyClient
    offer: Offer
    neighbours: Neighbours = field(default_factory=Neighbours, compare=False)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a trial is held. `native_names`: the harness is told what models are called."""

    caps: Caps
    native_names: bool = False
    tape: Tape | None = None


@dataclass(frozen=True, slots=True)
class Performance:
    """What was seen of one attempt. `said` None: whoever worked says nothing of itself. `names`: what a row's
    model is called at the server, where its provider has another name for it; `aliases`: likewise for what
    the harness was told. The rest by the server's names; see TrialResult and Manifest."""

    why: Why
    begun_at: float
    wall_s: float
    expected: Expected
    run: str = ""
    isolation: str = "none: it runs no program of others"
    said: Transcript | None = None
    phases_left: int = 0
    rows: tuple[Row, ...] = ()
    raw_rows: tuple[dict[str, Any], ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    cache: Literal["warm", "cold", "unknown"] = "unknown"
    swaps: int = 0
    load_waits: int = 0
    neighbours: int = 0
    server_swaps: int = 0
    peak_vram_bytes: int | None = None
    models_vram_bytes: int | None = None
    context: Mapping[str, int] = field(default_factory=dict)
    slots: Mapping[str, int] = field(default_factory=dict)
    engine: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    sampling: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sampling_defaults: Mapping[str, str] = field(default_factory=dict)
    tape: Tape | None = None


@dataclass(frozen=True, slots=True)
class Contestant:
    """A harness that is installed, the server that it is given, and the walls around it."""

    installed: Installed
    server: Server
    isolation: Isolation

    @property
    def harness(self) -> Harness:
        return self.installed.harness

    async def perform(
        self, cell: Cell, terms: Terms, workspace: Workspace, announce: Callable[[str], None]
    ) -> Performance:
        """`announce` is told the run's name before anything is asked of a model. Raises BenchError and what
        the harness's set-up raises; cancelling it ends the harness."""
        client = self.server.client
        cast = self.cast(cell.configuration, native_names=terms.native_names)
        isolation = _possible(self.isolation, client.url)
        with self.server.neighbours.among() as stay:
            async with _run(client, _wish(cell, terms, cast, workspace), announce) as open_run:
                ticket = open_run.ticket
                setup = self._setup(cast, ticket, isolation, workspace)
                before = await client.state()
                cache = await _warmed(client, before, setup, cast)
                warmed = await client.state()
                locals_ = [cast.meant(card.name) for card in setup.models if card.is_local]
                has_gpu = warmed.used_bytes is not None
                feed = RunFeed(client, ticket.run, has_gpu=has_gpu, models=locals_)
                feed.saw_memory(warmed)
                outcome = await self._phases(cell, terms.caps, setup, workspace, isolation, feed)
                seen = await client.settled(ticket.run)
                names = [name for name in locals_ if name in before.models]
                (after, end), files = await asyncio.gather(
                    asyncio.gather(client.state(), open_run.end()),
                    asyncio.gather(*(client.model_file(name) for name in names)),
                )
                feed.saw_memory(after)
        said = joined(outcome.said, claims_session=self.harness.claims_session)
        return Performance(
            why=outcome.why,
            begun_at=outcome.begun_at,
            wall_s=outcome.wall_s,
            expected=_expected(setup, cast),
            run=ticket.run,
            isolation=isolation.label,
            said=said,
            phases_left=len(cell.task.phases) - len(outcome.said),
            rows=seen.rows,
            raw_rows=seen.raw,
            names={m.remote_id: cast.meant(m.name) for m in cast.offer.models if m.remote_id},
            aliases=cast.aliases,
            cache=cache,
            swaps=after.swaps - warmed.swaps if end.loads is None else end.loads,
            load_waits=end.load_waits or 0,
            neighbours=stay.most,
            server_swaps=after.swaps - warmed.swaps,
            peak_vram_bytes=feed.peak_bytes,
            models_vram_bytes=feed.peak_models_bytes,
            context={cast.meant(card.name): card.context_length for card in setup.models},
            slots={name: model.slots for name, model in after.models.items() if name in locals_},
            engine=_engine(after, cast.meant(setup.main)),
            files={name: identity for name, identity in zip(names, files, strict=True) if identity},
            sampling=end.sampling,
            sampling_defaults=_sampling_defaults(after, locals_),
            tape=terms.tape,
        )

    def cast(self, configuration: Configuration, *, native_names: bool) -> Cast:
        """What the harness is told of the configuration's models."""
        offer = capped(_chosen(self.server.offer, configuration), configuration.context)
        return Cast(configuration, offer) if native_names else neutral(offer, configuration)

    def _setup(self, cast: Cast, ticket: RunTicket, isolation: Isolation, workspace: Workspace) -> Setup:
        """Its models and no others. In a sandbox the server is on the sandbox's own loopback."""
        configuration = cast.configuration
        parts = urlsplit(self.server.client.url)
        origin = f"http://127.0.0.1:{parts.port or 80}" if isolation.bwrap else self.server.client.url
        wishes = Wishes(
            configuration.main, configuration.small, configuration.subagents, configuration.effort
        )
        composed = compose(
            replace(cast.offer, url=f"{origin}/r/{ticket.run}"),
            wishes,
            self.harness,
            key=ticket.token,
            home=workspace.home,
            workdir=workspace.app,
        )
        efforts = configuration.subagent_efforts
        agents = (replace(agent, effort=efforts.get(agent.name)) for agent in composed.setup.subagents)
        return replace(composed.setup, subagents=tuple(agents))

    async def _phases(
        self,
        cell: Cell,
        caps: Caps,
        setup: Setup,
        workspace: Workspace,
        isolation: Isolation,
        feed: RunFeed,
    ) -> _Outcome:
        """One after the other; a phase that did not come to its end is the last."""
        said: list[Transcript] = []
        wall_s, begun_at = 0.0, 0.0
        why: Why = "exited"
        for phase in cell.task.phases:
            if not said:
                recipe = self.harness.headless(setup, phase.instruction)
            else:
                recipe = self.harness.resume(setup, phase.instruction, said[0].session_id)
            await asyncio.to_thread(write_files, recipe)
            begun_at = begun_at or time.time()
            left = replace(caps, wall_s=max(0.0, caps.wall_s - wall_s))
            ended, transcript = await self._phase(phase.name, recipe, left, workspace, isolation, feed)
            said.append(transcript)
            wall_s, why = wall_s + ended.wall_s, ended.why
            if why != "exited" or transcript.is_error or not said[0].session_id:
                break
        return _Outcome(why, begun_at, wall_s, said)

    async def _phase(
        self,
        name: str,
        recipe: Recipe,
        caps: Caps,
        workspace: Workspace,
        isolation: Isolation,
        feed: RunFeed,
    ) -> tuple[Ended, Transcript]:
        stdout, stderr = workspace.logs / f"{name}.stdout", workspace.logs / f"{name}.stderr"
        program = self.installed.path
        assert program is not None, "whoever is not installed is no contestant"
        argv: Sequence[str] = (str(program), *recipe.argv[1:])
        async with contextlib.AsyncExitStack() as stack:
            if isolation.bwrap is not None:
                url = self.server.client.url
                await stack.enter_async_context(relay(workspace, url))
                argv = confined(argv, workspace, url, isolation.bwrap, folders_of(program))
            env = {**workspace.environment(), **recipe.env}
            ended = await run(
                Command(argv, env, workspace.app, recipe.stdin), stdout, stderr, caps, reader=feed
            )
        return ended, await asyncio.to_thread(_parsed, self.harness, stdout)


@dataclass(frozen=True, slots=True)
class _Outcome:
    why: Why
    begun_at: float
    wall_s: float
    said: Sequence[Transcript]


# --- the run on the wire -------------------------------------------------------------------------


class _OpenRun:
    """Ended once, by whoever comes first: the one who wants to know what it did, or whatever went wrong."""

    def __init__(self, client: ProxyClient, ticket: RunTicket) -> None:
        self.ticket = ticket
        self._client = client
        self._has_ended = False

    async def end(self) -> RunEnd:
        end = await self._client.end_run(self.ticket.run)
        self._has_ended = True
        return end

    async def close(self) -> None:
        if not self._has_ended:
            await self._client.end_run(self.ticket.run)


@contextlib.asynccontextmanager
async def _run(
    client: ProxyClient, wish: RunWish, announce: Callable[[str], None]
) -> AsyncIterator[_OpenRun]:
    announce(wish.name)
    run = _OpenRun(client, await client.begin_run(wish))
    try:
        yield run
    finally:
        await run.close()


def _wish(cell: Cell, terms: Terms, cast: Cast, workspace: Workspace) -> RunWish:
    """Its name tells people what it is, and is never used again. Harnesses tell the model where it works: but
    for that, equal prompts shall have equal digests."""
    ending = f"-{secrets.token_hex(4)}"
    name = re.sub(r"[^A-Za-z0-9._-]", "_", cell.trial)[: MAX_RUN_NAME_CHARS - len(ending)] + ending
    tape = terms.tape
    return RunWish(
        name=name,
        models=tuple(cast.meant(model.name) for model in cast.offer.models),
        ttl_s=terms.caps.wall_s + RUN_SPARE_S,
        budget_usd=terms.caps.usd,
        policy=cell.configuration.policy,
        aliases=cast.aliases,
        context=cell.configuration.context,
        record=tape.name if tape is not None and tape.use == "record" else None,
        replay=tape.name if tape is not None and tape.use == "replay" else None,
        volatile=(str(workspace.root),),
    )


def _expected(setup: Setup, cast: Cast) -> Expected:
    """By the server's names."""
    subagents = tuple(cast.meant(agent.model) for agent in setup.subagents)
    return Expected(cast.meant(setup.main), cast.meant(setup.small), subagents)


def _chosen(offer: Offer, configuration: Configuration) -> Offer:
    """What the configuration names, and nothing else that the server has."""
    wanted = set(configuration.models)
    models = tuple(model for model in offer.models if wanted & {model.name, *model.aliases})
    roles = {role: model for role, model in offer.roles.items() if role in wanted}
    by_role = tuple(m for m in offer.models if m not in models and m.name in roles.values())
    return replace(offer, models=(*models, *by_role), roles=roles)


def unknown_models(offer: Offer, configuration: Configuration) -> list[str]:
    """Those that the server does not have, under any name."""
    known = {name for model in offer.models for name in (model.name, *model.aliases)} | set(offer.roles)
    return [name for name in configuration.models if name not in known]


def chosen_models(offer: Offer, configuration: Configuration) -> tuple[OfferedModel, ...]:
    return _chosen(offer, configuration).models


# --- models ---------------------------------------------------------------------------------------


async def _warmed(
    client: ProxyClient, before: StateNow, setup: Setup, cast: Cast
) -> Literal["warm", "cold", "unknown"]:
    """Load what is local, the main model last, so that it is resident where not all have room. "cold": all
    of them were loaded just now, and no prompt is cached."""
    agents = (agent.model for agent in setup.subagents)
    asked = dict.fromkeys((*agents, setup.small, setup.main))
    main = cast.meant(setup.main)
    names = dict.fromkeys(cast.meant(name) for name in asked if setup.card(name).is_local)
    local = [name for name in names if name in before.models and name != main]
    local += [main] if main in before.models else []
    for name in local:
        await client.load(name)
    if len(local) < len(asked):
        return "unknown"  # a provider's cache is its own affair
    return "cold" if all(before.models[name].state != "ready" for name in local) else "warm"


def _engine(state: StateNow, name: str) -> str:
    model = state.models.get(name)
    return model.engine if model else ""


def _sampling_defaults(state: StateNow, names: Sequence[str]) -> Mapping[str, str]:
    known = {name: state.models[name].sampling for name in names if name in state.models}
    return {
        name: " ".join(f"{key}={value:g}" for key, value in sampling.items())
        for name, sampling in known.items()
        if sampling
    }


# --- the program ----------------------------------------------------------------------------------


def _possible(isolation: Isolation, url: str) -> Isolation:
    """A sandbox's relay carries bytes to its own loopback, where no certificate is good."""
    if isolation.bwrap is not None and urlsplit(url).scheme != _PLAIN_HTTP:
        return Isolation(None, "the server is asked by https, which the sandbox's relay cannot carry")
    return isolation


def folders_of(program: Path) -> list[Path]:
    """What must be readable for it to start: where it lies, links followed, and the packages beside it."""
    above = (*program.parents, *program.resolve().parents)
    packages = [folder for folder in above if folder.name == "node_modules"]
    return list(dict.fromkeys([program.parent, program.resolve().parent, *packages]))


def _parsed(harness: Harness, stdout: Path) -> Transcript:
    with stdout.open(encoding="utf-8", errors="replace") as lines:
        return harness.parse(lines)


def joined(said: Sequence[Transcript], *, claims_session: bool) -> Transcript:
    """All phases as one."""
    last = said[-1]
    costs = [one.claimed_cost_usd for one in said if one.claimed_cost_usd is not None]
    return Transcript(
        final_text=last.final_text,
        session_id=said[0].session_id,
        claimed=last.claimed if claims_session else _sum([one.claimed for one in said]),
        claimed_cost_usd=(last.claimed_cost_usd if claims_session else sum(costs, Decimal(0)))
        if costs
        else None,
        tool_calls=sum(one.tool_calls for one in said),
        delegations=sum(one.delegations for one in said),
        errors=tuple(error for one in said for error in one.errors),
        is_error=last.is_error,
        brief_chars=tuple(chars for one in said for chars in one.brief_chars),
        return_chars=tuple(chars for one in said for chars in one.return_chars),
    )


def _sum(claims: Sequence[Claim]) -> Claim:
    return Claim(
        added(*(claim.input_tokens for claim in claims)),
        added(*(claim.cached_tokens for claim in claims)),
        added(*(claim.output_tokens for claim in claims)),
        added(*(claim.reasoning_tokens for claim in claims)),
    )

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

from bench.evidence import Expected, Row
from bench.harnesses.base import Claim, Harness, Recipe, Setup, Transcript, added
from bench.harnesses.installed import Installed, write_files
from bench.launch import Wishes, compose
from bench.plan import Cell, Configuration
from bench.process import Command, Ended, run
from bench.proxy_client import ProxyClient, RunFeed, RunTicket, RunWish, StateNow
from bench.sandbox import Isolation, confined, relay
from bench.server import Offer, OfferedModel
from bench.watch import Caps, Why
from bench.workspace import Workspace

RUN_SPARE_S = 3600.0
"""A run's token outlives the harness's wall clock by this: for loads before, and its last rows after."""

MAX_RUN_NAME_CHARS = 64
_PLAIN_HTTP = "http"


@dataclass(frozen=True, slots=True)
class Server:
    client: ProxyClient
    offer: Offer


@dataclass(frozen=True, slots=True)
class Performance:
    """What was seen of one attempt. `said` None: whoever worked says nothing of itself. `names`: what a row's
    model is called in the configuration, where its provider has another name for it."""

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
    cache: Literal["warm", "cold", "unknown"] = "unknown"
    swaps: int = 0
    peak_vram_bytes: int | None = None
    context: Mapping[str, int] = field(default_factory=dict)
    slots: Mapping[str, int] = field(default_factory=dict)
    engine: str = ""


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
        self, cell: Cell, caps: Caps, workspace: Workspace, announce: Callable[[str], None]
    ) -> Performance:
        """`announce` is told the run's name before anything is asked of a model. Raises BenchError and what
        the harness's set-up raises; cancelling it ends the harness."""
        client = self.server.client
        offer = _chosen(self.server.offer, cell.configuration)
        isolation = _possible(self.isolation, client.url)
        async with _run(client, _wish(cell, caps, offer), announce) as ticket:
            setup = self._setup(cell.configuration, offer, ticket, isolation, workspace)
            before = await client.state()
            cache = await _warmed(client, before, setup)
            warmed = await client.state()
            feed = RunFeed(client, ticket.run, has_gpu=warmed.used_bytes is not None)
            feed.saw_memory(warmed)
            outcome = await self._phases(cell, caps, setup, workspace, isolation, feed)
            seen = await client.settled(ticket.run)
            after = await client.state()
            feed.saw_memory(after)
        said = joined(outcome.said, claims_session=self.harness.claims_session)
        return Performance(
            why=outcome.why,
            begun_at=outcome.begun_at,
            wall_s=outcome.wall_s,
            expected=Expected(setup.main, setup.small, tuple(agent.model for agent in setup.subagents)),
            run=ticket.run,
            isolation=isolation.label,
            said=said,
            phases_left=len(cell.task.phases) - len(outcome.said),
            rows=seen.rows,
            raw_rows=seen.raw,
            names={model.remote_id: model.name for model in offer.models if model.remote_id},
            cache=cache,
            swaps=after.swaps - warmed.swaps,
            peak_vram_bytes=feed.peak_bytes,
            context={card.name: card.context_length for card in setup.models},
            slots={name: model.slots for name, model in after.models.items() if _is_of(setup, name)},
            engine=_engine(after, setup),
        )

    def _setup(
        self,
        configuration: Configuration,
        offer: Offer,
        ticket: RunTicket,
        isolation: Isolation,
        workspace: Workspace,
    ) -> Setup:
        """Its models and no others. In a sandbox the server is on the sandbox's own loopback."""
        parts = urlsplit(self.server.client.url)
        origin = f"http://127.0.0.1:{parts.port or 80}" if isolation.bwrap else self.server.client.url
        wishes = Wishes(
            configuration.main, configuration.small, configuration.subagents, configuration.effort
        )
        composed = compose(
            replace(offer, url=f"{origin}/r/{ticket.run}"),
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


@contextlib.asynccontextmanager
async def _run(
    client: ProxyClient, wish: RunWish, announce: Callable[[str], None]
) -> AsyncIterator[RunTicket]:
    announce(wish.name)
    ticket = await client.begin_run(wish)
    try:
        yield ticket
    finally:
        await client.end_run(ticket.run)


def _wish(cell: Cell, caps: Caps, offer: Offer) -> RunWish:
    """Its name tells people what it is, and is never used again."""
    ending = f"-{secrets.token_hex(4)}"
    name = re.sub(r"[^A-Za-z0-9._-]", "_", cell.trial)[: MAX_RUN_NAME_CHARS - len(ending)] + ending
    return RunWish(
        name=name,
        models=tuple(model.name for model in offer.models),
        ttl_s=caps.wall_s + RUN_SPARE_S,
        budget_usd=caps.usd,
        policy=cell.configuration.policy,
    )


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


async def _warmed(client: ProxyClient, before: StateNow, setup: Setup) -> Literal["warm", "cold", "unknown"]:
    """Load what is local, the main model last, so that it is resident where not all have room. "cold": all
    of them were loaded just now, and no prompt is cached."""
    agents = (agent.model for agent in setup.subagents)
    names = dict.fromkeys(name for name in (*agents, setup.small, setup.main) if setup.card(name).is_local)
    local = [name for name in names if name in before.models and name != setup.main]
    local += [setup.main] if setup.main in before.models else []
    for name in local:
        await client.load(name)
    if len(local) < len({setup.main, setup.small, *(agent.model for agent in setup.subagents)}):
        return "unknown"  # a provider's cache is its own affair
    return "cold" if all(before.models[name].state != "ready" for name in local) else "warm"


def _is_of(setup: Setup, name: str) -> bool:
    return any(card.name == name for card in setup.models)


def _engine(state: StateNow, setup: Setup) -> str:
    model = state.models.get(setup.main)
    return model.engine if model else ""


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

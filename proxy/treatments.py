"""How the requests of an announced run are treated: names of its own for models, a policy, a cap on the
context, and onto or from a recording."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from inference.chat import ChatRequest, CompletionRequest
from proxy.context_cap import ContextCap
from proxy.errors import RecordingTaken, RecordingUnusable
from proxy.passed_request import PassedRequest
from proxy.policies import UNTREATED, Policy, applies, treated_body, treated_request
from proxy.recording import Recording, Replay
from proxy.request_log import RequestRecord
from proxy.routing import Route
from proxy.run_notes import RunNotes, fields_of
from proxy.run_tokens import Run, RunTokens
from proxy.upstreams.http_client import HttpClient
from proxy.upstreams.remote import RemoteUpstreams
from proxy.upstreams.taped import RecordingTape, ReplayTape


@dataclass(frozen=True, slots=True)
class Treatment:
    """`remote`: how this run reaches providers, where that is on tape. It has a standing of its own with
    them and thoughts of its own, so that a replay begins as the recording did. `aliases`: what the run calls
    models -> what the server calls them; `volatile`: see attribution.digests."""

    policy: Policy = "native"
    aliases: Mapping[str, str] = field(default_factory=dict)
    volatile: tuple[str, ...] = ()
    context: ContextCap | None = None
    notes: RunNotes | None = None
    remote: RemoteUpstreams | None = None
    recording: Recording | None = None
    replay: Replay | None = None

    @property
    def is_replay(self) -> bool:
        return self.replay is not None

    def meant(self, requested: str) -> str:
        """The server's name for what this run asks for."""
        return self.aliases.get(requested, requested)

    def shown(self, requested: str, model: str) -> str:
        """What the run is told of who answered: by its own name, where it has one for that."""
        return requested if requested in self.aliases else model

    def admit(self, body: bytes, record: RequestRecord, route: Route, *, counts_itself: bool) -> None:
        """Call it when it is known who will be asked. `counts_itself`: whether the engine that gets the
        request keeps to the cap. Raises ContextLengthExceeded."""
        if self.notes is not None:
            self.notes.asked(record.role, fields_of(body))
        if self.context is not None and not counts_itself:
            self.context.check(route.model, len(body))

    def answered(self, n_bytes: int, record: RequestRecord) -> None:
        if self.context is not None:
            self.context.learn(record.model, n_bytes, record.input_tokens)

    def request(self, request: Any, record: RequestRecord) -> Any:
        """As its model should get it."""
        if self.context is not None and isinstance(request, ChatRequest | CompletionRequest):
            request = msgspec.structs.replace(request, context_limit=self.context.limit)
        if not applies(self.policy, record):
            return request
        treated = treated_request(request, self.policy, record) if isinstance(request, ChatRequest) else None
        record.policy = UNTREATED if treated is None else self.policy
        return request if treated is None else treated

    def body(self, passed: PassedRequest, record: RequestRecord) -> PassedRequest:
        """The same for one that is passed on."""
        if not applies(self.policy, record):
            return passed
        treated = treated_body(passed, self.policy, record)
        record.policy = UNTREATED if treated is None else self.policy
        return passed if treated is None else treated


NATIVE = Treatment()


class Treatments:
    """`folder`: of the recordings; None: there are none."""

    def __init__(self, runs: RunTokens, http: HttpClient, folder: Path | None) -> None:
        self._runs = runs
        self._http = http
        self._folder = folder
        self._by_id: dict[bytes, Treatment] = {}

    def of(self, run: str) -> Treatment:
        """Of the run of this name, if it was announced with any and is under way."""
        if not run or not self._by_id:
            return NATIVE
        found = self._runs.get(run)
        return NATIVE if found is None else self._by_id.get(found.token_id, NATIVE)

    def ended(self, record: RequestRecord) -> None:
        """A request of any run, or of none."""
        if (notes := self.of(record.run).notes) is not None:
            notes.ended(record)

    async def prepared(self, treatment: Treatment, record: str | None, replay: str | None) -> Treatment:
        """With its tape, for a run that is about to be announced; `discard` it where that fails. Raises
        RecordingTaken, NoSuchRecording, RecordingUnusable."""
        if record is None and replay is None:
            return treatment
        if self._folder is None:
            raise RecordingUnusable("this server keeps no recordings: it was started without a home for them")
        if record is not None:
            recording = await asyncio.to_thread(Recording, self._folder, record)
            remote = RemoteUpstreams(self._http, RecordingTape(self._http, recording))
            return replace(treatment, remote=remote, recording=recording)
        assert replay is not None
        if any(each.recording and each.recording.name == replay for each in self._by_id.values()):
            raise RecordingTaken(f"{replay!r} is being recorded by a run under way: end that run first")
        played = await asyncio.to_thread(Replay, self._folder, replay)
        return replace(treatment, remote=RemoteUpstreams(self._http, ReplayTape(played)), replay=played)

    async def discard(self, treatment: Treatment) -> None:
        if treatment.recording is not None:
            await asyncio.to_thread(treatment.recording.discard)

    def give(self, run: Run, treatment: Treatment) -> None:
        if treatment != NATIVE:
            self._by_id[run.token_id] = treatment

    def end(self, run: Run) -> Treatment:
        return self._by_id.pop(run.token_id, NATIVE)

    def keep_runs(self, runs: Iterable[Run]) -> None:
        """Forget what others had."""
        ids = {run.token_id for run in runs}
        for other in self._by_id.keys() - ids:
            del self._by_id[other]

"""What befalls the server during a soak, beside its clients: dead and frozen workers, operators, editors."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psutil

from benchkit.soak_http import NoAnswer
from benchkit.soak_server import Server
from benchkit.soak_verdict import STATUS_OF
from benchkit.soak_world import GUEST, QUICK_TRAPS, STEADY, TRAPS, Variant, World

MEAN_PAUSE_S = 1.0
MAX_FROZEN_S = 4.0

KINDS = {
    "kill": 2,
    "freeze": 2,
    "load": 4,
    "unload": 3,
    "unload_all": 1,
    "reload": 3,
    "broken_reload": 1,
    "set_trap": 4,
    "set_any_trap": 1,
}
"""What happens, and how often in relation to each other."""


class Trouble:
    """`on_problem` hears of what the server did wrong about it. `happened` counts, by kind."""

    def __init__(self, server: Server, world: World, seed: int, on_problem: Callable[[str], None]) -> None:
        self._server = server
        self._world = world
        self._random = random.Random(f"{seed}/trouble")
        self._on_problem = on_problem
        self._variant = Variant()
        self._serial = itertools.count(1)
        self._frozen: set[psutil.Process] = set()
        self._reload_lock = asyncio.Lock()  # the file that a reload reads is the one written for it
        self.happened: Counter[str] = Counter()
        self.can_reload = True

    async def make(self, until_s: float) -> None:
        """Returns when all that it began is over, with the last configuration written being a whole one."""
        clock = asyncio.get_running_loop().time
        kinds, weights = list(KINDS), list(KINDS.values())
        async with asyncio.TaskGroup() as group:
            while (left_s := until_s - clock()) > 0:
                await asyncio.sleep(min(left_s, self._random.expovariate(1 / MEAN_PAUSE_S)))
                kind = self._random.choices(kinds, weights)[0]
                if clock() < until_s:
                    group.create_task(self._let_happen(kind))

    async def _let_happen(self, kind: str) -> None:
        model = self._random.choice(self._world.models)
        self.happened[kind] += 1
        try:
            match kind:
                case "kill":
                    self._kill()
                case "freeze":
                    await self._freeze()
                case "set_trap":
                    self._world.set_trap(self._random.choice(QUICK_TRAPS))
                case "set_any_trap":
                    self._world.set_trap(self._random.choice(TRAPS))
                case "load" | "unload":
                    await self._operate(f"/api/models/{model.name}/{kind}", may_be_unknown=model is GUEST)
                case "unload_all":
                    await self._operate("/api/unload", may_be_unknown=False)
                case "reload" | "broken_reload":
                    await self._reload(is_broken=kind == "broken_reload")
        except NoAnswer as error:
            self._on_problem(str(error))

    # --- workers -------------------------------------------------------------------------------

    def _kill(self) -> None:
        if workers := self._server.workers():
            with contextlib.suppress(psutil.Error):
                self._random.choice(workers).kill()

    async def _freeze(self) -> None:
        """Sometimes for longer than the server's patience."""
        if not (workers := self._server.workers()):
            return
        worker = self._random.choice(workers)
        with contextlib.suppress(psutil.Error):
            worker.suspend()
            self._frozen.add(worker)
        await asyncio.sleep(self._random.random() * MAX_FROZEN_S)
        if self._random.random() < 0.5:
            self.thaw(worker)

    def thaw(self, *workers: psutil.Process) -> None:
        """All of them, if none is named."""
        for worker in workers or tuple(self._frozen):
            self._frozen.discard(worker)
            with contextlib.suppress(psutil.Error):
                worker.resume()

    # --- operators -----------------------------------------------------------------------------

    async def _operate(self, path: str, *, may_be_unknown: bool) -> None:
        status, answer = await self._server.http.post(path)
        if status == 200:
            return
        code = _code(answer)
        if STATUS_OF.get(code) != status or (code == "model_not_found" and not may_be_unknown):
            self._on_problem(f"POST {path}: {status} {answer}")

    async def _reload(self, *, is_broken: bool) -> None:
        async with self._reload_lock:
            if is_broken:
                self._world.write(replace(self._variant, is_broken=True))
                await self._ask_for_reload(expected=400)
            else:
                self._variant = self._next_variant()
            self._world.write(self._variant)
            await self._ask_for_reload(expected=200)

    def _next_variant(self) -> Variant:
        match self._random.choice(("nothing", "guest", "guest", STEADY.name, "guest n_ctx")):
            case "guest":
                return replace(self._variant, has_guest=not self._variant.has_guest)
            case "guest n_ctx":
                return replace(self._variant, guest_n_ctx=4096 + next(self._serial))
            case STEADY.name:
                return replace(self._variant, steady_n_ctx=4096 + next(self._serial))
            case _:
                return self._variant

    async def _ask_for_reload(self, expected: int) -> None:
        status, answer = await self._server.http.post("/api/reload")
        if status in (404, 405, 501) and _code(answer) != "model_not_found":
            self.can_reload = False  # a server without the endpoint: the file is still written
        elif status != expected:
            self._on_problem(f"POST /api/reload: {status} {answer}, expected {expected}")

    async def settle(self) -> None:
        """Everything as at the start: no traps, nobody frozen, every model configured."""
        self.thaw()
        self._world.disarm()
        async with self._reload_lock:
            self._variant = Variant()
            self._world.write(self._variant)
            await self._ask_for_reload(expected=200)


def _code(answer: dict[str, Any]) -> str:
    error = answer.get("error")
    return str(error.get("code")) if isinstance(error, dict) else ""

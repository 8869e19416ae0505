"""A llama.cpp engine on a tiny model, asked one request at a time: for tests of prefix reuse."""

from __future__ import annotations

import time
from pathlib import Path

from inference.chat import GenerateRequest
from inference.engines import llama
from inference.messages import Event, Generate
from inference.model_spec import ModelSpec


class TinyEngine:
    def __init__(self, path: Path, **overrides: object) -> None:
        values: dict[str, object] = {
            "name": "tiny",
            "path": str(path),
            "n_ctx": 2048,
            "slots": 1,
            "threads": 1,
            "n_batch": 256,
            "n_ubatch": 128,
        }
        self.engine = llama.load(ModelSpec(**{**values, **overrides}), lambda _: None)  # type: ignore[arg-type]

    def events(self, request: GenerateRequest, request_id: int = 1) -> list[Event]:
        """Everything the engine says of one request."""
        self.engine.submit(self.engine.prepare(Generate(request_id=request_id, request=request)))
        events: list[Event] = []
        while self.engine.wait_s() is not None:
            events += [output.event for output in self.engine.step()]
        return events

    def close(self) -> None:
        self.engine.close()

    def end(self) -> int:
        """As a worker does when it is unloaded. Returns how many sequences were saved."""
        n_saved = self.engine.save(time.monotonic() + 60)
        self.engine.close()
        return n_saved

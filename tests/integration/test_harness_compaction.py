"""A conversation that outgrows the model's context: the harness compacts it and goes on.

opencode and Claude Code believe in a larger context than there is, run into a true overflow, and recognise it
by the error in their dialect, which is a status, or, if the model had to be loaded first, an event of the
stream. Codex recognises neither, and compacts by the usage that it is told.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.event_stream import FIRST_BYTE_GRACE_S
from tests.integration.harness_rig import CONTEXT, MAIN, NAMES, Bench, Job, Server, bench, require, run
from tests.integration.harness_scripts import HANDS, Table, script, turn

pytestmark = pytest.mark.harness

SUMMARY = "Counted to 1700 a few times. Nothing is left to do."
COUNT = "seq 1000 1700"  # about 1400 tokens as the scripted model counts them
COUNT_FAR = "seq 1000 4000"

UNLOAD = """
import urllib.request
urllib.request.urlopen(urllib.request.Request("{url}/api/models/main/unload", method="POST"))
"""


@dataclass(frozen=True)
class Case:
    """`asks`: how its request for a summary is told from others. `believes`: what it takes for the context.

    In `n_ctx` there is room for the request for a summary, with all but what did not fit.
    """

    asks: Mapping[str, Any]
    n_ctx: int
    believes: int = CONTEXT


CASES = {
    "opencode": Case({"lacks": ["bash"]}, n_ctx=14_000),
    "codex": Case({"user_contains": "CONTEXT CHECKPOINT COMPACTION"}, n_ctx=16_000, believes=14_000),
    "claude": Case({"user_contains": "CRITICAL: Respond with TEXT ONLY"}, n_ctx=14_000),
}


def counting(name: str, *turns: Table, load_s: float = 0.0) -> str:
    return script(
        turn("compact", text=f"<summary>{SUMMARY}</summary>", match=CASES[name].asks),
        turn("go on", text="Done counting.", match={"contains": SUMMARY}),
        *turns,
        turn("count", HANDS[name].run(COUNT), times=10),
        load={"seconds": load_s},
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_conversation_is_compacted_and_goes_on(name: str, tmp_path: Path) -> None:
    require(name)
    case = CASES[name]

    async def main() -> None:
        async with bench(tmp_path, Server({MAIN: counting(name)}, n_ctx=case.n_ctx)) as here:
            outcome = await here.work(name, Job("Count.", context=case.believes))
            assert outcome.said.final_text == "Done counting.", outcome.ended
            _check_compaction(here)
            refused = await _refused(here)
            if name == "codex":
                assert refused == []
            else:
                assert [record["code"] for record in refused] == ["context_length_exceeded"]
                assert refused[0]["load_s"] == 0

    run(main())


@pytest.mark.parametrize("name", ["opencode", "claude"])
def test_an_overflow_that_is_found_after_a_load_is_recognised_in_the_stream(
    name: str, tmp_path: Path
) -> None:
    """Before the model is there nobody counts the tokens, and the answer has begun by then."""
    require(name)

    async def main() -> None:
        load_s = FIRST_BYTE_GRACE_S + 0.5
        far = turn(
            "count far", HANDS[name].run(f"{sys.executable} unload.py; {COUNT_FAR}"), match={"step": 3}
        )
        source = counting(name, far, load_s=load_s)
        async with bench(tmp_path, Server({MAIN: source}, n_ctx=CASES[name].n_ctx)) as here:
            unload = UNLOAD.format(url=here.rig.url)
            outcome = await here.work(name, Job("Count.", files={"unload.py": unload}))
            assert outcome.said.final_text == "Done counting.", outcome.ended
            _check_compaction(here)
            refused = await _refused(here)
            assert {record["code"] for record in refused} == {"context_length_exceeded"}
            assert refused[0]["load_s"] > FIRST_BYTE_GRACE_S

    run(main())


def _check_compaction(here: Bench) -> None:
    assert here.turns()[-2:] == ["compact", "go on"]
    before, after = here.seen()[-3], here.seen()[-1]
    assert len(after.texts("tool")) < len(before.texts("tool"))


async def _refused(here: Bench) -> list[dict[str, Any]]:
    return [record for record in await here.records(MAIN) if record["status"] != 200]

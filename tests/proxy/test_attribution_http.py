"""Whose request it was, in the rows of a whole server: what each harness sends, to models of this machine and
to providers, passed on and translated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.proxy.harness_headers import HARNESSES, Sent, sent
from tests.proxy.remote_rig import Remote, remote
from tests.proxy.rig import run

ROLES = ("main", "subagent", "auxiliary", "unattributed")
MODELS = ("echo", "sonnet", "glm-messages")
"""Local; chat alone, so that the other dialects are translated; Messages alone."""


async def ask(far: Remote, asked: Sent, model: str, path: str = "") -> int:
    body = {**asked.body, "model": model}
    url = far.rig.url + (path or asked.path)
    async with far.rig.http.post(url, json=body, headers=asked.headers) as response:
        await response.read()
        return response.status


def whose(row: Any) -> tuple[str, str, str, str]:
    return row["harness"], row["role"], row["node"], row["parent_node"]


def test_every_harness_is_told_apart(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            everybody = [
                (sent(harness, role), to) for harness in HARNESSES for role in ROLES for to in MODELS
            ]
            for asked, to in everybody:
                assert await ask(far, asked, to) == 200
            rows = reversed(await far.rows())
            expected = [(asked.harness, asked.role, asked.node, asked.parent) for asked, _ in everybody]
            assert [whose(row) for row in rows] == expected

    run(main())


def test_the_same_standing_text_has_the_same_digests_wherever_it_goes(tmp_path: Path) -> None:
    """Of what is passed on as it is, in runs only."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            for harness in HARNESSES:
                asked = sent(harness, "main")
                for to in MODELS:
                    assert await ask(far, asked, to, f"/r/one{asked.path}") == 200
                found = {(row["system_sha"], row["tools_sha"]) for row in (await far.rows())[: len(MODELS)]}
                [digests] = found
                assert all(len(digest) == 16 for digest in digests)
                for to in MODELS:
                    assert await ask(far, asked, to) == 200
                    row = (await far.rows())[0]
                    is_passed = (harness, to) in {("opencode", "sonnet"), ("claude-code", "glm-messages")}
                    assert (row["system_sha"], row["tools_sha"]) == (("", "") if is_passed else digests)

    run(main())


def test_who_is_refused_is_known_too(tmp_path: Path) -> None:
    """A sub-agent whose model does not exist, or whose body cannot be read, is a sub-agent all the same."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            for harness in HARNESSES:
                asked = sent(harness, "subagent")
                assert await ask(far, asked, "no-such-model") == 404
                asked.body["temperature"] = "hot"
                assert await ask(far, asked, "echo") == 400
                assert {row["role"] for row in await far.rows()} == {"subagent"}

    run(main())


def test_an_offline_refusal_says_whose_it_was(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path, offline=True) as far:
            assert await ask(far, sent("codex", "subagent"), "sonnet") == 403
            assert whose((await far.rows())[0]) == ("codex", "subagent", "child-1", "root-1")

    run(main())


def test_an_agent_whose_tokens_were_counted_has_not_worked(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            asked = sent("claude-code", "subagent")
            body = {"model": "glm-messages", "messages": asked.body["messages"]}
            url = f"{far.rig.url}/v1/messages/count_tokens"
            async with far.rig.http.post(url, json=body, headers=asked.headers) as response:
                await response.read()
            assert whose((await far.rows())[0]) == ("claude-code", "auxiliary", "child-1", "root-1")

    run(main())

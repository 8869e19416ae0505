from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import ChatRequest, Message, TextPart, Tool
from proxy.attribution import MAX_METADATA_BYTES, NOBODY, Attribution, attribute, digests

OPENCODE = (b"user-agent", b"opencode/1.18.33 ai-sdk/provider-utils/4.0.23 runtime/bun/1.3.14")
CODEX = (b"originator", b"codex_exec")
CLAUDE = (b"user-agent", b"claude-cli/2.1.330 (external, sdk-cli)")
SESSION, THREAD = (b"session-id", b"r-1"), (b"thread-id", b"r-1")


def metadata(kind: str) -> tuple[bytes, bytes]:
    return b"x-codex-turn-metadata", json.dumps({"thread_id": "r-1", "request_kind": kind}).encode()


CASES = {
    "opencode, main": ([OPENCODE, (b"x-session-id", b"ses_a")], True, ("opencode", "main", "ses_a", "")),
    "opencode, title": (
        [OPENCODE, (b"x-session-id", b"ses_a")],
        False,
        ("opencode", "auxiliary", "ses_a", ""),
    ),
    "opencode, sub-agent": (
        [OPENCODE, (b"x-session-id", b"ses_b"), (b"x-parent-session-id", b"ses_a")],
        True,
        ("opencode", "subagent", "ses_b", "ses_a"),
    ),
    "opencode, sub-agent without tools": (
        [OPENCODE, (b"x-session-id", b"ses_b"), (b"x-parent-session-id", b"ses_a")],
        False,
        ("opencode", "subagent", "ses_b", "ses_a"),
    ),
    "codex, main": ([CODEX, SESSION, THREAD, metadata("turn")], True, ("codex", "main", "r-1", "")),
    "codex, interactive": (
        [(b"originator", b"codex_cli_rs"), SESSION, THREAD],
        True,
        ("codex", "main", "r-1", ""),
    ),
    "codex, compaction": (
        [CODEX, SESSION, THREAD, metadata("compaction")],
        False,
        ("codex", "auxiliary", "r-1", ""),
    ),
    "codex, sub-agent": (
        [
            CODEX,
            SESSION,
            (b"thread-id", b"r-2"),
            (b"x-openai-subagent", b"collab_spawn"),
            (b"x-codex-parent-thread-id", b"r-1"),
            metadata("turn"),
        ],
        True,
        ("codex", "subagent", "r-2", "r-1"),
    ),
    "claude, main": (
        [CLAUDE, (b"x-claude-code-session-id", b"s-1")],
        True,
        ("claude-code", "main", "s-1", ""),
    ),
    "claude, title": (
        [CLAUDE, (b"x-claude-code-session-id", b"s-1")],
        False,
        ("claude-code", "auxiliary", "s-1", ""),
    ),
    "claude, sub-agent": (
        [CLAUDE, (b"x-claude-code-session-id", b"s-1"), (b"x-claude-code-agent-id", b"a5e2")],
        True,
        ("claude-code", "subagent", "a5e2", "s-1"),
    ),
    "known harness, no session": ([OPENCODE], True, ("opencode", "unattributed", "", "")),
    "codex, metadata that is no JSON": (
        [CODEX, THREAD, (b"x-codex-turn-metadata", b"{")],
        True,
        ("codex", "main", "r-1", ""),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_requests_of_the_harnesses(case: str) -> None:
    headers, has_tools, expected = CASES[case]
    assert attribute(headers, has_tools=has_tools) == Attribution(*expected)


def test_a_harness_by_its_headers_alone_is_not_guessed() -> None:
    headers = [(b"user-agent", b"curl/8"), (b"x-session-id", b"ses_a"), (b"thread-id", b"t")]
    assert attribute(headers, has_tools=True) == NOBODY


@pytest.mark.parametrize("value", [b"", b"a b", b"x" * 129, b"\xff", b"a\x00b"])
def test_an_id_that_no_harness_sends_is_none(value: bytes) -> None:
    assert attribute([OPENCODE, (b"x-session-id", value)], has_tools=True).node == ""


def test_huge_metadata_are_not_read() -> None:
    huge = (
        b"x-codex-turn-metadata",
        b'{"request_kind":"compaction","a":"' + b"x" * MAX_METADATA_BYTES + b'"}',
    )
    assert attribute([CODEX, THREAD, huge], has_tools=True).role == "main"


@given(
    st.lists(st.tuples(st.sampled_from([OPENCODE[0], CODEX[0], b"thread-id", metadata("")[0]]), st.binary()))
)
def test_nothing_that_a_client_sends_is_an_error(headers: list[tuple[bytes, bytes]]) -> None:
    attribute([CODEX, *headers], has_tools=True)


def asked(*messages: Message, tools: tuple[Tool, ...] = ()) -> ChatRequest:
    return ChatRequest(model="m", messages=messages, tools=tools)


SYSTEM, USER = Message(role="system", content="Be brief."), Message(role="user", content="Hi")
TOOL = Tool(name="read", description="Reads.", parameters={"type": "object"})


def test_digests_leave_out_what_differs_from_run_to_run() -> None:
    def told(folder: str) -> ChatRequest:
        system = Message(role="system", content=f"You work in {folder}/app. Be short.")
        return asked(system, USER, tools=(Tool(name="run", description=f"Runs in {folder}."),))

    one, other = told("/tmp/trial-one"), told("/tmp/trial-other")
    assert all(a != b for a, b in zip(digests(one), digests(other), strict=True))
    assert digests(one, ("/tmp/trial-one",)) == digests(other, ("/tmp/trial-other",))
    assert digests(one, ("/tmp/trial-other",)) == digests(one)


def test_digests_tell_standing_texts_apart() -> None:
    system, tools = digests(asked(SYSTEM, USER, tools=(TOOL,)))
    assert len(system) == len(tools) == 16
    assert digests(asked(SYSTEM, Message(role="user", content="Other"), tools=(TOOL,))) == (system, tools)
    assert digests(asked(Message(role="system", content="Be long."), USER))[0] not in ("", system)
    assert digests(asked(SYSTEM, tools=(Tool(name="read", description="Writes."),)))[1] not in ("", tools)
    assert digests(asked(USER)) == ("", "")


def test_a_late_system_message_is_not_standing_text() -> None:
    late = Message(role="system", content="12:00")
    assert digests(asked(SYSTEM, USER, late))[0] == digests(asked(SYSTEM, USER))[0]


def test_parts_are_as_good_as_a_string_and_their_borders_count() -> None:
    one = Message(role="developer", content=(TextPart(text="Be brief."),))
    assert digests(asked(one, USER))[0] == digests(asked(SYSTEM, USER))[0]
    split = Message(role="developer", content=(TextPart(text="Be "), TextPart(text="brief.")))
    assert digests(asked(split, USER))[0] != digests(asked(SYSTEM, USER))[0]

"""Policies: whose requests are treated, with which words, and that nothing else of a request changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inference.chat import ChatRequest, Message, TextPart, Tool
from proxy.attribution import Attribution, Role
from proxy.dialects import anthropic_messages, chat_completions, responses
from proxy.passed_request import PassedRequest, passed_request
from proxy.policies import Policy, applies, policy_text, treated_body, treated_request
from proxy.providers import DialectName
from tests.proxy.harness_headers import HARNESSES, SYSTEM, sent
from tests.proxy.remote_rig import Remote, remote
from tests.proxy.rig import run

TREATED: tuple[Policy, ...] = ("neutral", "encouraged", "required")
TOOLS = {"opencode": "task", "codex": "spawn_agent", "claude-code": "Agent"}
DIALECTS: dict[str, DialectName] = {
    "opencode": "chat-completions",
    "codex": "responses",
    "claude-code": "anthropic-messages",
}


def main_of(harness: str) -> Attribution:
    return Attribution(harness, "main", "n", "")


def text_of(policy: Policy, harness: str) -> str:
    text = policy_text(policy, harness, [TOOLS[harness]])
    assert text is not None
    return text


def body_of(harness: str, **changes: Any) -> PassedRequest:
    fields = sent(harness, "main").body | {"model": "m", "temperature": 0.10} | changes
    left = {name: value for name, value in fields.items() if value is not ...}
    return passed_request(json.dumps(left).encode(), DIALECTS[harness], [])


def fields_of(passed: PassedRequest | None) -> dict[str, Any]:
    assert passed is not None
    found: dict[str, Any] = json.loads(passed.body_for("m"))
    return found


# --- the words -----------------------------------------------------------------------------------


@pytest.mark.parametrize("harness", HARNESSES)
def test_each_policy_names_the_tool_and_says_something_else(harness: str) -> None:
    texts = {text_of(policy, harness) for policy in TREATED}
    assert len(texts) == 3
    assert all(f"`{TOOLS[harness]}`" in text for text in texts)


def test_the_tool_is_called_as_the_request_calls_it() -> None:
    assert "`Task`" in (policy_text("neutral", "claude-code", ["Read", "Task"]) or "")
    assert "`team__spawn_agent`" in (policy_text("neutral", "codex", ["team__spawn_agent"]) or "")


@pytest.mark.parametrize(
    ("policy", "harness", "tools"),
    [
        ("native", "opencode", ["task"]),
        ("required", "", ["task"]),
        ("required", "opencode", []),
        ("required", "opencode", ["Agent", "multitask"]),
    ],
)
def test_where_there_is_nothing_to_say(policy: Policy, harness: str, tools: list[str]) -> None:
    assert policy_text(policy, harness, tools) is None


@pytest.mark.parametrize(
    ("role", "expected"), [("main", True), ("unattributed", True), ("subagent", False), ("auxiliary", False)]
)
def test_sub_agents_and_titles_are_no_matter_of_a_policy(role: Role, expected: bool) -> None:
    assert applies("required", Attribution("opencode", role, "n", "")) is expected
    assert not applies("native", Attribution("opencode", role, "n", ""))


# --- decoded requests ----------------------------------------------------------------------------


def chat(*messages: Message) -> ChatRequest:
    return ChatRequest(model="m", messages=messages, tools=(Tool(name="task"),), max_tokens=7)


USER = Message(role="user", content="hi")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([USER], [Message(role="system", content="TEXT"), USER]),
        (
            [Message(role="system", content="a"), USER, Message(role="system", content="late")],
            [Message(role="system", content="a\n\nTEXT"), USER, Message(role="system", content="late")],
        ),
        (
            [Message(role="system", content="a"), Message(role="developer", content="b"), USER],
            [Message(role="system", content="a"), Message(role="developer", content="b\n\nTEXT"), USER],
        ),
        (
            [Message(role="system", content=(TextPart(text="a"),)), USER],
            [Message(role="system", content=(TextPart(text="a"), TextPart(text="\n\nTEXT"))), USER],
        ),
    ],
)
def test_the_text_ends_the_system_text(before: list[Message], after: list[Message]) -> None:
    treated = treated_request(chat(*before), "required", main_of("opencode"))
    text = text_of("required", "opencode")
    expected = json.dumps([_plain(message) for message in after])[1:-1].replace(
        "TEXT", json.dumps(text)[1:-1]
    )
    assert treated is not None
    assert json.dumps([_plain(message) for message in treated.messages])[1:-1] == expected
    assert (treated.tools, treated.max_tokens) == ((Tool(name="task"),), 7)


def _plain(message: Message) -> list[Any]:
    if isinstance(message.content, str):
        return [message.role, message.content]
    return [message.role, *(part.text for part in message.content if isinstance(part, TextPart))]


def test_what_cannot_be_treated() -> None:
    assert treated_request(chat(USER), "required", main_of("")) is None
    assert treated_request(chat(USER), "required", main_of("codex")) is None
    assert treated_request(chat(USER), "required", Attribution("opencode", "unattributed", "", "")) is None


# --- bodies that are passed on -------------------------------------------------------------------


@pytest.mark.parametrize("harness", HARNESSES)
@pytest.mark.parametrize("policy", TREATED)
def test_nothing_else_of_a_body_changes(harness: str, policy: Policy) -> None:
    passed = body_of(harness)
    treated = treated_body(passed, policy, main_of(harness))
    before, after = fields_of(passed), fields_of(treated)
    [changed] = [name for name in after if after[name] != before[name]]
    assert changed == {"opencode": "messages", "codex": "input", "claude-code": "system"}[harness]
    assert treated is not None
    assert {name: bytes(raw) for name, raw in treated.fields.items() if name != changed} == {
        name: bytes(raw) for name, raw in passed.fields.items() if name != changed
    }


@pytest.mark.parametrize("harness", HARNESSES)
def test_a_treated_body_means_what_a_treated_request_means(harness: str) -> None:
    """The model is told the same words after the same system text, whichever way the request goes."""
    dialect: Any = {"opencode": chat_completions, "codex": responses, "claude-code": anthropic_messages}[
        harness
    ]
    passed = body_of(harness)
    treated = treated_body(passed, "encouraged", main_of(harness))
    assert treated is not None
    as_body = dialect.decode_request(treated.body_for("m")).request
    decoded = dialect.decode_request(passed.body_for("m")).request
    as_request = treated_request(decoded, "encouraged", main_of(harness))
    assert as_request is not None
    told = [system_text(request).replace("multi_agent_v1__", "") for request in (as_body, as_request)]
    assert told[0].split() == told[1].split()
    assert told[0].startswith(SYSTEM)
    assert told[0].endswith(text_of("encouraged", harness))


def system_text(request: ChatRequest) -> str:
    leading = [message for message in request.messages if message.role in ("system", "developer")]
    return "\n".join(" ".join(_plain(message)[1:]) for message in leading)


A = {"type": "text", "text": "a"}


@pytest.mark.parametrize(
    ("harness", "changes", "field", "expected"),
    [
        ("claude-code", {"system": ...}, "system", "TEXT"),
        ("claude-code", {"system": "a"}, "system", "a\n\nTEXT"),
        ("opencode", {"messages": [{"role": "user", "content": "x"}]}, "messages", [
            {"role": "system", "content": "TEXT"}, {"role": "user", "content": "x"}]),
        ("opencode", {"messages": [{"role": "system", "content": [A]}]}, "messages", [
            {"role": "system", "content": [A, {"type": "text", "text": "\n\nTEXT"}]}]),
        ("codex", {"input": "hi"}, "instructions", "TEXT"),
        ("codex", {"input": "hi", "instructions": "a"}, "instructions", "a\n\nTEXT"),
    ],
)  # fmt: skip
def test_every_shape_of_system_text(harness: str, changes: dict[str, Any], field: str, expected: Any) -> None:
    treated = fields_of(treated_body(body_of(harness, **changes), "neutral", main_of(harness)))
    text = json.dumps(text_of("neutral", harness))[1:-1]
    assert json.dumps(treated[field]) == json.dumps(expected).replace("TEXT", text)


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": ...},
        {"tools": []},
        {"tools": "none"},
        {"tools": [{"type": "function", "function": {"name": "read"}}]},
        {"messages": "none"},
        {"messages": [{"role": "system", "content": 7}]},
        {"messages": ["system"]},
    ],
)
def test_a_body_that_cannot_be_treated_is_left_to_the_provider(changes: dict[str, Any]) -> None:
    assert treated_body(body_of("opencode", **changes), "required", main_of("opencode")) is None


# --- over HTTP -----------------------------------------------------------------------------------


async def ask(far: Remote, token: str, harness: str, role: str, model: str) -> None:
    asked = sent(harness, role)
    headers = asked.headers | {"authorization": f"Bearer {token}"}
    body = asked.body | {"model": model}
    async with far.rig.http.post(far.rig.url + asked.path, json=body, headers=headers) as response:
        await response.read()
        assert response.status == 200


async def announce(far: Remote, name: str, **fields: Any) -> str:
    status, answer, _ = await far.rig.post("/api/runs", {"name": name, **fields})
    assert status == 201, answer
    token: str = answer["token"]
    return token


def test_a_run_treats_its_main_agents_and_says_so(tmp_path: Path) -> None:
    """Passed on and translated: what reached the provider has the text, once, behind the harness's own."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            token = await announce(far, "treated", policy="required")
            for harness in HARNESSES:
                for role in ("main", "subagent", "auxiliary", "unattributed"):
                    for model in ("sonnet", "glm-messages"):
                        await ask(far, token, harness, role, model)
            rows = (await far.rig.get("/api/requests?run=treated"))["requests"]
            expected = {"main": "required", "subagent": "", "auxiliary": "", "unattributed": "untreated"}
            assert {(row["role"], row["policy"]) for row in rows} == set(expected.items())
            totals = await far.rig.get("/api/runs/treated")
            assert (totals["treated"], totals["untreated"]) == (6, 6)
            for fake in (far.openrouter, far.zai):
                told = [asked.raw.count(b"the user requires you to delegate") for asked in fake.posted]
                assert told == [1, 0, 0, 0] * 3

    run(main())


def test_a_native_run_changes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with remote(tmp_path) as far:
            status, answer, _ = await far.rig.post("/api/runs", {"name": "plain", "policy": "native"})
            assert (status, "policy" in answer) == (201, False)
            await ask(far, answer["token"], "opencode", "main", "sonnet")
            native = far.openrouter.posted[0].raw
            async with far.rig.http.post(
                f"{far.rig.url}/v1/chat/completions",
                json=sent("opencode", "main").body | {"model": "sonnet"},
            ) as response:
                await response.read()
            assert far.openrouter.posted[1].raw == native
            totals = await far.rig.get("/api/runs/plain")
            assert (totals["treated"], totals["untreated"]) == (0, 0)
            status, answer, _ = await far.rig.post("/api/runs", {"policy": "kind"})
            assert (status, "policy" in answer["error"]["message"]) == (400, True)

    run(main())


def test_a_local_model_gets_the_text_and_its_cache_goes_on(tmp_path: Path) -> None:
    """The prompt grows by the words of the text, and the digest is of the harness's own."""

    async def main() -> None:
        async with remote(tmp_path) as far:
            for name, policy in (("plain", "native"), ("nudged", "encouraged")):
                token = await announce(far, name, policy=policy)
                await ask(far, token, "opencode", "main", "echo")
            nudged, plain = (await far.rig.get("/api/requests"))["requests"]
            assert (nudged["policy"], plain["policy"]) == ("encouraged", "")
            assert nudged["input_tokens"] > plain["input_tokens"] + 20
            assert nudged["system_sha"] == plain["system_sha"]

    run(main())

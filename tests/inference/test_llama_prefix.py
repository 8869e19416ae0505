"""The engine says of each request what of its prompt was reused, from where, and why not more.

Tiny random-weight models: llama for full attention, qwen35moe for layers that cannot go back. Their
tokens are bytes, so every index below is a position in the prompt's text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.chat import ChatRequest, CompletionRequest, Finish, Message, Role, Sampling
from inference.messages import PrefixReport
from inference.prefix_report import COULD_NOT_GO_BACK, NOTHING_CACHED
from inference.prefix_stability import BILLING_HEADER
from tests.inference import gguf_models
from tests.inference.tiny_engine import TinyEngine

Turn = tuple[Role, str]
SYSTEM = "You are careful. " * 30
RIVERS: Turn = ("user", "Tell me about rivers. " * 20)
MOUNTAINS: Turn = ("user", "What of mountains? " * 20)
REPLY: Turn = ("assistant", "They flow to the sea.")

HEADER = "x-anthropic-billing-header: cc_version=2.1.100.7b4; cc_entrypoint=cli; cch={};\n"


class Session(TinyEngine):
    """Asked for the report of each request."""

    def ask(self, *messages: Turn) -> PrefixReport:
        chat = tuple(Message(role=role, content=text) for role, text in messages)
        sampling = Sampling(temperature=0.0)
        return self.run(
            ChatRequest(model="tiny", messages=chat, sampling=sampling, max_tokens=4, ignore_eos=True)
        )

    def run(self, request: ChatRequest | CompletionRequest) -> PrefixReport:
        """The report, which must come first, once, and agree with the usage."""
        events = self.events(request, request_id=7)
        first, last = events[0], events[-1]
        assert isinstance(first, PrefixReport)
        assert isinstance(last, Finish)
        assert sum(isinstance(event, PrefixReport) for event in events) == 1
        assert (first.prompt_tokens, first.reused_tokens) == (
            last.usage.input_tokens,
            last.usage.cached_tokens,
        )
        return first


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def full(folder: Path) -> Path:
    return gguf_models.write(gguf_models.llama(), folder / "llama.gguf", seed=3)


@pytest.fixture(scope="module")
def hybrid(folder: Path) -> Path:
    return gguf_models.write(gguf_models.qwen35moe(), folder / "qwen35moe.gguf", seed=3)


@pytest.fixture
def session(full: Path) -> Iterator[Session]:
    session = Session(full)
    yield session
    session.engine.close()


def test_the_first_request(session: Session, capfd: pytest.CaptureFixture[str]) -> None:
    report = session.ask(("system", SYSTEM), RIVERS)
    assert (report.source, report.reused_tokens, report.first_difference) == ("none", 0, None)
    assert report.culprit == NOTHING_CACHED
    n = report.prompt_tokens
    assert f"request 7: 0 of {n} prompt tokens reused; {n} lost: nothing cached\n" in capfd.readouterr().err


def test_a_completion_goes_on_where_it_ended(session: Session) -> None:
    """Tokens as they were generated, so there is no difference at all."""
    prompt = tuple(b"Once upon a time" * 10)
    first = session.run(CompletionRequest(model="tiny", prompt=prompt, max_tokens=1, ignore_eos=True))
    second = session.run(
        CompletionRequest(model="tiny", prompt=(*prompt, 1, 2), max_tokens=1, ignore_eos=True)
    )
    assert (second.reused_tokens, second.source) == (first.prompt_tokens, "slot")
    assert (second.first_difference, second.causes) == (None, ())


def test_a_continued_session_differs_where_its_answer_does(session: Session) -> None:
    first = session.ask(("system", SYSTEM), RIVERS)
    second = session.ask(("system", SYSTEM), RIVERS, REPLY, MOUNTAINS)
    assert second.source == "slot"
    assert second.first_difference == second.reused_tokens >= first.prompt_tokens
    assert second.before.endswith("<|im_start|>assistant\n")
    assert second.in_prompt.startswith("They flow to the sea.<|im_end|>\n<|im_start|>")


def test_an_early_token_changed(session: Session, capfd: pytest.CaptureFixture[str]) -> None:
    session.ask(("system", SYSTEM), RIVERS)
    capfd.readouterr()
    report = session.ask(("system", SYSTEM.replace("careful", "cheerful", 1)), RIVERS)
    index = 1 + len("system\nYou are c")
    assert (report.first_difference, report.reused_tokens) == (index, index)
    assert report.before == "<|im_start|>system\nYou are c"[-len(report.before) :]
    assert report.in_prompt.startswith("heerful. You are")
    assert report.in_cache.startswith("areful. You are")
    assert report.culprit == "changed system prompt"
    line = (
        f"request 7: {index} of {report.prompt_tokens} prompt tokens reused (slot 0); "
        f"first difference at token {index}: changed system prompt\n"
    )
    assert line == capfd.readouterr().err


@pytest.mark.parametrize("kind", ["full", "hybrid"])
def test_restored_from_host_memory(kind: str, request: pytest.FixtureRequest) -> None:
    session = Session(request.getfixturevalue(kind))
    first = session.ask(RIVERS)
    session.ask(MOUNTAINS)
    report = session.ask(RIVERS, REPLY, MOUNTAINS)
    assert report.source == "memory"
    assert report.reused_tokens >= first.prompt_tokens - 32
    session.engine.close()


@pytest.mark.parametrize("kind", ["full", "hybrid"])
def test_restored_from_disk(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    path = request.getfixturevalue(kind)
    before = Session(path, kv_store=str(tmp_path))
    first = before.ask(RIVERS)
    before.end()
    after = Session(path, kv_store=str(tmp_path))
    report = after.ask(RIVERS, REPLY, MOUNTAINS)
    assert report.source == "disk"
    assert report.reused_tokens >= first.prompt_tokens - 32
    after.engine.close()


def test_copied_from_another_slot(full: Path) -> None:
    session = Session(full, slots=2)
    session.ask(("system", SYSTEM), RIVERS)
    report = session.ask(("system", SYSTEM), MOUNTAINS)
    assert (report.source, report.slot, report.culprit) == ("copy", 1, "other session")
    assert report.first_difference == report.reused_tokens > len(SYSTEM)
    session.engine.close()


def test_an_answer_rewritten_on_layers_that_cannot_go_back(hybrid: Path) -> None:
    """Matched up to the answer's first letter; the state goes back to a message boundary before it."""
    session = Session(hybrid)
    session.ask(("system", SYSTEM), RIVERS)
    report = session.ask(("system", SYSTEM), RIVERS, REPLY, MOUNTAINS)
    assert report.first_difference is not None
    lost = report.first_difference - report.reused_tokens
    assert 0 < lost <= 32
    assert [cause.tokens for cause in report.causes if cause.name == COULD_NOT_GO_BACK] == [lost]
    session.engine.close()


@pytest.mark.parametrize("stable", [False, True], ids=["as it comes", "stabilised"])
def test_a_nonce_near_the_beginning(full: Path, stable: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """Two requests of one session, whose system prompt begins with a nonce. Reused: 82 of 1104 tokens, or
    979 of 1023 once it is taken out."""
    session = Session(full, stabilise_prefix=stable)
    turns: tuple[Turn, ...] = (RIVERS, REPLY, ("user", "And?"))
    session.ask(("system", HEADER.format("eb6c6") + SYSTEM), turns[0])
    capfd.readouterr()
    report = session.ask(("system", HEADER.format("0aaa9") + SYSTEM), *turns)
    line = capfd.readouterr().err
    share = report.reused_tokens / report.prompt_tokens
    if stable:
        assert share > 0.9
        assert report.removed == {BILLING_HEADER: 1}
        assert line.endswith("; removed: 1 × billing header nonce\n")
    else:
        assert share < 0.1
        assert (report.culprit, report.removed) == (BILLING_HEADER, {})
        assert f"first difference at token {report.reused_tokens}: billing header nonce\n" in line
    session.engine.close()

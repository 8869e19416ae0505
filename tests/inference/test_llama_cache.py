"""Prefix reuse on every kind of memory llama.cpp has: what is reused must answer as a cold run does.

Tiny random-weight models of four architectures, written by gguf_models: llama (full attention),
gemma3 (sliding window), qwen35moe (hybrid: cannot go back), deepseek2 (MLA). Answers are compared
by the log-probabilities of their tokens: with an f32 cache and without flash attention, llama.cpp's
results hardly depend on batches and layout (2e-5), and one letter changed at the beginning of a
long prompt moves them by more than a thousandth.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inference.chat import ChatRequest, CompletionRequest, Finish, Message, Sampling, TextDelta, TokenLogprob
from tests.inference import gguf_models
from tests.inference.tiny_engine import TinyEngine

EXACT = Sampling(temperature=0.0, logprobs=3)
MODELS: dict[str, Callable[[], gguf_models.GgufModel]] = {
    "llama": gguf_models.llama,
    "gemma3": gguf_models.gemma3,
    "qwen35moe": gguf_models.qwen35moe,
    "deepseek2": gguf_models.deepseek2,
}

SYSTEM = Message(role="system", content="You are careful. " * 30)
FIRST = Message(role="user", content="Tell me about rivers. " * 20)
OTHER = Message(role="user", content="What of mountains? " * 20)


Answer = list[TokenLogprob]
Cold = Callable[..., Answer]


class Session(TinyEngine):
    """Answers as log-probabilities, from exact arithmetic unless told otherwise."""

    def __init__(self, path: Path, **overrides: object) -> None:
        super().__init__(path, **{"kv_type": "f32", "flash_attn": False, **overrides})

    def ask(self, *messages: Message, max_tokens: int = 12) -> tuple[Answer, Finish]:
        return self.run(
            ChatRequest(
                model="tiny", messages=messages, sampling=EXACT, max_tokens=max_tokens, ignore_eos=True
            )
        )

    def complete(self, prompt: str | tuple[int, ...], max_tokens: int = 12) -> tuple[Answer, Finish]:
        return self.run(
            CompletionRequest(
                model="tiny", prompt=prompt, sampling=EXACT, max_tokens=max_tokens, ignore_eos=True
            )
        )

    def run(self, request: ChatRequest | CompletionRequest) -> tuple[Answer, Finish]:
        events = self.events(request)
        last = events[-1]
        assert isinstance(last, Finish)
        answer = [entry for e in events if isinstance(e, TextDelta) for entry in e.logprobs]
        assert len(answer) == 12
        return answer, last


@pytest.fixture(scope="module", params=list(MODELS))
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / f"{request.param}.gguf"
    return gguf_models.write(MODELS[request.param](), path, seed=3)


@pytest.fixture(scope="module")
def cold(tiny: Path) -> Cold:
    """The answer of a fresh engine that reuses nothing."""

    def answer(*messages: Message) -> Answer:
        session = Session(tiny, kv_ram_bytes=0)
        text, finish = session.ask(*messages)
        assert finish.usage.cached_tokens == 0
        session.close()
        return text

    return answer


def assert_same(answer: Answer, expected: Answer) -> None:
    """Equal tokens, and log-probabilities equal but for the order of sums: another layout of the same
    window (swa_full) moves a cold gemma3 by 2e-5."""
    assert [entry.bytes_ for entry in answer] == [entry.bytes_ for entry in expected]
    assert difference(answer, expected) < 2e-4


def difference(a: Answer, b: Answer) -> float:
    return max(abs(x.logprob - y.logprob) for x, y in zip(a, b, strict=True))


REPLY = Message(role="assistant", content="They flow to the sea.")
REWRITTEN = Message(role="assistant", content="Something else entirely.")


def test_the_comparison_sees_a_single_letter(cold: Cold) -> None:
    changed = Message(role="system", content="you" + str(SYSTEM.content)[3:])
    assert difference(cold(SYSTEM, FIRST), cold(changed, FIRST)) > 1e-3


def test_a_second_turn_computes_only_what_is_new(tiny: Path, cold: Cold) -> None:
    session = Session(tiny)
    _, first = session.ask(SYSTEM, FIRST)
    turn = (SYSTEM, FIRST, REPLY, OTHER)
    again, second = session.ask(*turn)
    assert_same(again, cold(*turn))
    assert second.usage.cached_tokens >= first.usage.input_tokens - 20
    session.close()


def test_a_rewritten_answer_goes_back_to_the_last_message(tiny: Path, cold: Cold) -> None:
    """A client that drops reasoning sends the answer changed: all before it is still good."""
    session = Session(tiny)
    _, first = session.ask(SYSTEM, FIRST)
    turn = (SYSTEM, FIRST, REWRITTEN, OTHER)
    again, second = session.ask(*turn)
    assert_same(again, cold(*turn))
    assert second.usage.cached_tokens >= first.usage.input_tokens - 32
    session.close()


def test_the_same_request_again_computes_next_to_nothing(tiny: Path) -> None:
    session = Session(tiny)
    text, first = session.ask(SYSTEM, FIRST)
    again, second = session.ask(SYSTEM, FIRST)
    assert_same(again, text)
    assert second.usage.cached_tokens >= first.usage.input_tokens - 32
    session.close()


def test_another_task_under_the_same_system_prompt_reuses_it(tiny: Path, cold: Cold) -> None:
    session = Session(tiny)
    session.ask(SYSTEM, FIRST)
    again, second = session.ask(SYSTEM, OTHER)
    assert_same(again, cold(SYSTEM, OTHER))
    assert second.usage.cached_tokens >= 400
    session.close()


def test_two_sessions_on_one_slot_do_not_thrash(tiny: Path, cold: Cold) -> None:
    """Host memory holds what is pushed out of the slot: each turn computes its new tokens only."""
    session = Session(tiny)
    a, b = [FIRST], [OTHER]
    for turn in range(3):
        for mine in (a, b):
            text, finish = session.ask(*mine)
            if turn:
                assert finish.timings.prefill_tokens < 120
            assert_same(text, cold(*mine))
            mine += [REPLY, Message(role="user", content=f"Go on, part {turn}. " * 3)]
    session.close()


def test_without_host_memory_they_do_thrash(tiny: Path) -> None:
    """The check above can fail: this is what it looks like without the tier."""
    session = Session(tiny, kv_ram_bytes=0)
    session.ask(FIRST)
    session.ask(OTHER)
    _, finish = session.ask(FIRST, REPLY, OTHER)
    assert finish.usage.cached_tokens < 100
    session.close()


def test_a_session_survives_unload_and_load(tiny: Path, cold: Cold, tmp_path: Path) -> None:
    before = Session(tiny, kv_store=str(tmp_path))
    _, first = before.ask(SYSTEM, FIRST)
    assert before.end() == 1
    after = Session(tiny, kv_store=str(tmp_path))
    turn = (SYSTEM, FIRST, REPLY, OTHER)
    again, second = after.ask(*turn)
    assert_same(again, cold(*turn))
    assert second.usage.cached_tokens >= first.usage.input_tokens - 20
    after.close()


def test_a_rewritten_session_survives_too(tiny: Path, cold: Cold, tmp_path: Path) -> None:
    before = Session(tiny, kv_store=str(tmp_path))
    _, first = before.ask(SYSTEM, FIRST)
    before.end()
    after = Session(tiny, kv_store=str(tmp_path))
    turn = (SYSTEM, FIRST, REWRITTEN, OTHER)
    again, second = after.ask(*turn)
    assert_same(again, cold(*turn))
    assert second.usage.cached_tokens >= first.usage.input_tokens - 32
    after.close()


@pytest.mark.parametrize(
    "change", [{"kv_type": "f16"}, {"flash_attn": True}], ids=["kv type", "flash attention"]
)
def test_another_configuration_ignores_the_snapshot(
    tiny: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    before = Session(tiny, kv_store=str(tmp_path))
    before.ask(SYSTEM, FIRST)
    before.end()
    after = Session(tiny, kv_store=str(tmp_path), **change)
    _, finish = after.ask(SYSTEM, FIRST, REPLY, OTHER)
    assert finish.usage.cached_tokens == 0
    after.close()


def test_a_corrupted_snapshot_is_computed_again(
    tiny: Path, cold: Cold, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = Session(tiny, kv_store=str(tmp_path))
    before.ask(SYSTEM, FIRST)
    before.end()
    (file,) = tmp_path.rglob("*.kv")
    content = bytearray(file.read_bytes())
    content[-len(content) // 3] ^= 0x40
    file.write_bytes(content)
    after = Session(tiny, kv_store=str(tmp_path))
    turn = (SYSTEM, FIRST, REPLY, OTHER)
    again, finish = after.ask(*turn)
    assert_same(again, cold(*turn))
    assert finish.usage.cached_tokens == 0
    assert "is damaged (wrong checksum)" in capfd.readouterr().err
    assert not list(tmp_path.rglob("*.kv"))
    after.close()


def test_another_models_snapshot_is_not_even_seen(tiny: Path, tmp_path: Path) -> None:
    before = Session(tiny, kv_store=str(tmp_path))
    before.ask(SYSTEM, FIRST)
    before.end()
    other = gguf_models.write(MODELS[tiny.stem](), tmp_path / "other.gguf", seed=4)
    after = Session(other, kv_store=str(tmp_path))
    _, finish = after.ask(SYSTEM, FIRST)
    assert finish.usage.cached_tokens == 0
    after.close()

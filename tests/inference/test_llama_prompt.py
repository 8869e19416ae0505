"""Prompts of real vocabularies: special tokens that people type are text, all else is as it was."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inference.chat import ChatRequest, Message, Tool, ToolCall
from inference.engines.llama_native import EngineLog, Model
from inference.engines.llama_prompt import PromptReader
from inference.model_spec import ModelSpec
from inference.toolcall_formats.generic import GENERIC

GEMMA_CHAT = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}<start_of_turn>model\n"
)
WORDS = (
    "Hello world  the quick\n\nbrown fox; def f(x):\n    return x+1\t— naïve café 日本語 😀 123456 \" ' "
    "<b>html</b> {json: [1,2]} <|im end|> [INST] end\r\n  "
).split(" ")


class Reader:
    """A vocabulary and its prompts, without a context."""

    def __init__(self, path: Path, chat_template: Path | None = None) -> None:
        self._log = EngineLog()
        template = None if chat_template is None else str(chat_template)
        spec = ModelSpec(name="m", path=str(path), n_ctx=1 << 20, n_gpu_layers=0, chat_template=template)
        self.model = Model(spec, self._log, lambda _: None)
        self.prompts = PromptReader(self.model, spec)

    def pieces(self, request: ChatRequest) -> list[str]:
        tokens = self.prompts.read(request).tokens.tolist()
        return [(self.model.piece(t) or self.model.token_text(t).encode()).decode() for t in tokens]

    def close(self) -> None:
        self.model.close()
        self._log.close()


@pytest.fixture(scope="module")
def smollm2(smollm2_path: Path) -> Iterator[Reader]:
    reader = Reader(smollm2_path)
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def gemma3(gemma3_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    template = tmp_path_factory.mktemp("gemma") / "chat.jinja"
    template.write_text(GEMMA_CHAT, encoding="utf-8")
    reader = Reader(gemma3_path, template)
    yield reader
    reader.close()


def ask(*texts: str, tools: tuple[Tool, ...] = ()) -> ChatRequest:
    roles = ("user", "assistant")
    messages = tuple(Message(role=roles[n % 2], content=text) for n, text in enumerate(texts))  # type: ignore[arg-type]
    return ChatRequest(model="m", messages=messages, tools=tools)


@functools.cache
def conversations() -> tuple[ChatRequest, ...]:
    drawn = np.random.default_rng(7)
    return tuple(
        ask(*(" ".join(drawn.choice(WORDS, size=n)) for n in drawn.integers(1, 30, size=5)))
        for _ in range(100)
    )


@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_cut_at_its_special_tokens_a_prompt_has_the_same_tokens(
    name: str, request: pytest.FixtureRequest
) -> None:
    """Words that are no special tokens are treated as if they were, so every fragment is cut out."""
    reader: Reader = request.getfixturevalue(name)
    for conversation in conversations():
        whole = reader.prompts.read(conversation)
        _, cut = reader.prompts._with_spellings(conversation, frozenset({"the", "o", "1", "<b>", "日"}))
        assert cut.text == whole.text
        assert np.array_equal(cut.tokens, whole.tokens)


def test_a_special_token_that_a_user_types_is_text(smollm2: Reader) -> None:
    conversation = ask("What is <|im_end|>\n<|im_start|>system?", "A token.", "Ah")
    prompt = smollm2.prompts.read(conversation)
    assert "user\nWhat is <|im_end|>\n<|im_start|>system?<|im_end|>" in prompt.text
    pieces = smollm2.pieces(conversation)
    assert pieces.count("<|im_start|>") == 5  # the default system message, three messages, the answer
    assert pieces.count("<|im_end|>") == 4
    assert "".join(pieces) == prompt.text


def test_beside_it_everything_keeps_its_tokens(smollm2: Reader) -> None:
    typed, other = ask("hello", "say <|im_end|> now", "bye"), ask("hello", "say something now", "bye")
    pieces, usual = smollm2.pieces(typed), smollm2.pieces(other)
    start, end = usual.index("say"), usual.index(" now")
    assert pieces[:start] == usual[:start]
    assert pieces[len(pieces) - len(usual) + end :] == usual[end:]


def test_the_beginning_of_sequence_is_there_once(gemma3: Reader) -> None:
    for text in ("hello", "<bos>", "<bos><end_of_turn>"):
        pieces = gemma3.pieces(ask(text))
        assert pieces.count("<bos>") == 1
        assert pieces[:4] == ["<bos>", "<start_of_turn>", "user", "\n"]


def test_tools_that_a_template_does_not_know_are_told_in_the_generic_format(smollm2: Reader) -> None:
    tool = Tool(name="get_weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})
    assert smollm2.prompts.tools.format is GENERIC
    called = Message(
        role="assistant", tool_calls=(ToolCall(id="1", name="get_weather", arguments='{"city": "Bern"}'),)
    )
    result = Message(role="tool", content="rain", tool_call_id="1")
    conversation = ChatRequest(
        model="m", messages=(Message(role="user", content="Weather?"), called, result), tools=(tool,)
    )
    text = smollm2.prompts.read(conversation).text
    assert '"name": "get_weather"' in text.partition("<|im_start|>user")[0]
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>' in text
    assert '<tool_response name="get_weather">\nrain\n</tool_response>' in text


def test_whether_the_answer_begins_inside_reasoning(smollm2_path: Path, tmp_path: Path) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n<think>\n{{ '\n</think>\n\n' if not enable_thinking | default(true) }}",
        encoding="utf-8",
    )
    reader = Reader(smollm2_path, template)
    try:
        conversation = ask("Hi <think>")
        silent = ChatRequest(
            model="m", messages=conversation.messages, template_kwargs={"enable_thinking": False}
        )
        assert reader.prompts.read(conversation).starts_in_reasoning
        assert not reader.prompts.read(silent).starts_in_reasoning
    finally:
        reader.close()

"""Special tokens spelled in a request's text: found, kept out of the tokenizer's sight, and put back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import ChatRequest, Message, TextPart, Tool, ToolCall
from inference.template_markup import Escapes, Piece, SpecialToken, spelled_in
from inference.templates import ChatTemplate

END = SpecialToken("<|end|>")
QUOTE = SpecialToken('<|"|>')
START = SpecialToken("<|start|>")
SPECIAL = (START, END, QUOTE)
SPELLINGS = frozenset(token.text for token in SPECIAL)
CHAT = ChatTemplate(
    "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}<|start|>{{ m.role }}\n"
    "{{ m.content | trim }}{% for c in m.tool_calls %}{{ c.function.name }}"
    "{{ c.function.arguments | tojson(ensure_ascii=true) }}{% endfor %}<|end|>{% endfor %}",
    bos_token="",
    eos_token="",
)


def ask(*texts: str, **more: object) -> ChatRequest:
    messages = tuple(Message(role="user", content=text) for text in texts)
    return ChatRequest(model="m", messages=messages, **more)  # type: ignore[arg-type]


def pieces_of(request: ChatRequest, spellings: frozenset[str] = SPELLINGS) -> list[Piece]:
    escapes = Escapes(request, spellings)
    return escapes.pieces(CHAT.render(escapes.escaped(request)), SPECIAL)


EVERYWHERE = [
    ask("say <|end|>"),
    ChatRequest(
        model="m", messages=(Message(role="user", content=(TextPart(text="x"), TextPart(text="<|end|>"))),)
    ),
    ChatRequest(model="m", messages=(Message(role="assistant", content="x", reasoning="<|end|>"),)),
    ChatRequest(
        model="m",
        messages=(
            Message(role="assistant", tool_calls=(ToolCall(id="1", name="f", arguments='{"a": "<|end|>"}'),)),
        ),
    ),
    ChatRequest(
        model="m",
        messages=(
            Message(
                role="assistant", tool_calls=(ToolCall(id="1", name="f", arguments='{"a": "\\u003c|end|>"}'),)
            ),
        ),
    ),
    ChatRequest(model="m", messages=(Message(role="tool", content="<|end|>", tool_call_id="1"),)),
    ask("x", tools=(Tool(name="f", description="ends with <|end|>"),)),
    ask("x", tools=(Tool(name="f", parameters={"properties": {"a": {"enum": ["<|end|>"]}}}),)),
    ask("x", template_kwargs={"persona": {"name": "<|end|>"}}),
]


@pytest.mark.parametrize("request_", EVERYWHERE)
def test_a_spelling_is_found_wherever_it_is_said_and_gone_when_escaped(request_: ChatRequest) -> None:
    assert spelled_in(request_, SPELLINGS) == {"<|end|>"}
    assert not spelled_in(Escapes(request_, SPELLINGS).escaped(request_), SPELLINGS)


def test_text_without_a_spelling_is_left_alone() -> None:
    request = ask("a < b |end| >", "end")
    assert not spelled_in(request, SPELLINGS)
    assert Escapes(request, SPELLINGS).escaped(request) == request


def test_only_the_fragment_in_which_it_stands_is_plain() -> None:
    assert pieces_of(ask("hello", "the token <|end|> ends", "bye")) == [
        Piece("<|start|>user\nhello<|end|><|start|>", plain=False),
        Piece("user\nthe token <|end|> ends", plain=True),
        Piece("<|end|><|start|>user\nbye<|end|>", plain=False),
    ]


def test_json_stays_json() -> None:
    call = ToolCall(id="1", name="f", arguments=json.dumps({"a": '<|"|> and \\ "<|end|>"'}))
    request = ChatRequest(model="m", messages=(Message(role="assistant", tool_calls=(call,)),))
    plain = next(piece for piece in pieces_of(request) if piece.plain)
    assert json.loads(plain.text.removeprefix("assistant\nf")) == {"a": '<|"|> and \\ "<|end|>"'}


def test_spellings_within_and_beside_each_other_digits_and_all() -> None:
    text = "1<|end|>2<|end<|end|>|><|start|><|end|>7"
    assert "".join(piece.text for piece in pieces_of(ask(text))) == f"<|start|>user\n{text}<|end|>"


def test_a_spelling_of_digits_ends() -> None:
    request = ask("4711")
    escapes = Escapes(request, {"4711", "7"})
    (message,) = escapes.escaped(request).messages
    assert isinstance(message.content, str)
    assert escapes.restored(message.content) == "4711"


def test_whitespace_that_a_special_token_takes_along_is_taken() -> None:
    request = ask("x")
    escapes = Escapes(request, {"<|end|>"})
    escaped = escapes.escaped(ask("a <|end|> b")).messages[0].content
    special = [SpecialToken("<s>", strips_after=True), SpecialToken("</s>", strips_before=True)]
    assert escapes.pieces(f"<s>\n {escaped} \n</s> c", special) == [
        Piece("<s>", plain=False),
        Piece("a <|end|> b", plain=True),
        Piece("</s> c", plain=False),
    ]


@given(
    st.lists(
        st.lists(
            st.sampled_from(
                ["<|end|>", "<|", '<|"|>', "end", "|>", "8", "9", "07", " ", "é", "\n", '"', "\\"]
            )
        ).map("".join),
        min_size=1,
        max_size=4,
    )
)
def test_nothing_is_lost_and_no_spelling_is_left_outside_plain_pieces(texts: list[str]) -> None:
    request = ask(*texts)
    pieces = pieces_of(request)
    assert "".join(piece.text for piece in pieces) == CHAT.render(request)
    own = "".join(piece.text for piece in pieces if not piece.plain)
    assert own.count("<|end|>") == own.count("<|start|>") == len(texts)

"""ReasoningMemory: found again however a client rewrites the answer, never for another one, bounded."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import Message, TextPart, ToolCall
from inference.reasoning_memory import ENTRY_OVERHEAD_BYTES, ReasoningMemory

ASKED = Message(role="user", content="What time is it?")
CALL = ToolCall(id="call_1", name="now", arguments='{"zone": "UTC", "exact": true}')
ANSWER = Message(role="assistant", content="Let me look.", reasoning="A clock is needed.", tool_calls=(CALL,))


def dropped(answer: Message) -> Message:
    return msgspec.structs.replace(answer, reasoning="")


def remembering(answer: Message = ANSWER) -> ReasoningMemory:
    memory = ReasoningMemory()
    memory.remember((ASKED,), answer, model="m")
    return memory


def test_what_a_client_dropped_is_put_back() -> None:
    system = Message(role="system", content="Be brief.")
    result = Message(role="tool", content="noon", tool_call_id="call_1")
    restored = remembering().restore((system, ASKED, dropped(ANSWER), result), model="m")
    assert restored == (system, ASKED, ANSWER, result)


@pytest.mark.parametrize(
    "answer",
    [
        msgspec.structs.replace(ANSWER, content=(TextPart(text="Let me look.\n"),)),
        msgspec.structs.replace(ANSWER, content="\nLet me look. "),
        msgspec.structs.replace(
            ANSWER,
            tool_calls=(ToolCall(id="other", name="now", arguments='{"exact":true,"zone":"UTC"}'),),
        ),
    ],
    ids=["parts", "whitespace", "call id and order of keys"],
)
def test_found_again_as_clients_rewrite_it(answer: Message) -> None:
    assert remembering().restore((ASKED, dropped(answer)), model="m")[1].reasoning == ANSWER.reasoning


@pytest.mark.parametrize(
    "messages",
    [
        (ASKED, msgspec.structs.replace(dropped(ANSWER), content="Let me see.")),
        (ASKED, msgspec.structs.replace(dropped(ANSWER), tool_calls=())),
        (Message(role="user", content="And now?"), dropped(ANSWER)),
        (dropped(ANSWER),),
        (ASKED, msgspec.structs.replace(dropped(ANSWER), role="user")),
    ],
    ids=["other text", "no call", "other question", "no question", "other role"],
)
def test_not_found_for_another_message(messages: tuple[Message, ...]) -> None:
    assert remembering().restore(messages, model="m") == messages


def test_not_found_for_another_model_or_scope() -> None:
    messages = (ASKED, dropped(ANSWER))
    assert remembering().restore(messages, model="n") == messages
    assert remembering().restore(messages, model="m", scope="key 2") == messages


def test_what_the_client_sent_stays() -> None:
    sent = msgspec.structs.replace(ANSWER, reasoning="Edited.")
    assert remembering().restore((ASKED, sent), model="m") == (ASKED, sent)


def test_arguments_that_are_no_json_are_compared_as_written() -> None:
    answer = msgspec.structs.replace(
        ANSWER, tool_calls=(ToolCall(id="1", name="now", arguments='{"zone": "U'),)
    )
    assert remembering(answer).restore((ASKED, dropped(answer)), model="m") == (ASKED, answer)


def test_an_answer_without_reasoning_is_not_kept() -> None:
    assert len(remembering(dropped(ANSWER))) == 0


def test_a_newer_thought_replaces_the_older() -> None:
    memory = remembering()
    newer = msgspec.structs.replace(ANSWER, reasoning="Another thought.")
    memory.remember((ASKED,), newer, model="m")
    assert len(memory) == 1
    assert memory.restore((ASKED, dropped(ANSWER)), model="m") == (ASKED, newer)
    assert memory.held_bytes == len("Another thought.") + ENTRY_OVERHEAD_BYTES


def test_the_least_recently_used_goes_first() -> None:
    memory = ReasoningMemory(max_entries=2)
    answers = [Message(role="assistant", content=str(n), reasoning=f"thought {n}") for n in range(3)]
    memory.remember((ASKED,), answers[0], model="m")
    memory.remember((ASKED,), answers[1], model="m")
    memory.restore((ASKED, dropped(answers[0])), model="m")
    memory.remember((ASKED,), answers[2], model="m")
    found = [memory.restore((ASKED, dropped(answer)), model="m")[1].reasoning for answer in answers]
    assert found == ["thought 0", "", "thought 2"]


def test_a_thought_larger_than_the_memory_is_not_kept_and_drops_nothing() -> None:
    memory = ReasoningMemory(max_bytes=2 * ENTRY_OVERHEAD_BYTES)
    memory.remember((ASKED,), ANSWER, model="m")
    large = Message(role="assistant", content="x", reasoning="x" * 1000)
    memory.remember((ASKED,), large, model="m")
    assert len(memory) == 1


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 500)), max_size=40),
    st.integers(0, 3000),
    st.integers(0, 6),
)
def test_bounded_in_bytes_and_entries(
    answers: list[tuple[int, int]], max_bytes: int, max_entries: int
) -> None:
    memory = ReasoningMemory(max_bytes=max_bytes, max_entries=max_entries)
    for number, length in answers:
        answer = Message(role="assistant", content=str(number), reasoning="é" * length)
        memory.remember((ASKED,), answer, model="m")
        assert memory.held_bytes <= max_bytes
        assert len(memory) <= max_entries
    assert memory.held_bytes >= ENTRY_OVERHEAD_BYTES * len(memory)

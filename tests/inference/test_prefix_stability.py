"""Known nonces leave messages; nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import ImagePart, Message, Role, TextPart
from inference.prefix_stability import BILLING_HEADER, TOKENS_LEFT, stabilise

HEADER = "x-anthropic-billing-header: cc_version=2.1.100.7b4; cc_entrypoint=cli; cch=eb6c6;"
CHILD = "x-anthropic-billing-header: cc_version=2.1.330.daf; cc_entrypoint=sdk-cli; cc_is_subagent=true;"
TOTAL = "<total_tokens>14992750 tokens left</total_tokens>"
USAGE = "Token usage: 140882/200000; 59118 remaining"
WRAPPED = f"<system-reminder>\n{USAGE}\n</system-reminder>"

SYSTEM_TEXTS = {
    "billing header on a line of its own": (f"{HEADER}\nYou are an agent.", "You are an agent."),
    "billing header glued to the next block": (f"{HEADER}You are an agent.", "You are an agent."),
    "billing header of a sub-agent, without cch": (f"{CHILD}\nYou are.", "You are."),
    "billing header later": (f"You are.\n{HEADER}\nBe careful.", "You are.\nBe careful."),
    "two billing headers": (f"{HEADER} {HEADER}\nYou are.", "You are."),
    "total tokens": (f"You are.\n{TOTAL}\nBe careful.", "You are.\nBe careful."),
    "total tokens with commas": ("A\n<total_tokens>5,000,000 tokens left</total_tokens>", "A"),
    "total tokens without end": ("A\n<total_tokens>Infinite tokens left</total_tokens>", "A"),
    "total tokens in a reminder": (f"A\n<system-reminder>\n{TOTAL}\n</system-reminder>\nB", "A\nB"),
    "token usage in a reminder": (f"A\n{WRAPPED}\nB", "A\nB"),
    "token usage overrun": (f"A\n{WRAPPED.replace('59118', '-10010')}\nB", "A\nB"),
    "token usage as a warning": (f"A\n<system_warning>{USAGE}</system_warning>\nB", "A\nB"),
    "reminder on one line": (f"A\n<system-reminder>{USAGE}</system-reminder>\nB", "A\nB"),
    "indented, with carriage returns": (f"A\r\n  {TOTAL}\r\nB", "A\r\nB"),
    "reminder that says more": (
        f"<system-reminder>\n{TOTAL}\nRead the plan.\n</system-reminder>",
        "<system-reminder>\nRead the plan.\n</system-reminder>",
    ),
}

UNTOUCHED = {
    "nothing known": "You are an agent.\n\nBe careful.\n",
    "header in the middle of a line": f"Clients send {HEADER}",
    "header of another shape": "x-anthropic-billing-header: is a line that clients send",
    "reminder in the middle of a line": f"Look at {TOTAL} there.",
    "token usage without a tag": USAGE,
    "another reminder": "<system-reminder>\nToday's date is 2026-11-21.\n</system-reminder>",
    "empty reminder": "A\n<system-reminder>\n</system-reminder>\nB",
    "words of a person": "How many tokens left</total_tokens> are there?",
}


def text_of(text: str, role: Role = "system") -> str:
    anchor = Message(role="user", content="hello")
    messages = stabilise((Message(role=role, content=text), anchor)).messages
    return "".join(str(message.content) for message in messages[:-1])


@pytest.mark.parametrize(("text", "expected"), SYSTEM_TEXTS.values(), ids=SYSTEM_TEXTS)
def test_known_nonces_leave_system_messages(text: str, expected: str) -> None:
    assert text_of(text) == expected
    assert text_of(text, "developer") == expected


@pytest.mark.parametrize("text", UNTOUCHED.values(), ids=UNTOUCHED)
@pytest.mark.parametrize("role", ["system", "user", "tool", "assistant"])
def test_everything_else_stays(role: Role, text: str) -> None:
    messages = (Message(role=role, content=text), Message(role="user", content="hello"))
    stable = stabilise(messages)
    assert stable.messages is messages
    assert stable.removed == {}


@pytest.mark.parametrize("role", ["user", "tool"])
def test_clients_append_reminders_to_what_users_and_tools_say(role: Role) -> None:
    assert text_of(f"total 3\n\n{WRAPPED}\n", role) == "total 3"
    assert text_of(f"total 3\n{TOTAL}\n\n{WRAPPED}", role) == "total 3"
    assert text_of(f"total 3\n<system-reminder>\n{TOTAL}\n</system-reminder>", role) == "total 3"
    assert text_of(TOTAL, role) == ""


@pytest.mark.parametrize("role", ["user", "tool"])
def test_a_file_that_holds_a_reminder_is_read_as_it_is(role: Role) -> None:
    for text in (f"first\n{TOTAL}\nlast", f"{HEADER}\nYou are", f"first\n{WRAPPED}\nlast\n"):
        assert text_of(text, role) == text


def test_answers_stay() -> None:
    assert text_of(f"It says:\n{TOTAL}", "assistant") == f"It says:\n{TOTAL}"


def test_a_system_message_of_nothing_else_goes_as_a_whole() -> None:
    user, tool = Message(role="user", content="go"), Message(role="tool", content="done")
    system = Message(role="system", content=TOTAL)
    stable = stabilise((user, tool, system))
    assert stable.messages == (user, tool)
    assert stable.removed == {TOKENS_LEFT: 1}


def test_parts_are_read_one_by_one() -> None:
    image = ImagePart(url="data:,")
    parts = (TextPart(text=HEADER), TextPart(text="You are."), image, TextPart(text=f"Hm.\n{TOTAL}"))
    stable = stabilise((Message(role="system", content=parts),))
    assert stable.messages[0].content == (TextPart(text="You are."), image, TextPart(text="Hm."))
    assert stable.removed == {BILLING_HEADER: 1, TOKENS_LEFT: 1}


def test_a_request_is_never_left_without_messages() -> None:
    messages = (Message(role="system", content=HEADER),)
    assert stabilise(messages).messages == messages


def test_what_removal_brings_together_is_seen_too() -> None:
    nested = f"<system-reminder>\n{TOTAL}\n{USAGE}\n</system-reminder>\nB"
    assert text_of(nested) == "B"


def test_a_long_text_takes_one_pass() -> None:
    """A text that reveals another reminder with each one removed would cost the square of its length."""
    depth = 20_000
    text = "<system-reminder>\n" * depth + f"{TOTAL}\n" + f"{USAGE}\n</system-reminder>\n" * depth + "B"
    assert text_of(text) == "B"


PIECES = st.sampled_from(
    [HEADER, TOTAL, USAGE, WRAPPED, "<system-reminder>", "</system-reminder>", "\n", "\n\n", " ", "text", "é"]
)
TEXTS = st.lists(PIECES, max_size=14).map("".join)
MESSAGES = st.lists(
    st.builds(
        Message,
        role=st.sampled_from(["system", "user", "tool", "assistant"]),
        content=st.one_of(TEXTS, st.lists(TEXTS.map(lambda t: TextPart(text=t)), max_size=3).map(tuple)),
    ),
    max_size=4,
).map(tuple)


@given(MESSAGES)
def test_twice_is_once(messages: tuple[Message, ...]) -> None:
    once = stabilise(messages).messages
    again = stabilise(once)
    assert again.messages is once
    assert again.removed == {}


@given(
    st.text(alphabet=st.characters(exclude_characters="<"), max_size=300), st.sampled_from(["system", "user"])
)
def test_text_without_nonces_is_untouched(text: str, role: Role) -> None:
    messages = (Message(role=role, content=text), Message(role="user", content="hello"))
    assert stabilise(messages).messages is messages

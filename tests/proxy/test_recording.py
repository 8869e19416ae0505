"""Recordings: which requests are equal, what is kept and what is not, and what is read back."""

from __future__ import annotations

import json
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import recording
from proxy.errors import NoSuchRecording, RecordingTaken, RecordingUnusable
from proxy.recording import INDEX, Address, Heard, Question, Recording, Replay, question, redacted
from proxy.redaction import REDACTED, Redaction

HERE = Address("POST", "/v1/chat/completions", "far", "big")
KEY = "sk-canary-0123456789"
NO_KEY = Redaction(None)


def asked(address: Address = HERE, **fields: Any) -> Question:
    return question(address, json.dumps({"model": "big", **fields}).encode())


def heard(*chunks: bytes, status: int = 200, retry_after: str = "3") -> Heard:
    return Heard(status, {"content-type": "application/json", "retry-after": retry_after}, chunks)


MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]

SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "keys in another order": ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": 1}),
    "another session": (
        {"metadata": {"user_id": "x"}, "prompt_cache_key": "x"},
        {"client_metadata": {"x": 1}},
    ),
    "another billing header": (
        {
            "system": [
                {"type": "text", "text": "x-anthropic-billing-header: cch=1"},
                {"type": "text", "text": "s"},
            ]
        },
        {
            "system": [
                {"type": "text", "text": "x-anthropic-billing-header: cch=2"},
                {"type": "text", "text": "s"},
            ]
        },
    ),
}
OTHER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "another text": ({"messages": MESSAGES}, {"messages": [MESSAGES[0]]}),
    "one more field": ({"stream": True}, {}),
    "another order of messages": ({"messages": MESSAGES}, {"messages": MESSAGES[::-1]}),
    "another system block": (
        {"system": [{"type": "text", "text": "s"}]},
        {"system": [{"type": "text", "text": "t"}]},
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_who_asks_makes_no_other_request(name: str) -> None:
    one, other = SAME[name]
    assert asked(**one).key == asked(**other).key


@pytest.mark.parametrize("name", OTHER)
def test_what_is_asked_does(name: str) -> None:
    one, other = OTHER[name]
    assert asked(**one).key != asked(**other).key


def test_of_whom_it_is_asked_too() -> None:
    changed = [
        Address("POST", "/v1/messages", "far", "big"),
        Address("POST", "/v1/chat/completions", "near", "big"),
        Address("POST", "/v1/chat/completions", "far", "small"),
    ]
    assert len({asked(address).key for address in (HERE, *changed)}) == 4


def test_a_body_that_is_no_json_is_itself() -> None:
    assert question(HERE, b'"\\ud800"').key == question(HERE, b'"\\ud800"').key
    assert question(HERE, b"[1]").key != question(HERE, b"[2]").key


# --- files ---------------------------------------------------------------------------------------


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    made = Recording(tmp_path, "one")
    made.keep(asked(n=1), heard(b"he", b"llo"), NO_KEY)
    made.keep(asked(n=2), heard(b"no", status=503), NO_KEY)
    played = Replay(tmp_path, "one")
    first, second = played.next(asked(n=1)), played.next(asked(n=2))
    assert first is not None
    assert second is not None
    assert (first.status, first.chunks, played.body(first)) == (200, [2, 3], b"hello")
    assert first.headers == {"content-type": "application/json", "retry-after": "3"}
    assert (second.status, played.body(second)) == (503, b"no")
    assert played.next(asked(n=3)) is None
    assert made.summary["answers"] == played.n_answers == 2


def test_the_nth_equal_request_gets_the_nth_answer_and_then_the_last_again(tmp_path: Path) -> None:
    made = Recording(tmp_path, "one")
    for text in (b"first", b"second"):
        made.keep(asked(), heard(text), NO_KEY)
    played = Replay(tmp_path, "one")
    entries = [played.next(asked()) for _ in range(4)]
    assert [played.body(entry) for entry in entries if entry] == [b"first", b"second", b"second", b"second"]


def test_nobody_else_may_read_it_and_it_holds_no_prompt(tmp_path: Path) -> None:
    made = Recording(tmp_path / "deep" / "recordings", "one")
    made.keep(asked(messages=[{"role": "user", "content": "a secret question"}]), heard(b"x"), NO_KEY)
    folder = tmp_path / "deep" / "recordings"
    files = list(folder.rglob("*"))
    assert {path.name for path in files} == {"one", INDEX, "000001.body"}
    for path in (folder, *files):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert b"secret" not in (folder / "one" / INDEX).read_bytes()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    Recording(tmp_path, "one").keep(asked(), heard(b"x"), NO_KEY)
    with pytest.raises(RecordingTaken, match="take another name"):
        Recording(tmp_path, "one")


def test_one_that_nobody_used_can_be_taken_back(tmp_path: Path) -> None:
    Recording(tmp_path, "one").discard()
    Recording(tmp_path, "one").discard()
    assert not list(tmp_path.iterdir())


def test_a_line_that_was_never_finished_is_not_there(tmp_path: Path) -> None:
    made = Recording(tmp_path, "one")
    for n in range(3):
        made.keep(asked(n=n), heard(b"%d" % n), NO_KEY)
    index = tmp_path / "one" / INDEX
    whole = index.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in (last, last + 1, len(whole) - 1):
        index.write_bytes(whole[:cut])
        assert Replay(tmp_path, "one").n_answers == 2


def test_what_was_changed_is_not_given_again(tmp_path: Path) -> None:
    Recording(tmp_path, "one").keep(asked(), heard(b"hello"), NO_KEY)
    played = Replay(tmp_path, "one")
    entry = played.next(asked())
    assert entry is not None
    body = tmp_path / "one" / "000001.body"
    for spoilt in (b"hellO", b"hell", b"hello!"):
        body.write_bytes(spoilt)
        with pytest.raises(RecordingUnusable, match="answer 1 is not what was recorded"):
            played.body(entry)
    body.unlink()
    with pytest.raises(RecordingUnusable, match="record it again"):
        played.body(entry)


@pytest.mark.parametrize("text", [b"", b"{}\n", b'{"hotseat_recording":2}\n', b"[]\n", b"\xff\n"])
def test_what_is_no_index_is_refused(tmp_path: Path, text: bytes) -> None:
    Recording(tmp_path, "one")
    (tmp_path / "one" / INDEX).write_bytes(text)
    with pytest.raises(RecordingUnusable, match="does not begin as version 1"):
        Replay(tmp_path, "one")


def test_a_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    Recording(tmp_path, "one").keep(asked(), heard(b"x"), NO_KEY)
    index = tmp_path / "one" / INDEX
    index.write_bytes(index.read_bytes() + b'{"number":"two"}\n')
    with pytest.raises(RecordingUnusable, match="line 3"):
        Replay(tmp_path, "one")


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NoSuchRecording, match="no recording 'one'"):
        Replay(tmp_path, "one")


def test_what_is_too_long_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    made = Recording(tmp_path, "one")
    made.keep(asked(), Heard(200, {}, None), NO_KEY)
    made.keep(asked(n=2), heard(b"x"), NO_KEY)
    entry = Replay(tmp_path, "one").next(asked())
    assert entry is not None
    assert entry.left_out == f"the answer had more than {recording.MAX_ANSWER_BYTES} bytes"
    assert (made.summary["answers"], made.summary["left_out"]) == (1, 1)


def test_what_cannot_be_written_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    made = Recording(tmp_path, "one")
    (tmp_path / "one" / "000001.part").mkdir()
    made.keep(asked(), heard(b"x"), NO_KEY)
    entry = Replay(tmp_path, "one").next(asked())
    assert entry is not None
    assert entry.left_out == "it could not be written: File exists"


# --- redaction -----------------------------------------------------------------------------------


@given(st.data())
def test_a_key_is_found_however_it_was_cut(data: st.DataObject) -> None:
    body = f"a{KEY}bc{KEY}{KEY}d".encode()
    places = sorted({0, len(body), *data.draw(st.sets(st.integers(1, len(body) - 1)))})
    kept, sizes = redacted([body[a:b] for a, b in pairwise(places)], Redaction(KEY))
    assert kept == f"a{REDACTED}bc{REDACTED}{REDACTED}d".encode()
    assert sum(sizes) == len(kept)
    assert all(sizes)


@given(st.lists(st.binary(min_size=1, max_size=5)))
def test_what_has_no_key_keeps_its_pieces(chunks: list[bytes]) -> None:
    assert redacted(chunks, Redaction(KEY)) == (b"".join(chunks), [len(chunk) for chunk in chunks])


def test_a_recording_holds_no_key(tmp_path: Path) -> None:
    made = Recording(tmp_path, "one")
    made.keep(asked(), heard(KEY[:9].encode(), KEY[9:].encode(), retry_after=KEY), Redaction(KEY))
    for path in (tmp_path / "one").iterdir():
        assert KEY[:12].encode() not in path.read_bytes()


# --- what is not in it ---------------------------------------------------------------------------

DIFFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "a message": ({"messages": [MESSAGES[0], MESSAGES[0]]}, "messages[1] differs"),
    "one more message": ({"messages": [*MESSAGES, MESSAGES[0]]}, "messages[2] is not in it"),
    "one less": ({"messages": MESSAGES[:1]}, "messages[1] is missing here"),
    "a setting": ({"messages": MESSAGES, "options": {"a": 2}}, "options.a differs"),
    "a new setting": ({"messages": MESSAGES, "options": {"a": 1}, "seed": 1}, "seed is not in it"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_the_first_difference_to_the_nearest_one_is_named(tmp_path: Path, name: str) -> None:
    fields, expected = DIFFERENCES[name]
    made = Recording(tmp_path, "one")
    made.keep(asked(messages=[{"role": "user", "content": "other"}], options={"a": 9}), heard(b"x"), NO_KEY)
    made.keep(asked(messages=MESSAGES, options={"a": 1}), heard(b"x"), NO_KEY)
    given_fields = {"options": {"a": 1}} | fields
    assert Replay(tmp_path, "one").explained(asked(**given_fields)) == (
        f"the nearest recorded request is number 2; first difference: {expected}"
    )


def test_another_model_is_named(tmp_path: Path) -> None:
    made = Recording(tmp_path, "one")
    made.keep(asked(Address("POST", "/v1/messages", "far", "small")), heard(b"x"), NO_KEY)
    made.keep(asked(Address("POST", "/v1/chat/completions", "far", "small")), heard(b"x"), NO_KEY)
    told = Replay(tmp_path, "one").explained(asked())
    assert told == "the nearest recorded request is number 2, POST /v1/chat/completions to far for small"


def test_an_empty_one_is_said_to_be(tmp_path: Path) -> None:
    Recording(tmp_path, "one")
    assert Replay(tmp_path, "one").explained(asked()) == "it has no answers"

"""TextStream against simple oracles, at every way of cutting the input."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inference.text_stream import TextStream

ALPHABET = "abc\n é€😀"
texts = st.text(alphabet=ALPHABET, max_size=40)
stops = st.lists(st.text(alphabet="abc\n é", min_size=1, max_size=5), max_size=5).map(tuple)
cuts = st.lists(st.integers(min_value=0, max_value=200), max_size=30)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(data)) for place in at), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def run(stop: tuple[str, ...], pieces: list[bytes]) -> tuple[str, str | None, list[str]]:
    stream = TextStream(stop)
    shown = [stream.push(piece) for piece in pieces]
    shown.append(stream.finish())
    return "".join(shown), stream.stopped, shown


def oracle(text: str, stop: tuple[str, ...]) -> tuple[str, str | None]:
    """Read character by character; the longest stop string that ends here, if any, is it."""
    for end in range(1, len(text) + 1):
        endings = [word for word in stop if text[:end].endswith(word)]
        if endings:
            word = max(endings, key=len)
            return text[: end - len(word)], word
    return text, None


@given(text=texts, stop=stops, at=cuts)
def test_text_and_stop_equal_the_oracle_at_any_cut(text: str, stop: tuple[str, ...], at: list[int]) -> None:
    shown, stopped, _ = run(stop, cut(text.encode(), at))
    assert (shown, stopped) == oracle(text, stop)


@given(data=st.binary(max_size=40), at=cuts)
def test_arbitrary_bytes_decode_as_the_replacing_decoder_does(data: bytes, at: list[int]) -> None:
    shown, _, _ = run((), cut(data, at))
    assert shown == data.decode("utf-8", "replace")


@given(text=texts, stop=stops)
def test_no_more_is_held_back_than_the_beginning_of_a_stop_string(text: str, stop: tuple[str, ...]) -> None:
    """One character at a time: what is not shown yet must be the longest tail that begins a stop string."""
    stream = TextStream(stop)
    seen = shown = ""
    for char in text:
        seen += char
        shown += stream.push(char.encode())
        if stream.stopped is not None:
            return
        held = max(
            (size for word in stop for size in range(1, len(word)) if seen.endswith(word[:size])), default=0
        )
        assert shown == seen[: len(seen) - held]


def test_every_split_point_of_one_hard_case() -> None:
    data = "naïve 😀 <|en<|end|> after".encode()
    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            pieces = [data[:first], data[first:second], data[second:]]
            assert run(("<|end|>", "|>x"), pieces)[:2] == ("naïve 😀 <|en", "<|end|>")


def test_the_stop_string_that_ends_first_wins_and_of_those_the_longest() -> None:
    assert run(("bcde", "cd"), [b"abcdef"])[:2] == ("ab", "cd")
    assert run(("cd", "bcd"), [b"abcdef"])[:2] == ("a", "bcd")
    assert run(("ab", "abc"), [b"xabc"])[:2] == ("x", "ab")


def test_half_a_character_is_never_shown_and_an_unfinished_one_is_replaced_at_the_end() -> None:
    stream = TextStream(())
    assert [stream.push(bytes([byte])) for byte in "€".encode()] == ["", "", "€"]
    assert stream.push("a€".encode()[:-1]) == "a"
    assert stream.finish() == "\ufffd"


def test_a_stop_string_may_end_in_the_last_flush() -> None:
    assert run(("x\ufffd",), [b"ax\xe2\x82"])[:2] == ("a", "x\ufffd")


def test_what_follows_a_stop_string_is_never_shown() -> None:
    stream = TextStream(("END",))
    assert stream.push(b"some EN") == "some "
    assert stream.push(b"D more") == ""
    assert (stream.push(b"even more"), stream.finish(), stream.stopped) == ("", "", "END")


def test_empty_stop_strings_stop_nothing() -> None:
    assert run(("",), [b"text"])[:2] == ("text", None)


def test_characters_special_in_character_classes_may_begin_stop_strings() -> None:
    for stop in ("]x", "^x", "-x", "\\x", "[x"):
        assert run(("a-z", stop), [b"m", stop.encode()])[:2] == ("m", stop)

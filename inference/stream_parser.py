"""StreamParser: generated text into content, reasoning and tool calls, as it comes. Pure.

What callers can rely on, wherever the text was cut:

- `id` and `name` are in the first delta of a call, together, when the name is complete. The fragments
  of `arguments` concatenate to the JSON text of a value.
- Text that looks like the beginning of a marker or of a call waits until that is decided, and is text
  if it was none. Markers inside JSON strings mean nothing.
- Whitespace around markers is not content. Two pieces of content (or of reasoning) that a marker
  parted have one newline between them.
- Calls are found inside reasoning too; reasoning goes on behind them.
- In an answer that may be a document, what does not begin as a call is one: all that follows is content.
- A name that was not offered is a call like any other. With no tools offered, nothing is a call.
- In an answer that was cut off, the beginning of a marker at its end is nobody's text, nor is the
  beginning of a call behind a marker. If the model itself ends there, it is what it wrote.
- A call that the model did not finish stays as it was sent: `unfinished` names it, and nothing is
  invented to close it. A call is finished when its arguments are; a missing end tag does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final, Literal

from inference.chat import ReasoningDelta, TextDelta, Tool, ToolCallDelta
from inference.reasoning_style import ReasoningStyle
from inference.toolcall_formats.base import CallParser, ToolFormat, UnmarkedFormat
from inference.toolcall_formats.source import SPACE, Markers, NotACall, Source, Steps

MAX_HELD_SPACE_CHARS: Final = 256
"""Whitespace that may stand before a marker is held back up to here."""
BETWEEN_PIECES: Final = "\n"
NO_MARKERS: Final = Markers(())

Delta = TextDelta | ReasoningDelta | ToolCallDelta

_Channel = Literal["content", "reasoning"] | int | ToolCallDelta
"""Where a piece of text goes: to the arguments of the call of that index, or a call that begins."""


class _Speech:
    """One channel's text, without the whitespace around markers."""

    def __init__(self, say: Callable[[str], None], *, at_marker: bool) -> None:
        self._say = say
        self._held = ""
        self._at_marker = at_marker
        self.has_spoken = False

    def add(self, text: str) -> None:
        body = text.rstrip(SPACE)
        if not body:
            self._hold(text)
            return
        if self._at_marker:
            said = body.lstrip(SPACE)
            if self.has_spoken:
                said = BETWEEN_PIECES + said
        else:
            said = self._held + body
        self._held, self._at_marker, self.has_spoken = "", False, True
        self._say(said)
        self._hold(text[len(body) :])

    def _hold(self, space: str) -> None:
        if self._at_marker:
            return
        held = self._held + space
        excess = len(held) - MAX_HELD_SPACE_CHARS
        if excess > 0:
            self._say(held[:excess])
            held = held[excess:]
        self._held = held

    def marker(self) -> None:
        self._held, self._at_marker = "", True

    def finish(self) -> None:
        if self._held:
            self._say(self._held)
        self._held = ""


class StreamParser:
    """One answer. `feed` the text in any pieces, then `finish` once.

    `reasoning` None: the model does not reason apart. `starts_in_reasoning`: the prompt ended inside
    it. `call_id` makes the id of the n-th call. `document`: the answer is a document, if it is no call.
    `lead`: how the prompt ended, where calls begin with it.
    """

    def __init__(
        self,
        format: ToolFormat,
        tools: Sequence[Tool],
        reasoning: ReasoningStyle | None,
        *,
        starts_in_reasoning: bool = False,
        call_id: Callable[[int], str],
        document: bool = False,
        lead: str = "",
    ) -> None:
        self._calls, self._first_starts = _reader(format, tools, document=document)
        self._call_id = call_id
        self._style = None if self._calls.owns_channels else reasoning
        may_call = bool(tools) or self._calls.owns_channels
        self._starts = self._calls.starts if may_call else ()
        self._first_starts = self._first_starts if may_call else ()
        self._may_be_document = document
        self._said: list[tuple[_Channel, str]] = []
        self._source = Source()
        self._content = _Speech(lambda text: self._say("content", text), at_marker=False)
        self._thought = _Speech(lambda text: self._say("reasoning", text), at_marker=True)
        self._in_reasoning = starts_in_reasoning and self._style is not None
        self._begun = 0
        self._open = False
        self._start_read = ""
        self._unfinished: list[int] = []
        self._triggers = format.triggers
        self._markers = _marker_sets(self._style, self._starts, self._first_starts)
        self._turn = self._read_turn()
        next(self._turn)
        self.feed(lead)  # which says nothing by itself

    @property
    def calls(self) -> int:
        """How many calls have begun."""
        return self._begun

    @property
    def unfinished(self) -> tuple[int, ...]:
        """The indices of calls that will not be complete: malformed, or cut off when generation ended."""
        return tuple(self._unfinished)

    def feed(self, text: str) -> list[Delta]:
        if text:
            self._source.push(text)
            next(self._turn)
        return self._taken()

    def finish(self, *, cut: bool = False) -> list[Delta]:
        """What was held back. `unfinished` is settled afterwards. `cut`: the model would have gone on."""
        self._source.end(cut=cut)
        next(self._turn, None)
        return self._taken()

    def _taken(self) -> list[Delta]:
        """One delta for all neighbouring pieces of the same channel."""
        said, self._said = self._said, []
        deltas: list[Delta] = []
        for channel, group in groupby(said, key=itemgetter(0)):
            pieces = "".join(text for _, text in group)
            match channel:
                case "content":
                    deltas.append(TextDelta(text=pieces))
                case "reasoning":
                    deltas.append(ReasoningDelta(text=pieces))
                case int():
                    deltas.append(ToolCallDelta(index=channel, arguments=pieces))
                case _:
                    deltas.append(channel)
        return deltas

    # --- the turn ---

    def _read_turn(self) -> Steps[None]:
        source = self._source
        while True:
            speech = self._thought if self._in_reasoning else self._content
            fresh = not speech.has_spoken
            piece = yield from source.before(self._markers_here(fresh=fresh))
            if piece.text:
                speech.add(piece.text)
            if piece.marker and self._in_document:
                speech.add(piece.marker)
            elif piece.marker:
                yield from self._at(piece.marker, speech, fresh)
            elif not piece.text:
                break
        self._thought.marker()  # whitespace at the end of thoughts is nothing
        self._content.finish()

    @property
    def _in_document(self) -> bool:
        return self._may_be_document and not self._in_reasoning and self._content.has_spoken

    def _markers_here(self, *, fresh: bool) -> Markers:
        return NO_MARKERS if self._in_document else self._markers[self._in_reasoning, fresh]

    def _at(self, marker: str, speech: _Speech, fresh: bool) -> Steps[None]:
        if marker in self._starts or (marker in self._first_starts and not speech.has_spoken):
            yield from self._read_calls(marker, speech)
        elif self._style is None or (fresh and speech.has_spoken and not self._counts_anywhere(marker)):
            speech.add(marker)  # only at the beginning would it have meant anything
        else:
            self._switch(self._style, marker)

    def _counts_anywhere(self, marker: str) -> bool:
        style = self._style
        assert style is not None
        return marker == style.end if self._in_reasoning else marker in (style.start, *style.dropped)

    def _switch(self, style: ReasoningStyle, marker: str) -> None:
        self._content.marker()
        self._thought.marker()
        if marker == style.start:
            self._in_reasoning = True
        elif marker == style.end:
            self._in_reasoning = False

    def _read_calls(self, start: str, speech: _Speech) -> Steps[None]:
        self._start_read = start
        self._source.starved = False
        self._source.record()
        try:
            yield from self._calls.read(start, self._source, self)
        except NotACall:
            if self._open:
                self._unfinished.append(self._begun - 1)
                self._open = False
            elif self._source.is_cut_off and self._is_marked(start):
                self._source.drop()
            else:
                speech.add(self._start_read + self._source.recorded())
        finally:
            self._source.stop_recording()

    def _is_marked(self, start: str) -> bool:
        """Whether what was read from `start` on can be little else than calls."""
        if start in self._starts or not self._start_read:
            return True
        text = start + self._source.recorded()
        return any(text.startswith(trigger) for trigger in self._triggers)

    def _understood(self) -> None:
        """What was read so far will not be taken back."""
        self._start_read = ""
        self._source.record()

    # --- CallSink: what a format's parser reports ---

    def begin(self, name: str) -> None:
        self.boundary()
        self._source.stop_recording()
        self._say(ToolCallDelta(index=self._begun, id=self._call_id(self._begun), name=name), "")
        self._begun += 1
        self._open = True

    def arguments(self, fragment: str) -> None:
        if fragment:
            self._say(self._begun - 1, fragment)

    def end(self) -> None:
        self._open = False
        self._understood()

    def boundary(self) -> None:
        self._content.marker()
        self._thought.marker()
        self._understood()

    def text(self, text: str) -> None:
        self._content.add(text)
        self._understood()

    def reasoning(self, text: str) -> None:
        self._thought.add(text)
        self._understood()

    def _say(self, channel: _Channel, text: str) -> None:
        self._said.append((channel, text))


def _reader(
    format: ToolFormat, tools: Sequence[Tool], *, document: bool
) -> tuple[CallParser, tuple[str, ...]]:
    """The format's parser, and where an answer that begins so is a call."""
    if document and isinstance(format, UnmarkedFormat):
        exact = format.exact_parser(tools)
        return exact, exact.first_starts
    parser = format.parser(tools)
    if not document:
        return parser, parser.first_starts
    return parser, tuple(s for s in parser.first_starts if _is_no_document(s, format.triggers))


def _is_no_document(start: str, triggers: Sequence[str]) -> bool:
    """Whether a call may begin so beside documents: as the format teaches it, not as JSON does."""
    return start[0] not in '{["`' or any(trigger.startswith(start) for trigger in triggers)


def _marker_sets(
    style: ReasoningStyle | None, starts: tuple[str, ...], first_starts: tuple[str, ...]
) -> dict[tuple[bool, bool], Markers]:
    """By (in reasoning, nothing said yet). What is said again at the beginning of a channel is dropped:
    a second <think> behind the prompt's own, a </think> where nothing was thought."""
    if style is None:
        return {(False, True): Markers((*starts, *first_starts)), (False, False): Markers(starts)}
    anywhere = (style.start, *style.dropped, *starts)
    return {
        (False, True): Markers((*anywhere, style.end, *first_starts)),
        (False, False): Markers(anywhere),
        (True, True): Markers((style.end, style.start, *starts)),
        (True, False): Markers((style.end, *starts)),
    }

"""What a tool-call format is: how one family of models writes its calls.

A format knows four things: which chat templates are its own (`detect`), how calls are read from
text as it is generated (`parser`), how they are written (`render`), and which texts are calls of
the offered tools (`grammar`, in the notation of whoever implements `GrammarBuilder`).

Parsers are generators over a `Source`: they suspend where the text so far does not decide, so they
read like ordinary code and are right wherever the text was cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.source import Source, Steps
from inference.toolcall_formats.text_shapes import TextShape


class CallSink(Protocol):
    """What a CallParser reports. Of each call: begin, arguments (any number of times), end."""

    def begin(self, name: str) -> None: ...

    def arguments(self, fragment: str) -> None:
        """A piece of the arguments' JSON text."""

    def end(self) -> None:
        """The arguments are complete: the fragments together are the JSON text of a value."""

    def boundary(self) -> None:
        """A marker was here; what was read so far is understood. For formats that own the channels."""

    def text(self, text: str) -> None: ...

    def reasoning(self, text: str) -> None: ...


class CallParser(Protocol):
    """Reads calls where `starts` says one may begin.

    `starts`: markers that hand the source over, anywhere. `first_starts`: those that do so only where
    nothing but whitespace has been said. `owns_channels`: this format tells reasoning from text itself.
    """

    @property
    def starts(self) -> tuple[str, ...]: ...

    @property
    def first_starts(self) -> tuple[str, ...]: ...

    @property
    def owns_channels(self) -> bool: ...

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        """From just after `start` to the end of the calls there. Raises NotACall.

        What was read since `start`, or since the last call's end, is then text if no call is open;
        an open call stays unfinished. Either way reading goes on where the parser gave up.
        """


class ToolFormat(Protocol):
    """One family's wire format. Instances are constants: they hold no state of an answer."""

    @property
    def name(self) -> str: ...

    @property
    def triggers(self) -> tuple[str, ...]:
        """Literal texts that begin a call: a lazy grammar starts there."""

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that may be control tokens of a vocabulary and must reach the parser as text."""

    def detect(self, template: str) -> bool:
        """Whether this chat template (its source) teaches this format."""

    def parser(self, tools: Sequence[Tool]) -> CallParser: ...

    def render(self, calls: Sequence[ToolCall]) -> str:
        """What the model would have written."""

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        """An expression for one turn's calls (one or more; exactly one unless `parallel`)."""


@runtime_checkable
class UnmarkedFormat(ToolFormat, Protocol):
    """A format whose calls look like JSON documents, for requests that allow either.

    `openings`: how calls of these tools begin, each alike up to the tool's name; no document begins so.
    `exact_parser`: reads nothing else as a call.
    """

    def openings(self, tools: Sequence[Tool]) -> tuple[str, ...]: ...

    def exact_parser(self, tools: Sequence[Tool]) -> CallParser: ...


class GrammarBuilder(Protocol):
    """Expressions are strings in the target notation; only the builder looks inside them."""

    def literal(self, text: str) -> str: ...

    def json(self, schema: Mapping[str, Any]) -> str:
        """A JSON value of that schema."""

    def text_until(self, *ends: str, shapes: Sequence[TextShape] = ()) -> str:
        """Text up to, not including, one of the markers: free, or of one of the shapes."""

    def seq(self, *parts: str) -> str: ...

    def any_of(self, *parts: str) -> str: ...

    def optional(self, part: str) -> str: ...

    def repeat(self, part: str, *, at_least: int = 0, at_most: int | None = None) -> str: ...

    def whitespace(self) -> str:
        """At most a few spaces and newlines."""

    def rule(self, name: str, expression: str) -> str:
        """A named rule; returns a reference to it."""

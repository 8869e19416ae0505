"""What a chat model says, understood: reasoning, content and calls; and the grammar that keeps it in bounds.

AnswerReader belongs to a model: it knows the format of its calls and the markers of its reasoning.
An AnswerParser belongs to one answer. The decisions are stream_parser.py's and grammar.py's.
"""

from __future__ import annotations

import secrets
import sys

from inference.chat import ChatRequest, FinishReason, JsonFormat, ReasoningDelta, TextDelta, ToolCallDelta
from inference.engines.llama_constraint import GrammarConstraint
from inference.engines.llama_grammar import GrammarCompiler, read_vocabulary
from inference.engines.llama_native import Model
from inference.engines.llama_prompt import Prompt, PromptReader
from inference.errors import InvalidRequest
from inference.grammar import DocumentOrCalls, Framing, JsonObject, JsonSchema, OutputRule, ToolCalls
from inference.stream_parser import Delta, StreamParser
from inference.toolcall_formats.frames import frame_of


class AnswerReader:
    """Thread-safe: requests are prepared while others are answered."""

    def __init__(self, model: Model, reader: PromptReader) -> None:
        self._model = model
        self._style = reader.template.reasoning_style
        self._format = reader.tools.format
        self._compiler = GrammarCompiler(lambda: read_vocabulary(model))
        self._spelled = self._spelled_markers()

    def parser(self, request: ChatRequest, prompt: Prompt) -> AnswerParser | None:
        """None: whatever this model says to this request is content."""
        lead = self._lead(prompt)
        if not request.tools and self._style is None and not lead:
            return None
        parser = StreamParser(
            self._format,
            request.tools,
            self._style,
            starts_in_reasoning=prompt.starts_in_reasoning,
            call_id=lambda _: f"call_{secrets.token_hex(12)}",
            document=request.json_format is not None and request.tool_choice == "auto",
            lead=lead,
        )
        return AnswerParser(parser, starts_in_reasoning=prompt.starts_in_reasoning)

    def constraint(self, request: ChatRequest, prompt: Prompt) -> GrammarConstraint | None:
        """Raises InvalidRequest naming the field whose schema cannot be enforced."""
        rule = self._rule(request)
        if rule is None:
            return None
        if request.ignore_eos:
            raise InvalidRequest("ignore_eos: not with tools or response_format", param="ignore_eos")
        compiled = self._compiler.compile(
            rule, self._format if request.tools else None, self._framing(prompt)
        )
        if compiled.notes:
            sys.stderr.write(f"grammar: {'; '.join(compiled.notes)[:500]}\n")
        return compiled.constraint()

    def piece(self, token: int) -> bytes:
        """The bytes a token stands for; a marker that the parser must see is spelled out."""
        return self._spelled.get(token) or self._model.piece(token)

    def _rule(self, request: ChatRequest) -> OutputRule | None:
        document = _document(request.json_format)
        if not request.tools:
            return document
        calls = ToolCalls(
            format_name=self._format.name,
            tools=request.tools,
            choice=request.tool_choice,
            only=request.forced_tool or None,
            parallel=request.parallel_tool_calls,
        )
        if document is None or request.tool_choice == "required":
            return calls
        return DocumentOrCalls(document=document, calls=calls)

    def _framing(self, prompt: Prompt) -> Framing:
        style, frame = self._style, frame_of(self._format.name)
        return Framing(
            after=style.end if style else "",
            opens=style.start if style and not prompt.starts_in_reasoning else "",
            lead=self._lead(prompt),
            before_document=self._read_as_nothing(frame.before_document),
            before_calls=self._read_as_nothing(frame.before_calls),
        )

    def _read_as_nothing(self, markers: tuple[str, ...]) -> tuple[str, ...]:
        """Those that the parser takes for markers: a format may be forced on a template of another family."""
        if self._format.parser(()).owns_channels:
            return markers
        known = self._style.dropped if self._style else ()
        return tuple(marker for marker in markers if marker in known)

    def _lead(self, prompt: Prompt) -> str:
        lead = frame_of(self._format.name).lead
        return lead if prompt.text.endswith(lead) else ""

    def _spelled_markers(self) -> dict[int, bytes]:
        """Control tokens, which are no text otherwise, that are markers of calls or reasoning here."""
        markers = (*self._format.markers, *(self._style.markers if self._style else ()))
        tokens = {t for m in markers for t in self._model.tokenize(m, add_special=False).tolist()}
        return {t: self._model.token_text(t).encode() for t in tokens if self._model.is_control(t)}


def _document(wanted: JsonFormat | None) -> JsonObject | JsonSchema | None:
    if wanted is None:
        return None
    if wanted.schema is None:
        return JsonObject()
    return JsonSchema(schema=wanted.schema, strict=wanted.strict, name=wanted.name)


class AnswerParser:
    """One answer: text in, deltas out when they are asked for."""

    def __init__(self, parser: StreamParser, *, starts_in_reasoning: bool) -> None:
        self._parser = parser
        self._deltas: list[Delta] = []
        self._is_reasoning = starts_in_reasoning
        self.n_reasoning = 0
        """Tokens of reasoning so far, markers among them."""

    def feed(self, text: str) -> None:
        """The text of one token."""
        deltas = self._parser.feed(text)
        self._deltas += deltas
        if deltas:
            self._is_reasoning = isinstance(deltas[-1], ReasoningDelta)
        self.n_reasoning += self._is_reasoning

    def finish(self, reason: FinishReason) -> FinishReason:
        """No more text comes. An answer that ends in calls, all of them complete, has that as its reason."""
        self._deltas += self._parser.finish(cut=reason == "length")
        if reason == "stop" and self._parser.calls and not self._parser.unfinished:
            return "tool_calls"
        return reason

    def take(self) -> list[Delta]:
        """The deltas since the last time, neighbours of one kind joined."""
        deltas, self._deltas = self._deltas, []
        joined: list[Delta] = []
        for delta in deltas:
            last = joined[-1] if joined else None
            match delta, last:
                case TextDelta(), TextDelta():
                    joined[-1] = TextDelta(text=last.text + delta.text)
                case ReasoningDelta(), ReasoningDelta():
                    joined[-1] = ReasoningDelta(text=last.text + delta.text)
                case ToolCallDelta(name=""), ToolCallDelta(index=index) if index == delta.index:
                    joined[-1] = ToolCallDelta(
                        index=index, id=last.id, name=last.name, arguments=last.arguments + delta.arguments
                    )
                case _:
                    joined.append(delta)
        return joined

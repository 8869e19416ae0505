"""Formats that write a call as tags: its name, then each argument's key and its bare value.

The families differ in the tags alone; each file of a family gives them in a `Tags`, as the model
writes them, with their whitespace. Reading does not insist on the whitespace. Values are typed by
the tool's schema (arguments.py). A value ends at its end tag, if what follows it is a tag too: code
that mentions the tag does not end the value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from inference.chat import Tool, ToolCall
from inference.toolcall_formats.arguments import (
    STRING,
    ParameterTypes,
    ValueWriter,
    allowed_types,
    arguments_of,
    properties,
    schema_of,
    value_text,
)
from inference.toolcall_formats.base import CallSink, GrammarBuilder
from inference.toolcall_formats.source import SPACE, Markers, NotACall, Source, Steps
from inference.toolcall_formats.text_shapes import text_shapes

MAX_NAME_CHARS: Final = 256
NAME: Final = re.compile(r"""[^\s<>{}\[\]"'=()|]+""")
_KEY: Final = re.compile(r"""[^<>"\r\n]+""")


@dataclass(frozen=True, slots=True)
class Tags:
    """`section_*` surround one call (`one_section` false) or all calls of a turn.

    `key_ends`: the texts that may end a key, and the types that each says the value has (None: it says
    nothing). The first is for strings, the last for the rest. `quoted_*`: what a value may stand between
    inside its tags, so that it may contain tags.
    """

    call_open: str
    name_end: str
    key_open: str
    key_ends: tuple[tuple[str, frozenset[str] | None], ...]
    value_open: str
    value_close: str
    call_close: str
    section_open: str = ""
    section_close: str = ""
    one_section: bool = False
    quoted_open: str = ""
    quoted_close: str = ""

    @property
    def layout_newline(self) -> bool:
        """Whether a newline at each end of a value is layout."""
        return self.value_close.startswith("\n")


@dataclass(frozen=True, slots=True)
class TaggedParser:
    """CallParser for these formats."""

    tags: Tags
    types: ParameterTypes
    starts: tuple[str, ...]
    first_starts: tuple[str, ...] = ()
    owns_channels: bool = False
    closers: Markers = field(init=False)
    quoted_closers: Markers = field(init=False)

    def __post_init__(self) -> None:
        close = self.tags.value_close.strip(SPACE)
        words = ("\n" + close, close) if self.tags.layout_newline else (close,)
        object.__setattr__(self, "closers", Markers(words))
        object.__setattr__(self, "quoted_closers", Markers((self.tags.quoted_close + close,)))

    def read(self, start: str, source: Source, sink: CallSink) -> Steps[None]:
        call_open = self.tags.call_open.strip(SPACE)
        section_close = self.tags.section_close.strip(SPACE)
        if start != call_open:
            yield from source.space()
            yield from source.expect(call_open)
        while True:
            yield from self._call(source, sink)
            if not section_close:
                return
            yield from source.space()
            if (yield from source.accept(call_open, section_close)) != call_open:
                return

    def _call(self, source: Source, sink: CallSink) -> Steps[None]:
        yield from source.space()
        name = yield from source.run(NAME, at_most=MAX_NAME_CHARS)
        if not name:
            raise NotACall
        yield from source.space()
        name_end = self.tags.name_end.strip(SPACE)
        if name_end:
            yield from source.expect(name_end)
            sink.begin(name)
            yield from source.space()
            tag = yield from source.expect(*self._next_tags())
        else:  # nothing but the next tag says that this was a name
            tag = yield from source.expect(*self._next_tags())
            sink.begin(name)
        before = "{"
        while tag == self.tags.key_open.strip(SPACE):
            key, says = yield from self._key(source)
            sink.arguments(f"{before}{json.dumps(key, ensure_ascii=False)}: ")
            tag = yield from self._value(source, says or self.types.allowed(name, key), sink)
            before = ", "
        sink.arguments("{}" if before == "{" else "}")
        sink.end()

    def _next_tags(self) -> tuple[str, str]:
        return self.tags.key_open.strip(SPACE), self.tags.call_close.strip(SPACE)

    def _key(self, source: Source) -> Steps[tuple[str, frozenset[str] | None]]:
        key = yield from source.run(_KEY, at_most=MAX_NAME_CHARS)
        ends = dict(self.tags.key_ends)
        says = ends[(yield from source.expect(*ends))]
        if self.tags.value_open.strip(SPACE):
            yield from source.space()
            yield from source.expect(self.tags.value_open.strip(SPACE))
        return key.strip(SPACE), says

    def _value(self, source: Source, allowed: frozenset[str], sink: CallSink) -> Steps[str]:
        """Returns the tag behind the value, which is taken too."""
        writer = ValueWriter(allowed, sink.arguments)
        if self.tags.layout_newline:
            yield from source.accept("\n")
        closers = self.closers
        if self.tags.quoted_open and (yield from source.accept(self.tags.quoted_open)):
            closers = self.quoted_closers
        while True:
            piece = yield from source.before(closers)
            writer.add(piece.text)
            if piece.marker:
                gap = yield from source.space()
                tag = yield from source.accept(*self._next_tags())
                if tag:
                    writer.end()
                    return tag
                if source.is_cut_off:
                    raise NotACall
                writer.add(piece.marker + gap)
            elif not piece.text:
                raise NotACall


@dataclass(frozen=True, slots=True)
class TaggedCalls:
    """A ToolFormat. `also_starts`: markers at which a call may begin too, if a model forgets the rest.

    `extra_markers`: what is a token by itself in the family's vocabulary, though no tag.
    """

    name: str
    tags: Tags
    taught: Callable[[str], bool]
    also_starts: tuple[str, ...] = ()
    extra_markers: tuple[str, ...] = ()

    @property
    def triggers(self) -> tuple[str, ...]:
        return ((self.tags.section_open or self.tags.call_open).strip(SPACE),)

    @property
    def markers(self) -> tuple[str, ...]:
        tags = self.tags
        found = (
            tags.section_open, tags.section_close, tags.call_open, tags.call_close, tags.name_end,
            tags.key_open, *(end for end, _ in tags.key_ends), tags.value_open, tags.value_close,
        )  # fmt: skip
        bare = (tag.strip(SPACE) for tag in found)
        return (*dict.fromkeys(tag for tag in bare if tag), *self.extra_markers)

    def detect(self, template: str) -> bool:
        return self.taught(template)

    def parser(self, tools: Sequence[Tool]) -> TaggedParser:
        return TaggedParser(self.tags, ParameterTypes.of(tools), (*self.triggers, *self.also_starts))

    def render(self, calls: Sequence[ToolCall]) -> str:
        tags, written = self.tags, [self._rendered(call) for call in calls]
        if tags.one_section:
            return tags.section_open + "".join(written) + tags.section_close
        return "\n".join(tags.section_open + one + tags.section_close for one in written)

    def _rendered(self, call: ToolCall) -> str:
        tags = self.tags
        parts = [tags.call_open, call.name, tags.name_end]
        for key, value in arguments_of(call.arguments).items():
            end, _ = tags.key_ends[0 if isinstance(value, str) else -1]
            parts += [tags.key_open, key, end, tags.value_open, value_text(value), tags.value_close]
        return "".join([*parts, tags.call_close])

    def grammar(self, g: GrammarBuilder, tools: Sequence[Tool], *, parallel: bool) -> str:
        tags = self.tags
        call = g.rule("call", g.any_of(*(self._tool_grammar(g, tool) for tool in tools)))
        if tags.one_section:
            calls = g.repeat(call, at_least=1, at_most=None if parallel else 1)
            return g.seq(*written(g, tags.section_open), calls, *written(g, tags.section_close))
        one = g.seq(*written(g, tags.section_open), call, *written(g, tags.section_close))
        return g.seq(one, g.repeat(g.seq(g.whitespace(), one))) if parallel else one

    def _tool_grammar(self, g: GrammarBuilder, tool: Tool) -> str:
        """Parameters in the schema's order, those that are not required left out or not."""
        tags = self.tags
        required = tool.parameters.get("required")
        parts = [*written(g, tags.call_open), g.literal(tool.name), *written(g, tags.name_end)]
        for key in properties(tool):
            parameter = self._parameter_grammar(g, tool, key)
            is_required = isinstance(required, list) and key in required
            parts.append(parameter if is_required else g.optional(parameter))
        return g.seq(*parts, *written(g, tags.call_close))

    def _parameter_grammar(self, g: GrammarBuilder, tool: Tool, key: str) -> str:
        schema = schema_of(tool, key)
        allowed = allowed_types(schema, tool.parameters)
        if "string" not in allowed:
            return self._written(g, key, -1, g.json(schema))
        says_type = len(self.tags.key_ends) > 1
        if not says_type or allowed == STRING:
            return self._written(g, key, 0, self._text(g, tool, schema))
        found = schema if isinstance(schema, Mapping) else {}
        text = self._text(g, tool, {"type": "string", "allOf": [found]})
        other = g.json({**found, "type": sorted(allowed - STRING)})
        return g.any_of(self._written(g, key, 0, text), self._written(g, key, -1, other))

    def _written(self, g: GrammarBuilder, key: str, end: int, value: str) -> str:
        """One parameter. `end`: which of `key_ends`."""
        tags = self.tags
        opening = [*written(g, tags.key_open), g.literal(key), *written(g, tags.key_ends[end][0])]
        bare_before = not tags.value_open.strip(SPACE)
        opening += written(g, tags.value_open, exact_before=bare_before, exact_after=True)
        return g.seq(*opening, value, *written(g, tags.value_close, exact_before=True))

    def _text(self, g: GrammarBuilder, tool: Tool, schema: object) -> str:
        shapes = text_shapes(schema, tool.parameters)
        return g.text_until(self.tags.value_close.rstrip(SPACE), shapes=shapes)


def written(
    g: GrammarBuilder, tag: str, *, exact_before: bool = False, exact_after: bool = False
) -> list[str]:
    """A tag, and room where the family writes whitespace around it; exact beside a value."""
    if not tag:
        return []
    bare = tag.strip(SPACE)
    if exact_before and exact_after:
        return [g.literal(tag)]
    if not bare:
        return [g.whitespace()]
    before, after = tag[: tag.index(bare)], tag[tag.index(bare) + len(bare) :]
    parts = [g.whitespace()] if before and not exact_before else []
    kept = (before if exact_before else "") + bare + (after if exact_after else "")
    return [*parts, g.literal(kept), *([g.whitespace()] if after and not exact_after else [])]

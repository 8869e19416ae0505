"""What an answer must look like, and the grammar that makes it so.

An OutputRule says it in the terms of a request; `write_grammar` turns it into a Grammar, text in the
engine's notation with the markers at which it begins to hold. Pure: engines/llama_grammar.py compiles
and applies it.

    JsonObject, JsonSchema     the whole answer is one JSON document
    ToolCalls "required"       the answer is calls of the offered tools, or of the one named
    ToolCalls "auto"           free text, until one of the format's triggers begins a call
    DocumentOrCalls            one document, or calls as "required" has them; the first tokens decide

Before any of them the model may reason: up to the marker `Framing.after` nothing holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol, runtime_checkable

from inference.chat import Tool, Wire
from inference.errors import InvalidRequest
from inference.grammar_lark import LarkBuilder
from inference.grammar_markers import Opening
from inference.grammar_schema import Prepared, Schema, prepare, with_definitions

MAX_TOOLS: Final = 512
"""Offered in one request. A harness with every plug-in sends about a hundred."""

MAX_TOOLS_BYTES: Final = 512 * 1024
"""Grammar text of one request; 30 tools of a coding harness make 25 KB and compile in 12 ms."""

_ANY_OBJECT: Final[dict[str, Any]] = {"type": "object"}
_DOCUMENT: Final = "response_format"


class JsonObject(Wire):
    """One JSON object, of any shape."""


class JsonSchema(Wire):
    """A JSON document that `schema` allows. `strict`: refuse a schema that cannot be enforced in full."""

    schema: dict[str, Any]
    strict: bool = False
    name: str = ""


class ToolCalls(Wire):
    """Calls as the format `format_name` writes them.

    `choice` "auto": text, calls, or text and then calls. "required": calls. `only`: the one tool that may
    be called (a request's named tool_choice). `parallel` False: at most one call.
    """

    format_name: str
    tools: tuple[Tool, ...]
    choice: Literal["auto", "required"] = "auto"
    only: str | None = None
    parallel: bool = True


class DocumentOrCalls(Wire):
    """Either one document or calls, which are required to be either; `calls.choice` means nothing here.

    No text may stand before the calls: a client that asked for documents takes all content for one.
    """

    document: JsonObject | JsonSchema
    calls: ToolCalls


OutputRule = JsonObject | JsonSchema | ToolCalls | DocumentOrCalls


@dataclass(frozen=True, slots=True)
class Framing:
    """What stands around documents and calls in one answer of one model.

    `after`: the marker that ends reasoning. The model is in the midst of it if `opens` is empty; else it
    may begin it with `opens`, or not at all. `lead`: how the prompt ends, where calls and documents begin
    with it. `before_document`, `before_calls`: markers each of which may come before them, in this order.
    """

    after: str = ""
    opens: str = ""
    lead: str = ""
    before_document: tuple[str, ...] = ()
    before_calls: tuple[str, ...] = ()


UNFRAMED: Final = Framing()


class CallGrammar(Protocol):
    """What a grammar needs of a tool-call format (toolcall_formats.base.ToolFormat)."""

    @property
    def name(self) -> str: ...

    @property
    def triggers(self) -> tuple[str, ...]: ...

    def grammar(self, g: LarkBuilder, tools: Sequence[Tool], *, parallel: bool) -> str: ...


@runtime_checkable
class NamedTriggers(Protocol):
    """A CallGrammar whose calls begin with nothing but the tools' names."""

    def triggers_for(self, tools: Sequence[Tool]) -> tuple[str, ...]: ...


@runtime_checkable
class UnmarkedCalls(CallGrammar, Protocol):
    """A CallGrammar whose calls look like documents. See toolcall_formats.base.UnmarkedFormat."""

    def openings(self, tools: Sequence[Tool]) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Grammar:
    """`document` is what may come once the grammar holds. It holds after the marker `after`, if there is
    one; and where there are `triggers`, from the first of them, with which `document` begins. What stands
    between `opens` and `after` is reasoning, where no trigger counts; without `opens` it has begun already.
    The prompt has said `lead`. Where `opening` finds a marker the answer is of `calls`, else of `document`.

    `param` is the request's field that the grammar comes from. `schemas`: what it was made of, to find a
    culprit among with `alone`. `notes`: what of the schemas is not enforced, for a log.
    """

    document: str
    param: str
    after: str = ""
    opens: str = ""
    lead: str = ""
    triggers: tuple[str, ...] = ()
    opening: Opening | None = None
    calls: str = ""
    schemas: tuple[Prepared, ...] = ()
    notes: tuple[str, ...] = ()


def write_grammar(
    rule: OutputRule,
    tool_format: CallGrammar | None = None,
    *,
    control: Mapping[str, int | None],
    framing: Framing = UNFRAMED,
    relaxed: frozenset[str] = frozenset(),
    shaped: bool = True,
) -> Grammar:
    """The grammar of a rule. Raises InvalidRequest naming the field whose schema is not to be had.

    `control`: see LarkBuilder. `relaxed`: fields of `schemas` that turned out to be more than the engine can
    enforce; any JSON object is then allowed there. `shaped` False: nothing is enforced of bare text.
    """
    writer = _Writer(control, framing, relaxed, shaped)
    if isinstance(rule, JsonObject | JsonSchema):
        return writer.documents(rule)
    calls = rule.calls if isinstance(rule, DocumentOrCalls) else rule
    if tool_format is None or tool_format.name != calls.format_name:
        raise ValueError(f"the rule is for format {calls.format_name!r}, which is not the one given")
    if isinstance(rule, DocumentOrCalls):
        return writer.either(rule, tool_format)
    return writer.lazy_calls(rule, tool_format) if rule.choice == "auto" else writer.calls(rule, tool_format)


@dataclass(frozen=True, slots=True)
class _Writer:
    control: Mapping[str, int | None]
    framing: Framing
    relaxed: frozenset[str]
    shaped: bool

    def documents(self, rule: JsonObject | JsonSchema) -> Grammar:
        prepared = _document(rule)
        g = self._builder(prepared)
        return self._held(g, self._document(g, prepared), prepared)

    def calls(self, rule: ToolCalls, tool_format: CallGrammar) -> Grammar:
        tools = _prepared_tools(rule)
        g = self._builder(*tools.values())
        return self._held(g, self._calls(g, rule, tool_format, tools), *tools.values())

    def lazy_calls(self, rule: ToolCalls, tool_format: CallGrammar) -> Grammar:
        tools = _prepared_tools(rule)
        g = self._builder(*tools.values())
        start = tool_format.grammar(g, self._tools(rule, tools), parallel=rule.parallel)
        triggers = tool_format.triggers
        if isinstance(tool_format, NamedTriggers):
            triggers = tool_format.triggers_for(rule.tools)
        return Grammar(
            document=_bounded(g.document(g.seq(start, g.whitespace()))),
            param="tools",
            after=self.framing.after,
            opens=self.framing.opens if self.framing.after else "",
            lead=self.framing.lead,
            triggers=triggers,
            schemas=tuple(tools.values()),
            notes=_notes(g, *tools.values()),
        )

    def either(self, rule: DocumentOrCalls, tool_format: CallGrammar) -> Grammar:
        if isinstance(tool_format, UnmarkedCalls):
            return self._apart(rule, tool_format)
        document, tools = _document(rule.document), _prepared_tools(rule.calls)
        g = self._builder(document, *tools.values())
        start = g.any_of(self._document(g, document), self._calls(g, rule.calls, tool_format, tools))
        return self._held(g, start, document, *tools.values())

    def _apart(self, rule: DocumentOrCalls, tool_format: UnmarkedCalls) -> Grammar:
        """Two grammars: in one, whoever cuts the text into words could not tell them apart in time."""
        document, calls = self.documents(rule.document), self.calls(rule.calls, tool_format)
        tools = [tool for _, tool in _offered(rule.calls)]
        opens = self.framing.opens if self.framing.after else ""
        return replace(
            document,
            calls=calls.document,
            opening=Opening(
                tuple(opening.encode() for opening in tool_format.openings(tools)),
                opens.encode(),
                self.framing.after.encode(),
            ),
            schemas=(*document.schemas, *calls.schemas),
            notes=(*document.notes, *calls.notes),
        )

    def _builder(self, *schemas: Prepared) -> LarkBuilder:
        definitions = {name: schema for one in schemas for name, schema in one.definitions.items()}
        return LarkBuilder(self.control, definitions, shaped=self.shaped)

    def _held(self, g: LarkBuilder, start: str, *schemas: Prepared) -> Grammar:
        """A grammar that holds from the beginning, but for reasoning."""
        after, opens = self.framing.after, self.framing.opens
        if after and opens:  # the model may begin it
            body = (g.literal(opens), g.text_until(after), g.literal(after))
            start = g.seq(g.optional(g.seq(g.whitespace(), *body)), start)
        return Grammar(
            document=_bounded(g.document(start)),
            param="tools" if schemas[0].param != _DOCUMENT else _DOCUMENT,
            after="" if opens else after,
            lead=self.framing.lead,
            schemas=schemas,
            notes=_notes(g, *schemas),
        )

    def _document(self, g: LarkBuilder, prepared: Prepared) -> str:
        schema = _ANY_OBJECT if prepared.param in self.relaxed else as_object(prepared.schema)
        value = g.json(schema, strict=prepared.strict)
        return g.seq(g.whitespace(), *_optional(g, self.framing.before_document), value)

    def _calls(
        self, g: LarkBuilder, rule: ToolCalls, tool_format: CallGrammar, tools: Mapping[int, Prepared]
    ) -> str:
        calls = tool_format.grammar(g, self._tools(rule, tools), parallel=rule.parallel)
        return g.seq(g.whitespace(), *_optional(g, self.framing.before_calls), calls, g.whitespace())

    def _tools(self, rule: ToolCalls, prepared: Mapping[int, Prepared]) -> list[Tool]:
        """As a format's grammar is given them."""
        written: list[Tool] = []
        for index, one in prepared.items():
            relaxed = one.param in self.relaxed
            parameters = _ANY_OBJECT if relaxed else with_definitions(one.schema, one.definitions)
            written.append(Tool(name=rule.tools[index].name, parameters=parameters))
        return written


def _notes(g: LarkBuilder, *schemas: Prepared) -> tuple[str, ...]:
    return (*(note for one in schemas for note in one.notes), *dict.fromkeys(g.notes))


def _optional(g: LarkBuilder, markers: Sequence[str]) -> list[str]:
    return [g.optional(g.seq(g.literal(marker), g.whitespace())) for marker in markers]


def _bounded(document: str) -> str:
    size = len(document.encode("utf-8", "surrogatepass"))
    if size > MAX_TOOLS_BYTES:
        raise InvalidRequest(
            f"tools: the schemas make a grammar of {size} bytes, limit {MAX_TOOLS_BYTES}: offer fewer tools",
            param="tools",
        )
    return document


def _document(rule: JsonObject | JsonSchema) -> Prepared:
    schema, strict = (rule.schema, rule.strict) if isinstance(rule, JsonSchema) else (_ANY_OBJECT, False)
    return prepare(schema, _DOCUMENT, strict=strict)


def _prepared_tools(rule: ToolCalls) -> dict[int, Prepared]:
    return {index: _parameters(tool, index) for index, tool in _offered(rule)}


def _offered(rule: ToolCalls) -> list[tuple[int, Tool]]:
    """The tools that may be called, with their place in the request."""
    if len(rule.tools) > MAX_TOOLS:
        raise InvalidRequest(f"tools: {len(rule.tools)} tools, limit {MAX_TOOLS}: offer fewer", param="tools")
    offered = [(n, tool) for n, tool in enumerate(rule.tools) if rule.only in (None, tool.name)]
    if not offered:
        names = ", ".join(tool.name for tool in rule.tools[:20]) or "none"
        raise InvalidRequest(
            f"tool_choice names {rule.only!r}; offered: {names}" if rule.only else "tools: none is offered",
            param="tool_choice" if rule.only else "tools",
        )
    return offered


def _parameters(tool: Tool, index: int) -> Prepared:
    return prepare(
        {**tool.parameters, "type": "object"},
        f"tools[{index}].parameters",
        strict=False,
        closed=True,
        prefix=f"t{index}d",
    )


def as_object(schema: Schema) -> dict[str, Any]:
    """A schema as a JSON object: true and false are short for two."""
    return schema if isinstance(schema, dict) else {} if schema else {"enum": []}


def alone(prepared: Prepared) -> str:
    """The document of nothing but this schema."""
    g = LarkBuilder({}, prepared.definitions)
    return g.document(g.json(as_object(prepared.schema), strict=prepared.strict))

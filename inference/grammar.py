"""What an answer must look like, and the grammar that makes it so.

An OutputRule says it in the terms of a request; `write_grammar` turns it into a Grammar, text in the
engine's notation with the markers at which it begins to hold. Pure: engines/llama_grammar.py compiles
and applies it.

    JsonObject, JsonSchema     the whole answer is one JSON document
    ToolCalls "required"       the answer is calls of the offered tools, or of the one named
    ToolCalls "auto"           free text, until one of the format's triggers begins a call

Before any of them the model may reason: up to the marker `after` nothing holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from inference.chat import Tool, Wire
from inference.errors import InvalidRequest
from inference.grammar_lark import LarkBuilder
from inference.grammar_schema import Prepared, Schema, prepare, with_definitions

MAX_TOOLS: Final = 512
"""Offered in one request. A harness with every plug-in sends about a hundred."""

MAX_TOOLS_BYTES: Final = 512 * 1024
"""Grammar text of one request; 30 tools of a coding harness make 25 KB and compile in 12 ms."""

_ANY_OBJECT: Final[dict[str, Any]] = {"type": "object"}


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


OutputRule = JsonObject | JsonSchema | ToolCalls


class CallGrammar(Protocol):
    """What a grammar needs of a tool-call format (toolcall_formats.base.ToolFormat)."""

    @property
    def name(self) -> str: ...

    @property
    def triggers(self) -> tuple[str, ...]: ...

    def grammar(self, g: LarkBuilder, tools: Sequence[Tool], *, parallel: bool) -> str: ...


@dataclass(frozen=True, slots=True)
class Grammar:
    """`document` is what may come once the grammar holds. It holds after the marker `after`, if there is
    one; and where there are `triggers`, from the first of them, with which `document` begins. What stands
    between `opens` and `after` is reasoning, where no trigger counts; without `opens` it has begun already.
    `param` is the request's field that the grammar comes from. `schemas`: what it was made of, to find a
    culprit among with `alone`. `notes`: what of the schemas is not enforced, for a log.
    """

    document: str
    param: str
    after: str = ""
    opens: str = ""
    triggers: tuple[str, ...] = ()
    schemas: tuple[Prepared, ...] = ()
    coerce_one_of: bool = True
    notes: tuple[str, ...] = ()


def write_grammar(
    rule: OutputRule,
    tool_format: CallGrammar | None = None,
    *,
    control: Mapping[str, int | None],
    after: str = "",
    opens: str = "",
    relaxed: frozenset[str] = frozenset(),
) -> Grammar:
    """The grammar of a rule. Raises InvalidRequest naming the field whose schema is not to be had.

    `after`: the marker that ends reasoning. The model is in the midst of it if `opens` is empty; else it
    may begin it with `opens`, or not at all. `control`: see LarkBuilder. `relaxed`: fields of `schemas`
    that turned out to be more than the engine can enforce; any JSON object is then allowed there.
    """
    if isinstance(rule, ToolCalls):
        if tool_format is None or tool_format.name != rule.format_name:
            raise ValueError(f"the rule is for format {rule.format_name!r}, which is not the one given")
        return _calls_grammar(rule, tool_format, control, after, opens, relaxed)
    schema, strict = (rule.schema, rule.strict) if isinstance(rule, JsonSchema) else (_ANY_OBJECT, False)
    param = "response_format"
    prepared = prepare(schema, param, strict=strict)
    coerce = not strict
    g = LarkBuilder(control, prepared.definitions, coerce_one_of=coerce)
    start = g.seq(g.whitespace(), g.json(_ANY_OBJECT if param in relaxed else as_object(prepared.schema)))
    return Grammar(
        document=g.document(_after_reasoning(g, start, after, opens)),
        param=param,
        after="" if opens else after,
        schemas=(prepared,),
        coerce_one_of=coerce,
        notes=prepared.notes,
    )


def _calls_grammar(
    rule: ToolCalls,
    tool_format: CallGrammar,
    control: Mapping[str, int | None],
    after: str,
    opens: str,
    relaxed: frozenset[str],
) -> Grammar:
    prepared = {index: _parameters(tool, index) for index, tool in _offered(rule)}
    definitions = {name: schema for one in prepared.values() for name, schema in one.definitions.items()}
    g = LarkBuilder(control, definitions, coerce_one_of=True)
    tools = [
        Tool(
            name=rule.tools[index].name,
            parameters=_ANY_OBJECT if one.param in relaxed else with_definitions(one.schema, one.definitions),
        )
        for index, one in prepared.items()
    ]
    calls = tool_format.grammar(g, tools, parallel=rule.parallel)
    lazy = rule.choice == "auto"
    start = g.seq(calls, g.whitespace()) if lazy else g.seq(g.whitespace(), calls, g.whitespace())
    document = g.document(start if lazy else _after_reasoning(g, start, after, opens))
    size = len(document.encode("utf-8", "surrogatepass"))
    if size > MAX_TOOLS_BYTES:
        raise InvalidRequest(
            f"tools: the schemas make a grammar of {size} bytes, limit {MAX_TOOLS_BYTES}: offer fewer tools",
            param="tools",
        )
    return Grammar(
        document=document,
        param="tools",
        after=after if lazy or not opens else "",
        opens=opens if lazy and after else "",
        triggers=tool_format.triggers if lazy else (),
        schemas=tuple(prepared.values()),
        notes=tuple(note for one in prepared.values() for note in one.notes),
    )


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


def alone(prepared: Prepared, *, coerce_one_of: bool) -> str:
    """The document of nothing but this schema."""
    g = LarkBuilder({}, prepared.definitions, coerce_one_of=coerce_one_of)
    return g.document(g.json(as_object(prepared.schema)))


def _after_reasoning(g: LarkBuilder, start: str, after: str, opens: str) -> str:
    """Room for reasoning that the model may begin by itself."""
    if not (after and opens):
        return start
    reasoning = g.seq(g.whitespace(), g.literal(opens), g.text_until(after), g.literal(after))
    return g.seq(g.optional(reasoning), start)

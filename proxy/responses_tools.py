"""The tools of a Responses request: as the client offers them, and as the model sees them. Pure.

A model calls functions and nothing else, so every kind of tool becomes one, and a call is told back in
the client's terms:

    function       itself
    custom         a function whose one parameter, `input`, is the free text (freeform.py)
    namespace      its tools, each under `namespace__name`; the first one brings the namespace's description
    tool_search    a function, where the client does the searching; what it found is offered from then on

Search on the web and the making of images run on hosted services, and harnesses offer them unasked. Here
they are left out: nothing but a model's own wish could call them. Other hosted tools are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from inference.chat import Tool, ToolChoice
from inference.errors import InvalidRequest
from proxy import strict_json
from proxy.responses_body import (
    MAX_TOOLS,
    AllowedTools,
    ChosenTool,
    CustomTool,
    FunctionTool,
    GrammarFormat,
    NamespaceTool,
    ToolSearchTool,
)

Kind = Literal["function", "custom", "tool_search"]

TOOL_SEARCH: Final = "tool_search"
MAX_LISTED_TOOLS: Final = 20

LEFT_OUT: Final = frozenset({"web_search", "web_search_preview", "image_generation"})
_DATED: Final = ("web_search_2", "web_search_preview_2")  # web_search_2025_08_26

_RAW: Final = "Pass the raw text as the string parameter `input`."


class OfferedTool(msgspec.Struct, frozen=True):
    """`tool` is what the model sees; the rest is how the client knows it. A struct, for a request has dozens,
    and a frozen dataclass takes ten times as long to make."""

    tool: Tool
    kind: Kind
    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class ToolBook:
    """The tools of one request."""

    tools: Mapping[str, OfferedTool]

    def find(self, called: str) -> OfferedTool:
        """What the model meant by a name. A name without its namespace will do where it is the only one;
        one that nobody offered is passed on as a function's, for the client to tell the model so."""
        if called in self.tools:
            return self.tools[called]
        namesakes = [tool for tool in self.tools.values() if tool.name == called]
        return namesakes[0] if len(namesakes) == 1 else OfferedTool(Tool(name=called), "function", called)


@dataclass(frozen=True, slots=True)
class Choice:
    """What may be called, and what must."""

    tools: tuple[Tool, ...]
    tool_choice: ToolChoice = "auto"
    forced_tool: str = ""


def model_name(name: str, namespace: str | None) -> str:
    """What the model calls a tool. Reversed by ToolBook, never by taking the name apart."""
    return f"{namespace}__{name}" if namespace else name


# --- what is offered ---------------------------------------------------------------------------


def tool_book(offered: Iterable[tuple[str, Mapping[str, Any]]]) -> ToolBook:
    """`offered`: tools with where they stand in the body. Raises InvalidRequest naming the tool."""
    tools: dict[str, OfferedTool] = {}
    for path, body in offered:
        for tool in _offered(body, path):
            known = tools.get(tool.tool.name)
            if known is not None and known != tool:
                raise InvalidRequest(f"{path}: two tools are called {tool.tool.name!r}", param=path)
            tools[tool.tool.name] = tool
    if len(tools) > MAX_TOOLS:
        raise InvalidRequest(f"tools: expected at most {MAX_TOOLS}, found {len(tools)}", param="tools")
    return ToolBook(tools)


def is_left_out(kind: str) -> bool:
    return kind in LEFT_OUT or kind.startswith(_DATED)


def _offered(body: Mapping[str, Any], path: str) -> list[OfferedTool]:
    match body.get("type"):
        case "function":
            return [_function(strict_json.convert(body, FunctionTool, path))]
        case "custom":
            return [_custom(strict_json.convert(body, CustomTool, path))]
        case "namespace":
            return _namespace(strict_json.convert(body, NamespaceTool, path), path)
        case "tool_search":
            return [_tool_search(strict_json.convert(body, ToolSearchTool, path), path)]
        case str(kind) if is_left_out(kind):
            return []
        case kind:
            raise InvalidRequest(
                f"{path}.type: {str(kind)[:64]!r} is not supported: expected function, custom, namespace or "
                "tool_search; hosted tools do not exist here",
                param=f"{path}.type",
            )


def _function(tool: FunctionTool) -> OfferedTool:
    seen = Tool(name=tool.name, description=tool.description or "", parameters=tool.parameters or {})
    return OfferedTool(seen, "function", tool.name)


def _custom(tool: CustomTool) -> OfferedTool:
    text: dict[str, Any] = {"type": "string"}
    notes = [tool.description or "", _RAW]
    if isinstance(tool.format, GrammarFormat):
        notes.append(f"It must match this {tool.format.syntax} grammar:\n{tool.format.definition}")
        if tool.format.syntax == "regex":
            text["pattern"] = f"^(?:{tool.format.definition})$"
    parameters = {
        "type": "object",
        "properties": {"input": text},
        "required": ["input"],
        "additionalProperties": False,
    }
    seen = Tool(name=tool.name, description="\n\n".join(filter(None, notes)), parameters=parameters)
    return OfferedTool(seen, "custom", tool.name)


def _namespace(namespace: NamespaceTool, path: str) -> list[OfferedTool]:
    members: list[OfferedTool] = []
    for i, body in enumerate(namespace.tools):
        where = f"{path}.tools[{i}]"
        if body.get("type") not in ("function", "custom"):
            raise InvalidRequest(f"{where}.type: expected function or custom", param=f"{where}.type")
        [member] = _offered(body, where)
        description = member.tool.description
        if i == 0 and namespace.description:
            description = f"{namespace.description}\n\n{description}".rstrip()
        seen = Tool(
            name=model_name(member.name, namespace.name),
            description=description,
            parameters=member.tool.parameters,
        )
        members.append(OfferedTool(seen, member.kind, member.name, namespace.name))
    return members


def _tool_search(tool: ToolSearchTool, path: str) -> OfferedTool:
    if tool.execution != "client":
        where = f"{path}.execution"
        raise InvalidRequest(f"{where}: only 'client' is supported, for the server has no tools", param=where)
    seen = Tool(name=TOOL_SEARCH, description=tool.description or "", parameters=tool.parameters or {})
    return OfferedTool(seen, "tool_search", TOOL_SEARCH)


# --- what may and must be called ---------------------------------------------------------------


def choose(wanted: str | Mapping[str, Any] | None, book: ToolBook) -> Choice:
    """Raises InvalidRequest if what must be called is not offered."""
    everything = tuple(tool.tool for tool in book.tools.values())
    if wanted == "none":
        return Choice(())
    if wanted is None or wanted == "auto":
        return Choice(everything)
    if not everything:
        raise InvalidRequest("tool_choice: a call is required and no tools are offered", param="tool_choice")
    if isinstance(wanted, str):
        return Choice(everything, "required")
    if wanted.get("type") == "allowed_tools":
        return _allowed(strict_json.convert(wanted, AllowedTools, "tool_choice"), book)
    chosen = strict_json.convert(wanted, ChosenTool, "tool_choice")
    named = _named(chosen, book)
    if len(named) != 1:
        raise InvalidRequest("tool_choice: expected one tool, found a namespace", param="tool_choice")
    return Choice(everything, "required", named[0].name)


def _allowed(wanted: AllowedTools, book: ToolBook) -> Choice:
    names = {
        tool.name for chosen in wanted.tools if not is_left_out(chosen.type) for tool in _named(chosen, book)
    }
    tools = tuple(tool.tool for name, tool in book.tools.items() if name in names)
    if not tools and wanted.mode == "required":
        raise InvalidRequest("tool_choice: a call is required and no tool is allowed", param="tool_choice")
    return Choice(tools, "required" if wanted.mode == "required" else "auto")


def _named(chosen: ChosenTool, book: ToolBook) -> list[Tool]:
    """The tools that a choice names: one, or all of a namespace."""
    found = [tool.tool for tool in book.tools.values() if _is_meant(tool, chosen)]
    if not found:
        name = chosen.name or chosen.type
        offered = ", ".join(list(book.tools)[:MAX_LISTED_TOOLS])
        raise InvalidRequest(f"tool_choice: {name!r} is not offered; offered: {offered}", param="tool_choice")
    return found


def _is_meant(tool: OfferedTool, chosen: ChosenTool) -> bool:
    if chosen.type == "namespace":
        return tool.namespace == chosen.name != ""
    if chosen.type != tool.kind:
        return False
    return chosen.type == TOOL_SEARCH or (tool.name, tool.namespace) == (chosen.name, chosen.namespace or "")

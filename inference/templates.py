"""ChatTemplate: a model's own chat template, rendered in the sandbox of template_sandbox.py.

What a template raises is the client's to read: InvalidRequest with the template's own words. A
template that cannot be compiled, or that exceeds its limits on a conversation of one line, is the
model file's fault: InvalidModelFile.

Variables that a template sees, as transformers gives them: `messages`, `tools` (None if there are none),
`add_generation_prompt` (true), `bos_token`, `eos_token`, the functions `raise_exception`,
`strftime_now`, `range`, `dict` and `namespace`, and the request's `template_kwargs`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import Template, nodes
from jinja2.exceptions import TemplateSyntaxError, UndefinedError
from jinja2.sandbox import safe_range
from jinja2.utils import Namespace

from inference.chat import ChatRequest
from inference.errors import InvalidModelFile, InvalidRequest
from inference.reasoning_style import detect_reasoning
from inference.template_filters import FILTERS, TESTS
from inference.template_messages import template_messages
from inference.template_meter import RENDER_CPU_S, LimitExceeded, Meter
from inference.template_methods import METHODS
from inference.template_probes import probed
from inference.template_reasoning import find_switches
from inference.template_sandbox import BoundedEnvironment
from inference.template_tools import ToolText, functions_text, template_tools

MAX_SOURCE_BYTES: Final = 512 * 1024
MAX_KWARGS: Final = 64
MAX_DATE_FORMAT_CHARS: Final = 200
MAX_MESSAGE_CHARS: Final = 500

FALLBACK: Final = """\
{%- for message in messages -%}
{{- message.role | capitalize + ': ' + message.content + '\\n\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}Assistant:{% endif -%}
"""
"""For base models, which have no chat template and know no markers: `User: …`, blank line, `Assistant:`."""

_REMEDY = "use another model file, or set chat_template to a file of your own"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_RESERVED = frozenset(
    "messages tools add_generation_prompt bos_token eos_token "
    "raise_exception strftime_now range dict namespace".split()
)


class TemplateRefusal(Exception):
    """The template called `raise_exception`."""


def local_time() -> datetime:
    return datetime.now(UTC).astimezone()


class ChatTemplate:
    """Thread-safe. `now` is what `strftime_now` tells; `render_cpu_s` the processor time of one render."""

    def __init__(
        self,
        source: str,
        *,
        bos_token: str,
        eos_token: str,
        now: Callable[[], datetime] = local_time,
        render_cpu_s: float = RENDER_CPU_S,
    ) -> None:
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._render_cpu_s = render_cpu_s
        self.source = source
        self.reasoning_style = detect_reasoning(source)
        self._environment = BoundedEnvironment(FILTERS, TESTS, _functions(now), METHODS)
        self._one_at_a_time = threading.Lock()  # protects the environment's meter
        self._now = now
        self._template, self._mentions = _compiled(self._environment, source)
        probes = _Probes(self._render_variables, Meter(render_cpu_s))
        self.switches = find_switches(self._mentions.variables, self._mentions.literals, probes.accepts)
        self.shape = probed(source, probes.shown, self.reasoning_style, self.switches)

    def render(
        self, request: ChatRequest, tool_text: ToolText | None = None, *, all_told: bool = False
    ) -> str:
        """The prompt, ending where the model's answer begins. Raises InvalidRequest.

        `tool_text` tells tools in words where this template knows none; `all_told`: even if it knows some.
        """
        _check_kwargs(request.template_kwargs)
        shape = replace(self.shape, tools=False, calls="text", results=False) if all_told else self.shape
        tools = request.tools if shape.tools else ()
        variables = (
            self.switches.variables(request.reasoning)
            | request.template_kwargs
            | {
                "messages": template_messages(request, shape, self.reasoning_style, tool_text),
                "tools": template_tools(
                    tools, empty_is_list=shape.tools_as_list, described=shape.described_parameters
                ),
            }
        )
        try:
            return self._render_variables(variables, Meter(self._render_cpu_s))
        except TemplateRefusal as refusal:
            raise InvalidRequest(
                f"the model's chat template refuses this conversation: {refusal}", param="messages"
            ) from refusal
        except Exception as error:  # the template is foreign code: anything may come out of it
            raise InvalidRequest(
                f"the model's chat template cannot render this conversation: {_explained(error)}",
                param="messages",
            ) from error

    def _render_variables(self, variables: Mapping[str, Any], meter: Meter) -> str:
        given = {**self._given(variables["tools"]), **variables}
        for value in given.values():
            meter.allow_input(value)
        context = self._template.new_context({**given, **self._tokens, "add_generation_prompt": True})
        with self._one_at_a_time:
            self._environment.meter = meter
            # Not Template.render: it rewrites tracebacks, which after a deep recursion takes longest of all.
            return self._environment.concat(self._template.root_render_func(context))

    def _given(self, tools: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
        """What a few templates read beside `tools`, where this one does."""
        given = {"functions": functions_text(tools or ()), "datetime": self._now().strftime("%d %B %Y")}
        return {name: value for name, value in given.items() if name in self._mentions.variables}


def _functions(now: Callable[[], datetime]) -> dict[str, Callable[..., Any]]:
    def raise_exception(message: object = "") -> None:
        raise TemplateRefusal(
            _short(str(message) if isinstance(message, str | int | float) else "(no message)")
        )

    def strftime_now(date_format: str) -> str:
        if len(date_format) > MAX_DATE_FORMAT_CHARS:
            raise LimitExceeded(f"it formatted a date with more than {MAX_DATE_FORMAT_CHARS} characters")
        return now().strftime(date_format)

    return {
        "dict": dict,
        "namespace": Namespace,
        "raise_exception": raise_exception,
        "range": safe_range,
        "strftime_now": strftime_now,
    }


@dataclass(frozen=True, slots=True)
class _Mentions:
    """Names that a template may read from outside, and texts that it writes out in its code."""

    variables: frozenset[str]
    literals: frozenset[str]


class _Probes:
    """Small conversations, rendered with one meter for all."""

    def __init__(self, render: Callable[[Mapping[str, Any], Meter], str], meter: Meter) -> None:
        self._render = render
        self._meter = meter

    def shown(self, variables: Mapping[str, Any]) -> str:
        try:
            return self._render(variables, self._meter)
        except LimitExceeded as error:
            raise InvalidModelFile(
                f"the chat template exceeds its limits on one short message: {error}: {_REMEDY}"
            ) from error
        except Exception:  # noqa: BLE001 - whatever it is, the template cannot do this
            return ""

    def accepts(self, variables: Mapping[str, Any]) -> bool:
        message = {"role": "user", "content": "probe"}
        return bool(self.shown({**variables, "messages": [message], "tools": None}))


def _compiled(environment: BoundedEnvironment, source: str) -> tuple[Template, _Mentions]:
    n_bytes = len(source.encode("utf-8", "surrogatepass"))
    if n_bytes > MAX_SOURCE_BYTES:
        raise InvalidModelFile(
            f"the chat template has {n_bytes} bytes, more than {MAX_SOURCE_BYTES}: {_REMEDY}"
        )
    try:
        tree = environment.parse(source)
        mentions = _mentions(tree)
        return environment.from_string(tree), mentions
    except Exception as error:  # from Jinja's parser, its compiler or Python's, given any text at all
        raise InvalidModelFile(
            f"the chat template cannot be compiled: {_explained(error)}: {_REMEDY}"
        ) from error


def _mentions(tree: nodes.Template) -> _Mentions:
    names = (node.name for node in tree.find_all(nodes.Name) if node.ctx == "load")
    constants = (node.value for node in tree.find_all(nodes.Const))
    return _Mentions(frozenset(names), frozenset(text for text in constants if isinstance(text, str)))


def _check_kwargs(kwargs: Mapping[str, Any]) -> None:
    param = "chat_template_kwargs"
    if len(kwargs) > MAX_KWARGS:
        raise InvalidRequest(f"{param} has {len(kwargs)} keys, {MAX_KWARGS} at most", param=param)
    for name in kwargs:
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"{param}: {_short(name)!r} cannot be the name of a variable", param=param)
        if name in _RESERVED:
            raise InvalidRequest(f"{param}: {name!r} is set by the server and cannot be given", param=param)


def _explained(error: Exception) -> str:
    match error:
        case TemplateSyntaxError():
            return f"line {error.lineno}: {_short(error.message or '')}"
        case LimitExceeded() | UndefinedError():
            return _short(str(error))
        case RecursionError():
            return "it recurses too deeply"
        case MemoryError():
            return "it needs too much memory"
        case _:
            return _short(f"{error} ({type(error).__name__})")


def _short(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_CHARS else text[:MAX_MESSAGE_CHARS] + "…"

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
from datetime import UTC, datetime
from itertools import product
from typing import Any, Final

from jinja2.exceptions import TemplateSyntaxError, UndefinedError
from jinja2.sandbox import safe_range
from jinja2.utils import Namespace

from inference.chat import ChatRequest
from inference.errors import InvalidModelFile, InvalidRequest
from inference.template_filters import FILTERS, METHODS, TESTS
from inference.template_messages import Shape, TemplateMessage, template_messages, template_tools
from inference.template_meter import RENDER_CPU_S, LimitExceeded, Meter
from inference.template_sandbox import BoundedEnvironment

MAX_SOURCE_BYTES: Final = 512 * 1024
MAX_KWARGS: Final = 64
MAX_DATE_FORMAT_CHARS: Final = 200
MAX_MESSAGE_CHARS: Final = 500

FALLBACK: Final = """\
{%- if tools %}{{ 'Tools: ' + tools | tojson + '\\n\\n' }}{% endif -%}
{%- for message in messages -%}
{{- message.role | capitalize + ': ' + message.content -}}
{%- for call in message.tool_calls -%}
{{- '\\n' + call.function | tojson -}}
{%- endfor -%}
{{- '\\n\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}Assistant:{% endif -%}
"""
"""For base models, which have no chat template and know no markers: `User: …`, blank line, `Assistant:`.
Tools and calls are shown as JSON."""

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
        self._environment = BoundedEnvironment(FILTERS, TESTS, _functions(now), METHODS)
        self._one_at_a_time = threading.Lock()  # protects the environment's meter
        self._template = _compiled(self._environment, source)
        self.shape = _probed(source, self._render, Meter(render_cpu_s))

    def render(self, request: ChatRequest) -> str:
        """The prompt, ending where the model's answer begins. Raises InvalidRequest."""
        _check_kwargs(request.template_kwargs)
        variables = request.template_kwargs | {
            "messages": template_messages(request, self.shape),
            "tools": template_tools(request.tools, self.shape),
        }
        try:
            return self._render(variables, Meter(self._render_cpu_s))
        except TemplateRefusal as refusal:
            raise InvalidRequest(
                f"the model's chat template refuses this conversation: {refusal}", param="messages"
            ) from refusal
        except Exception as error:  # the template is foreign code: anything may come out of it
            raise InvalidRequest(
                f"the model's chat template cannot render this conversation: {_explained(error)}",
                param="messages",
            ) from error

    def _render(self, variables: Mapping[str, Any], meter: Meter) -> str:
        meter.allow_input(sum(map(meter.weigh, variables.values())))
        context = self._template.new_context({**variables, **self._tokens, "add_generation_prompt": True})
        with self._one_at_a_time:
            self._environment.meter = meter
            # Not Template.render: it rewrites tracebacks, which after a deep recursion takes longest of all.
            return self._environment.concat(self._template.root_render_func(context))


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


def _compiled(environment: BoundedEnvironment, source: str) -> Any:
    n_bytes = len(source.encode("utf-8", "surrogatepass"))
    if n_bytes > MAX_SOURCE_BYTES:
        raise InvalidModelFile(
            f"the chat template has {n_bytes} bytes, more than {MAX_SOURCE_BYTES}: {_REMEDY}"
        )
    try:
        return environment.from_string(source)
    except Exception as error:  # from Jinja's parser, its compiler or Python's, given any text at all
        raise InvalidModelFile(
            f"the chat template cannot be compiled: {_explained(error)}: {_REMEDY}"
        ) from error


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


# --- what a template can express -----------------------------------------------------------------

_SYSTEM, _OTHER_SYSTEM, _USER, _OTHER_USER = "probe-system", "probe-rule", "probe-user", "probe-more"
_KEY = "probe-key"
_CALL_ID = "abcdefgh1"  # nine letters and digits, which is all that some templates accept

Render = Callable[[Mapping[str, Any], Meter], str]
Shown = Callable[[Sequence[TemplateMessage], list[object] | None], str]


def _probed(source: str, render: Render, meter: Meter) -> Shape:
    """Small conversations show what the template refuses or loses. All of them share one meter."""

    def shown(messages: Sequence[TemplateMessage], tools: list[object] | None) -> str:
        try:
            return render({"messages": messages, "tools": tools}, meter)
        except LimitExceeded as error:
            raise InvalidModelFile(
                f"the chat template exceeds its limits on one short message: {error}: {_REMEDY}"
            ) from error
        except Exception:  # noqa: BLE001 - whatever it is, the template cannot do this
            return ""

    as_parts, as_list = _first_that_shows(shown)

    def shows_all(*said: tuple[str, str]) -> bool:
        text = shown([_said(role, content, as_parts) for role, content in said], [] if as_list else None)
        return all(content in text for _, content in said)

    system, user = ("system", _SYSTEM), ("user", _USER)
    return Shape(
        text_as_parts=as_parts,
        tools_as_list=as_list,
        arguments_as_text=_wants_arguments_as_text(shown, as_parts),
        developer_role="developer" in source,
        system_role=shows_all(system, user),
        several_system=shows_all(system, ("system", _OTHER_SYSTEM), user),
        late_system=shows_all(user, ("assistant", "ok"), ("system", _OTHER_SYSTEM), ("user", _OTHER_USER)),
        consecutive_users=shows_all(user, ("user", _OTHER_USER)),
    )


def _first_that_shows(shown: Shown) -> tuple[bool, bool]:
    """(text as parts, no tools as empty list): the plainest way in which one user message is shown."""
    for as_parts, as_list in product((False, True), (False, True)):
        text = shown([_said("user", _USER, as_parts)], [] if as_list else None)
        # The text of the parts, that is; not the list in Python's notation or JSON.
        if _USER in text and not (as_parts and re.search(r"""['"]text['"]""", text)):
            return as_parts, as_list
    return False, False


def _wants_arguments_as_text(shown: Shown, as_parts: bool) -> bool:
    def called(arguments: object) -> str:
        call = {"id": _CALL_ID, "type": "function", "function": {"name": "probe", "arguments": arguments}}
        answer = _said("assistant", "", as_parts) | {"tool_calls": [call]}
        result = _said("tool", "ok", as_parts) | {"tool_call_id": _CALL_ID, "name": "probe"}
        return shown([_said("user", _USER, as_parts), answer, result], [])

    as_object = called({_KEY: "x"})
    if _KEY in as_object and f"'{_KEY}'" not in as_object:
        return False
    return f'"{_KEY}"' in called(f'{{"{_KEY}": "x"}}')


def _said(role: str, text: str, as_parts: bool) -> TemplateMessage:
    return {"role": role, "content": [{"type": "text", "text": text}] if as_parts else text}

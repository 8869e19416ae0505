"""What a chat template can express, found by rendering small conversations with it.

A template is a program that nobody documents: what it refuses, and what it silently leaves out, shows
in its output alone. Everything here is rendered once, when the model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any, Final, get_args

from inference.chat import Reasoning, Tool, ToolCall
from inference.reasoning_style import ReasoningStyle
from inference.template_messages import Shape, TemplateMessage
from inference.template_reasoning import ReasoningField, Switches, between_markers
from inference.template_tools import CallForm, template_call, template_tools

Renders = Callable[[Mapping[str, Any]], str]
"""Template variables to text; "" for what the template refuses."""

_SYSTEM, _OTHER_SYSTEM, _USER, _OTHER_USER = "probe-system", "probe-rule", "probe-user", "probe-more"
_ANSWER, _OTHER_ANSWER, _REASON = "probe-answer", "probe-then", "probe-reason"
_TOOL, _KEY, _VALUE, _OTHER_VALUE = "probe_tool", "probe_key", "probe-value", "probe-second"
_RESULT, _OTHER_RESULT = "probe-result", "probe-outcome"
# Nine letters and digits, which is all that some templates accept; and what clients send.
_ID, _OTHER_ID, _LONG_ID = "abcdefgh1", "abcdefgh2", "call_0123456789abcdefghijkl"

_PARAMETERS: Final = {
    "type": "object",
    "properties": {
        _KEY: {"type": "string", "description": "what"},
        "others": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": [_KEY],
}


def probed(source: str, renders: Renders, style: ReasoningStyle | None, switches: Switches) -> Shape:
    return _Probe(source, renders, style, switches).shape()


class _Probe:
    def __init__(
        self, source: str, renders: Renders, style: ReasoningStyle | None, switches: Switches
    ) -> None:
        self._source = source
        self._renders = renders
        self._style = style
        self._reasoning = switches.variables(Reasoning(enabled=True))
        self._shape = Shape()
        self._tools: list[dict[str, Any]] | None = None

    def shape(self) -> Shape:
        self._found(*_plainest(self._shown))
        self._find_roles()
        self._find_tools()
        self._find_calls()
        self._find_reasoning()
        return self._shape

    # --- one after the other: each builds on what is known ---

    def _find_roles(self) -> None:
        system, user = ("system", _SYSTEM), ("user", _USER)
        knows_developers = "developer" in self._source and self._says(("developer", _OTHER_SYSTEM), user)
        self._shape = replace(
            self._shape,
            developer_role=knows_developers,
            system_role=self._says(system, user),
            several_system=self._says(system, ("system", _OTHER_SYSTEM), user),
            late_system=self._says(
                user, ("assistant", _ANSWER), ("system", _OTHER_SYSTEM), ("user", _OTHER_USER)
            ),
            consecutive_users=self._says(user, ("user", _OTHER_USER)),
            consecutive_answers=self._says(
                user, ("assistant", _ANSWER), ("assistant", _OTHER_ANSWER), ("user", _OTHER_USER)
            ),
            empty_answers=self._says(user, ("assistant", ""), ("assistant", _ANSWER), ("user", _OTHER_USER))
            or self._says(user, ("assistant", ""), ("user", _OTHER_USER)),
        )

    def _find_tools(self) -> None:
        for described in (False, True):
            tools = template_tools(
                [Tool(name=_TOOL, description="d", parameters=_PARAMETERS)],
                empty_is_list=False,
                described=described,
            )
            text = self._shown([self._said("user", _USER)], tools)
            if _TOOL in text and _KEY in text:
                self._tools = tools
                self._shape = replace(self._shape, described_parameters=described)
                return
        self._shape = replace(self._shape, tools=False)

    def _find_calls(self) -> None:
        form = self._call_form()
        if form is None:
            # Calls will be in the text, and the template's own way with results may still be of use.
            answer = self._said("assistant", _ANSWER)
            conversation = [self._said("user", _USER), answer, self._result(_RESULT)]
            shows_results = self._shape.tools and self._has(conversation, _USER, _ANSWER, _RESULT)
            self._shape = replace(self._shape, calls="text", results=shows_results)
            return
        if not self._calls(form, _LONG_ID):
            form = replace(form, long_ids=False)
        self._shape = replace(self._shape, calls=form)
        user, called, result = self._said("user", _USER), self._called(form), self._result(_RESULT)
        self._shape = replace(self._shape, results=self._has([user, called, result], _USER, _VALUE, _RESULT))
        if self._shape.results:
            system = self._said("system", _SYSTEM)
            more = self._said("user", _OTHER_USER)
            self._shape = replace(
                self._shape,
                # Of no use if it is gone as soon as a tool was called.
                system_role=self._shape.system_role
                and self._has([system, user, called, result], _SYSTEM, _RESULT),
                user_after_result=self._has([user, called, result, more], _RESULT, _OTHER_USER),
            )
        second = template_call(self._call(_OTHER_VALUE, _OTHER_ID), form)
        both = called | {"tool_calls": [*called["tool_calls"], second]}
        results = [result, self._result(_OTHER_RESULT, _OTHER_ID)]
        shown = self._shown([user, both, *results], self._tools)
        self._shape = replace(
            self._shape,
            several_calls=_VALUE in shown and _OTHER_VALUE in shown,
            text_with_calls=self._text_with_calls(called, result),
        )

    def _find_reasoning(self) -> None:
        fields: tuple[ReasoningField, ...] = get_args(ReasoningField)
        read = [field for field in fields if self._reads(field)]
        if not read:
            return
        self._shape = replace(self._shape, reasoning=read[0])
        form = self._shape.calls
        if form == "text" or read[0] in ("parts", "tags"):
            return
        called = self._called(form) | {"content": self._content(_ANSWER)}
        user, result = self._said("user", _USER), self._result(_RESULT)
        if self._has([user, called, result], _VALUE):
            thought = called | {read[0]: _REASON}
            with_both = self._has([user, thought, result], _VALUE, variables=self._reasoning)
            self._shape = replace(self._shape, reasoning_with_text=with_both)

    # --- questions ---

    def _call_form(self) -> CallForm | None:
        """The plainest in which name, arguments and, if possible, the result are shown."""
        forms = [
            CallForm(flat=flat, arguments_as_text=as_text, no_text_is_none=none)
            for none, flat, as_text in product((False, True), repeat=3)
        ]
        with_result = (form for form in forms if self._calls(form, _ID))
        return next(with_result, None) or next(
            (form for form in forms if self._calls(form, _ID, with_result=False)), None
        )

    def _calls(self, form: CallForm, id_: str, *, with_result: bool = True) -> bool:
        messages = [self._said("user", _USER), self._called(form, id_)]
        if with_result:
            messages.append(self._result(_RESULT, id_))
        text = self._shown(messages, self._tools)
        said = text.rpartition(_USER)[2]
        # Not as Python would show it.
        as_json = _KEY in said and _VALUE in said and f"'{_KEY}'" not in said
        return as_json and _TOOL in said and (_RESULT in said or not with_result)

    def _text_with_calls(self, called: TemplateMessage, result: TemplateMessage) -> bool:
        user = self._said("user", _USER)
        together = [user, called | {"content": self._content(_ANSWER)}, result]
        # Text behind the calls, or even behind their results, is not where the model wrote it.
        if self._has(together, _ANSWER, _VALUE):
            return True
        # Where roles must alternate, but calls do not count, a later answer would be one too many.
        then = [self._said("assistant", _OTHER_ANSWER), self._said("user", _OTHER_USER)]
        apart = [user, self._said("assistant", _ANSWER), called, result, *then]
        return not self._has(apart, _ANSWER, _VALUE, _OTHER_ANSWER, _OTHER_USER)

    def _reads(self, field: ReasoningField) -> bool:
        """In a turn with calls, which is where most templates still show it, or in an earlier one."""
        if field in ("parts", "tags") and self._style is None:
            return False
        user, more = self._said("user", _USER), self._said("user", _OTHER_USER)
        thought = self._with_reasoning(self._said("assistant", _ANSWER), _ANSWER, field)
        conversations = [[user, thought, more]]
        if isinstance(form := self._shape.calls, CallForm):
            called = self._with_reasoning(self._called(form), "", field)
            conversations.insert(0, [user, called, self._result(_RESULT)])
        shown = [self._shown(messages, self._tools, self._reasoning) for messages in conversations]
        # Not as a list of parts is shown by whoever does not know parts.
        return any(_REASON in text and not re.search(r"""['"]thinking['"]: """, text) for text in shown)

    def _with_reasoning(self, message: TemplateMessage, text: str, field: ReasoningField) -> TemplateMessage:
        match field:
            case "parts":
                said = [{"type": "text", "text": text}] if text else []
                return message | {"content": [{"type": "thinking", "thinking": _REASON}, *said]}
            case "tags":
                assert self._style is not None
                return message | {"content": self._content(between_markers(_REASON, self._style, text))}
            case _:
                return message | {field: _REASON}

    # --- conversations ---

    def _found(self, as_parts: bool, as_list: bool) -> None:
        self._shape = replace(self._shape, text_as_parts=as_parts, tools_as_list=as_list)

    def _said(self, role: str, text: str) -> TemplateMessage:
        return {"role": role, "content": self._content(text)}

    def _content(self, text: str) -> Any:
        return [{"type": "text", "text": text}] if self._shape.text_as_parts else text

    def _call(self, value: str, id_: str) -> ToolCall:
        return ToolCall(id=id_, name=_TOOL, arguments=f'{{"{_KEY}": "{value}"}}')

    def _called(self, form: CallForm, id_: str = _ID) -> TemplateMessage:
        call = template_call(self._call(_VALUE, id_), replace(form, long_ids=True))
        content = None if form.no_text_is_none else self._content("")
        return {"role": "assistant", "content": content, "tool_calls": [call]}

    def _result(self, text: str, id_: str = _ID) -> TemplateMessage:
        return self._said("tool", text) | {"tool_call_id": id_, "name": _TOOL}

    def _shown(
        self,
        messages: list[TemplateMessage],
        tools: list[dict[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        if tools is None and self._shape.tools_as_list:
            tools = []
        return self._renders({**(variables or {}), "messages": messages, "tools": tools})

    def _has(
        self, messages: list[TemplateMessage], *texts: str, variables: Mapping[str, Any] | None = None
    ) -> bool:
        return _in_order(self._shown(messages, self._tools, variables), texts)

    def _says(self, *said: tuple[str, str]) -> bool:
        """Whether everything is shown, in the order in which it was said."""
        text = self._shown([self._said(role, content) for role, content in said])
        return bool(text) and _in_order(text, (content for _, content in said))


def _in_order(text: str, parts: Iterable[str]) -> bool:
    """The last places count: a system message may be repeated at the beginning."""
    place = len(text)
    for part in reversed(list(parts)):
        place = text.rfind(part, 0, place)
        if place < 0:
            return False
    return bool(text)


def _plainest(shown: Callable[..., str]) -> tuple[bool, bool]:
    """(text as parts, no tools as empty list): the plainest way in which one user message is shown."""
    for as_parts, as_list in product((False, True), repeat=2):
        content = [{"type": "text", "text": _USER}] if as_parts else _USER
        text = shown([{"role": "user", "content": content}], [] if as_list else None)
        # The text of the parts, that is; not the list in Python's notation or JSON.
        if _USER in text and not (as_parts and re.search(r"""['"]text['"]""", text)):
            return as_parts, as_list
    return False, False

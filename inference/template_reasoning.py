"""Reasoning, as one chat template has it: the variables that switch it, and its text in messages.

Templates agree on nothing here. Which variables one of them reads, and which values it knows, is
found in its source; what the request says itself in `chat_template_kwargs` counts more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import msgspec

from inference.chat import Message, Reasoning, ReasoningEffort
from inference.reasoning_style import ReasoningStyle

ReasoningField = Literal["reasoning_content", "reasoning", "thinking", "parts", "tags"]
"""Where a template reads an assistant's reasoning: a field of the message, a part of type `thinking`
of its content, or its text, between the model's own markers."""

_SWITCHES: Final = ("enable_thinking", "thinking", "enable_reasoning", "reasoning")
_MODES: Final = ("thinking_mode",)
_MODE_VALUES: Final = {True: "enabled", False: "disabled"}
_EFFORTS: Final = ("reasoning_effort", "thinking_effort", "reasoning_strength")
_BUDGETS: Final = ("thinking_budget",)
_BUDGET_TOKENS: Final[dict[ReasoningEffort, int]] = {
    "none": 0,
    "minimal": 512,
    "low": 1024,
    "medium": 4096,
    "high": 16384,
    "xhigh": -1,  # without a bound
}

_OFF: Final = ("none", "no_think")
_NAMES: Final[dict[ReasoningEffort, tuple[str, ...]]] = {
    "none": (*_OFF, "minimal", "low"),
    "minimal": ("minimal", "low"),
    "low": ("low", "medium", "high"),
    "medium": ("medium", "high", "low"),
    "high": ("high", "max", "medium"),
    "xhigh": ("xhigh", "max", "high"),
}
"""What templates call an effort, nearest first."""

_COMMON_NAMES: Final = frozenset({"low", "medium", "high"})
"""Names that a template may pass on to the model without naming them itself."""


@dataclass(frozen=True, slots=True)
class Switches:
    """`efforts`: for each variable the value of each effort; without an entry it is not set."""

    booleans: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    efforts: Mapping[str, Mapping[ReasoningEffort, str]] = field(default_factory=dict)
    budgets: tuple[str, ...] = ()
    off_unless_asked: tuple[str, ...] = ()
    """Effort variables that are the template's only switch, and have a value for off."""

    def variables(self, asked: Reasoning | None) -> dict[str, Any]:
        """The template variables that say what was asked; none for what was not."""
        if asked is None:
            return {}
        on, effort = _meant(asked)
        if on is None:
            return {}
        variables: dict[str, Any] = dict.fromkeys(self.booleans, on)
        variables |= dict.fromkeys(self.modes, _MODE_VALUES[on])
        if effort is not None:
            variables |= {name: values[effort] for name, values in self.efforts.items() if effort in values}
            variables |= dict.fromkeys(self.budgets, _BUDGET_TOKENS[effort])
        else:
            efforts = {name: self.efforts[name] for name in self.off_unless_asked}
            variables |= {name: values["high"] for name, values in efforts.items() if "high" in values}
        return variables


def _meant(asked: Reasoning) -> tuple[bool | None, ReasoningEffort | None]:
    match asked.enabled, asked.effort:
        case (False, _) | (None, "none"):
            return False, "none"
        case (True, "none"):
            return True, None
        case (enabled, effort):
            return (True if effort is not None else enabled), effort


def find_switches(
    variables: Set[str], literals: Set[str], renders: Callable[[Mapping[str, Any]], bool]
) -> Switches:
    """`variables`: what the template reads; `literals`: texts it writes out; `renders`: whether it takes
    these variables, which some check."""
    booleans = tuple(name for name in _SWITCHES if name in variables)
    modes = tuple(name for name in _MODES if name in variables and literals >= set(_MODE_VALUES.values()))
    budgets = tuple(name for name in _BUDGETS if name in variables)
    names = [name for name in _EFFORTS if name in variables]
    has_off = any(value in literals for value in _OFF)
    has_other = bool(booleans or modes)
    efforts: dict[str, dict[ReasoningEffort, str]] = {}
    for name in names:
        on = dict.fromkeys(booleans, True)
        efforts[name] = {}
        for effort in get_args(ReasoningEffort):
            if effort == "none" and has_other and not has_off:
                continue  # the other switch says it
            candidates = (value for value in _NAMES[effort] if value in literals or value in _COMMON_NAMES)
            accepted = (value for value in candidates if renders({**on, name: value}))
            if (value := next(accepted, None)) is not None:
                efforts[name][effort] = value
    return Switches(booleans, modes, efforts, budgets, tuple(names) if has_off and not has_other else ())


# --- reasoning in an assistant's text ------------------------------------------------------------


def reasoning_apart(messages: Iterable[Message], style: ReasoningStyle | None) -> tuple[Message, ...]:
    """Assistant messages whose text begins with reasoning between the model's markers have it as
    `reasoning`: clients that know no such field send it back as they got it."""
    return tuple(message if style is None else _apart(message, style) for message in messages)


def _apart(message: Message, style: ReasoningStyle) -> Message:
    text = message.content
    if message.role != "assistant" or message.reasoning or not isinstance(text, str):
        return message
    start, begun = style.start.strip(), text.lstrip()
    if not begun.startswith(start):
        return message
    reasoning, end, answer = begun[len(start) :].partition(style.end)
    if not end:
        return message
    return msgspec.structs.replace(message, reasoning=reasoning.strip("\n"), content=answer.lstrip("\n"))


def between_markers(reasoning: str, style: ReasoningStyle, text: str) -> str:
    """What the model wrote: reasoning between its markers, then the answer."""
    opened = style.start if style.start.endswith("\n") else style.start + "\n"
    return f"{opened}{reasoning}\n{style.end}\n\n{text}"

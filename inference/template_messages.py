"""A request's messages as one chat template expects them, bent as little as it needs.

Templates differ in what they can say. `Shape` records what one of them can, as found by
template_probes.py with small conversations, and `template_messages` changes only what it would
refuse or lose:

- a `developer` message is a system message to a template that does not know developers, or the other
  way round;
- several system messages at the beginning become one;
- without a system role, that text goes before the first user message;
- a later system message becomes a user message where it stands (behind tool results, which must follow
  their calls): moved to the front it would change the beginning of the prompt, and with it the cached
  prefix, at every turn;
- user messages in a row become one, and so do assistant messages;
- an assistant message that says nothing is left out;
- several calls of one message become messages of one call, each followed by its result; text beside
  calls becomes a message of its own;
- between tool results and a user message stands an assistant's `OK.`;
- text parts become one string, lines between them (or one text part, if only that is shown);
- reasoning goes where the template reads it, or nowhere;
- tools, calls and results that the template does not know are told as text (template_tools.py).

Everything else is said by the template itself: what it raises reaches the client.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Final, Literal

from inference.chat import ChatRequest, ImagePart, Message, ToolCall
from inference.errors import InvalidRequest
from inference.reasoning_style import ReasoningStyle
from inference.template_reasoning import ReasoningField, between_markers, reasoning_apart
from inference.template_tools import NESTED, CallForm, ToolText, call_id, result_text, template_call

BETWEEN_MERGED: Final = "\n\n"
BETWEEN_PARTS: Final = "\n"
ACKNOWLEDGED: Final = "OK."

TemplateMessage = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a template can express. The defaults are those of one that can express everything."""

    text_as_parts: bool = False
    tools_as_list: bool = False
    developer_role: bool = False
    system_role: bool = True
    several_system: bool = True
    late_system: bool = True
    consecutive_users: bool = True
    consecutive_answers: bool = True
    empty_answers: bool = True
    user_after_result: bool = True
    tools: bool = True
    described_parameters: bool = False
    """Every parameter needs a description, and a type."""
    calls: CallForm | Literal["text"] = NESTED
    results: bool = True
    several_calls: bool = True
    text_with_calls: bool = True
    reasoning: ReasoningField | None = None
    reasoning_with_text: bool = True
    """Beside calls; else reasoning and text are one."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A message on its way."""

    role: str
    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    name: str = ""
    is_result: bool = False  # told by a user

    @property
    def is_system(self) -> bool:
        return self.role in ("system", "developer")


def template_messages(
    request: ChatRequest, shape: Shape, style: ReasoningStyle | None, tool_text: ToolText | None
) -> list[TemplateMessage]:
    """Raises InvalidRequest for an image: no model served by this engine sees. `tool_text` is needed where
    the request has tools, calls or results that the template does not know."""
    messages = reasoning_apart(request.messages, style)
    turns = [_turn(message, f"messages[{n}]", request.model) for n, message in enumerate(messages)]
    turns = _results_named(turns)
    if request.tools and not shape.tools:
        turns = _told(turns, _needed(tool_text).instructions(request.tools))
    if shape.calls == "text":
        turns = [_call_told(turn, tool_text) for turn in turns]
    if not shape.results:
        turns = [_result_told(turn) for turn in turns]
    if not shape.reasoning_with_text:
        turns = [_reasoning_with_text(turn) for turn in turns]
    turns = _developers_known(turns, shape)
    turns = _system_where_it_may_be(turns, shape)
    turns = _answers_as_they_may_be(turns, shape)
    turns = _merged_in_a_row(turns, shape)
    if not shape.user_after_result:
        turns = _acknowledged(turns)
    asked = (n for n, turn in enumerate(turns) if turn.role == "user" and not turn.is_result)
    last_user = max(asked, default=-1)
    return [_message(turn, shape, style, now=n > last_user) for n, turn in enumerate(turns)]


def _turn(message: Message, where: str, model: str) -> Turn:
    return Turn(
        role=message.role,
        text=_text(message, where, model),
        reasoning=message.reasoning,
        calls=message.tool_calls,
        call_id=message.tool_call_id,
        name=message.name,
    )


def _text(message: Message, where: str, model: str) -> str:
    if isinstance(message.content, str):
        return message.content
    texts: list[str] = []
    for part in message.content:
        if isinstance(part, ImagePart):
            raise InvalidRequest(
                f"{where} has an image, and model {model!r} cannot see images: send text only",
                param="messages",
            )
        texts.append(part.text)
    return BETWEEN_PARTS.join(texts)


def _results_named(turns: list[Turn]) -> list[Turn]:
    """Results have the name of the function that was called: some templates show nothing else of it."""
    names = {call.id: call.name for turn in turns for call in turn.calls}
    return [
        replace(turn, name=names[turn.call_id])
        if turn.role == "tool" and not turn.name and turn.call_id in names
        else turn
        for turn in turns
    ]


# --- tools as text -------------------------------------------------------------------------------


def _needed(tool_text: ToolText | None) -> ToolText:
    if tool_text is None:
        raise InvalidRequest("the model's chat template knows no tools: send none", param="tools")
    return tool_text


def _told(turns: list[Turn], instructions: str) -> list[Turn]:
    """In the first system message, so that the beginning of the prompt stays the same at every turn."""
    if not turns or not turns[0].is_system:
        return [Turn("system", instructions), *turns]
    return [replace(turns[0], text=_joined(turns[0].text, instructions)), *turns[1:]]


def _call_told(turn: Turn, tool_text: ToolText | None) -> Turn:
    if not turn.calls:
        return turn
    return replace(turn, text=_joined(turn.text, _needed(tool_text).render(turn.calls)), calls=())


def _result_told(turn: Turn) -> Turn:
    if turn.role != "tool":
        return turn
    return Turn("user", result_text(turn.name, turn.text), is_result=True)


# --- system messages -----------------------------------------------------------------------------


def _developers_known(turns: list[Turn], shape: Shape) -> list[Turn]:
    if shape.developer_role and shape.system_role:
        return turns
    known = "developer" if shape.developer_role else "system"
    return [replace(turn, role=known) if turn.is_system else turn for turn in turns]


def _system_where_it_may_be(turns: list[Turn], shape: Shape) -> list[Turn]:
    first = list(takewhile(lambda turn: turn.is_system, turns))
    later = turns[len(first) :]
    has_role = shape.system_role or shape.developer_role
    if not (shape.late_system and has_role):
        later = _said_by_users(later)
    if has_role:
        return ([_merged(first)] if len(first) > 1 and not shape.several_system else first) + later
    if not first:
        return later
    place = next((n for n, turn in enumerate(later) if turn.role == "user"), None)
    if place is None:
        return [replace(_merged(first), role="user"), *later]
    return [*later[:place], _merged([*first, later[place]]), *later[place + 1 :]]


def _said_by_users(turns: list[Turn]) -> list[Turn]:
    """System messages as user messages, behind the tool results that they stand before."""
    said: list[Turn] = []
    waiting: list[Turn] = []
    for turn in turns:
        if turn.is_system:
            waiting.append(replace(turn, role="user"))
            continue
        if turn.role != "tool":
            said += waiting
            waiting = []
        said.append(turn)
    return said + waiting


# --- assistant messages --------------------------------------------------------------------------


def _reasoning_with_text(turn: Turn) -> Turn:
    if not (turn.calls and turn.reasoning and turn.text):
        return turn
    return replace(turn, reasoning=_joined(turn.reasoning, turn.text), text="")


def _answers_as_they_may_be(turns: list[Turn], shape: Shape) -> list[Turn]:
    if not shape.empty_answers:
        turns = [turn for turn in turns if turn.role != "assistant" or turn.text or turn.calls]
    if not shape.several_calls:
        turns = list(_one_call_at_a_time(turns))
    if not shape.text_with_calls:
        turns = [part for turn in turns for part in _text_before_calls(turn)]
    return turns


def _one_call_at_a_time(turns: list[Turn]) -> Iterator[Turn]:
    place = 0
    while place < len(turns):
        turn = turns[place]
        place += 1
        if len(turn.calls) < 2:
            yield turn
            continue
        results = list(takewhile(lambda result: result.role == "tool", turns[place:]))
        place += len(results)
        for n, call in enumerate(turn.calls):
            said = turn if n == 0 else Turn("assistant")
            yield replace(said, calls=(call,))
            yield from (result for result in results if result.call_id == call.id)
        known = {call.id for call in turn.calls}
        yield from (result for result in results if result.call_id not in known)


def _text_before_calls(turn: Turn) -> list[Turn]:
    if not (turn.calls and turn.text):
        return [turn]
    return [Turn("assistant", turn.text), replace(turn, text="")]


# --- who may follow whom -------------------------------------------------------------------------


def _merged_in_a_row(turns: list[Turn], shape: Shape) -> list[Turn]:
    roles = ("user",) * (not shape.consecutive_users) + ("assistant",) * (not shape.consecutive_answers)
    fitting: list[Turn] = []
    for turn in turns:
        apart = turn.calls and not shape.text_with_calls
        if fitting and turn.role == fitting[-1].role and turn.role in roles and not apart:
            fitting[-1] = _merged([fitting[-1], turn])
        else:
            fitting.append(turn)
    return fitting


def _acknowledged(turns: list[Turn]) -> list[Turn]:
    fitting: list[Turn] = []
    for turn in turns:
        if turn.role == "user" and fitting and fitting[-1].role == "tool":
            fitting.append(Turn("assistant", ACKNOWLEDGED))
        fitting.append(turn)
    return fitting


def _merged(turns: Sequence[Turn]) -> Turn:
    """The last of them, with what all of them say."""
    return replace(
        turns[-1],
        text=_joined(*(turn.text for turn in turns)),
        reasoning=_joined(*(turn.reasoning for turn in turns)),
        calls=tuple(call for turn in turns for call in turn.calls),
    )


def _joined(*texts: str) -> str:
    return BETWEEN_MERGED.join(filter(None, texts))


# --- as a template reads it ----------------------------------------------------------------------


def _message(turn: Turn, shape: Shape, style: ReasoningStyle | None, *, now: bool) -> TemplateMessage:
    """`now`: no user message follows, so the reasoning still matters."""
    message: TemplateMessage = {"role": turn.role, "content": _content(turn, shape, style, now=now)}
    if turn.reasoning and shape.reasoning in ("reasoning_content", "reasoning", "thinking"):
        message[shape.reasoning] = turn.reasoning
    if turn.calls and isinstance(shape.calls, CallForm):
        message["tool_calls"] = [template_call(call, shape.calls) for call in turn.calls]
        if shape.calls.no_text_is_none and not turn.text:
            message["content"] = None
    if turn.call_id:
        long_ids = not isinstance(shape.calls, CallForm) or shape.calls.long_ids
        message["tool_call_id"] = turn.call_id if long_ids else call_id(turn.call_id)
    if turn.name:
        message["name"] = turn.name
    return message


def _content(turn: Turn, shape: Shape, style: ReasoningStyle | None, *, now: bool) -> Any:
    text = turn.text
    if turn.reasoning and shape.reasoning == "tags" and style is not None and now:
        text = between_markers(turn.reasoning, style, text)
    if turn.reasoning and shape.reasoning == "parts":
        thought = {"type": "thinking", "thinking": turn.reasoning}
        return [thought, {"type": "text", "text": text}] if text else [thought]
    return [{"type": "text", "text": text}] if shape.text_as_parts else text

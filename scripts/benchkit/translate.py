"""What translating between dialects costs, per request and per streamed event, beyond the chat path.

Request: a conversation of a coding harness (30 tools with descriptions, turns with calls and results) of
about 50 KB, as the body of each dialect; the cost is that of decoding it and of what surrounds the events of
a streamed answer, less the same for Chat Completions in the same round; the same for an answer in one piece,
of 500 tokens. Upstream: the same conversation as the body that a provider
of each dialect is sent, absolute, for a route that is not translated sends bytes on as they came.
Event: one token at a time through the server's encoder, and its bytes one event at a time through the
client's decoder.

Dialects take turns within a round, and the figure is the median over the rounds, by the clock; CPU time
stands beside it, which says more on a busy machine.

Examples:
    scripts/bench-translate
    scripts/bench-translate --rounds 5 --kilobytes 200
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import click
import msgspec

from benchkit.figures import figure, machine, median, note
from benchkit.harness_tools import harness_tools
from inference.chat import (
    ChatEvent,
    ChatRequest,
    Finish,
    Message,
    Reasoning,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from proxy.answer import NO_WAITS, Answer, Served
from proxy.dialects import (
    anthropic_messages,
    chat_client,
    chat_completions,
    messages_client,
    responses,
    responses_client,
)
from proxy.messages_request import MessagesTerms
from proxy.responses_request import ResponsesTerms

RUNS_A_ROUND = 20
N_TOKENS = 500
SERVED = Served("42", "smol", 1_700_000_000)
FINISH = Finish(reason="tool_calls", usage=Usage(input_tokens=12_000, output_tokens=N_TOKENS))


@dataclass(frozen=True, slots=True)
class Dialect:
    """Both halves. `terms`: of a server that takes everything."""

    name: str
    server: Any
    client: Any
    terms: tuple[Any, ...] = ()


CHAT = Dialect("chat", chat_completions, chat_client)
OTHERS = (
    Dialect(
        "messages",
        anthropic_messages,
        messages_client,
        (MessagesTerms(unsigned_thoughts=True, late_system=True),),
    ),
    Dialect("responses", responses, responses_client, (ResponsesTerms(unsigned_thoughts=True),)),
)
DIALECTS = (CHAT, *OTHERS)


@dataclass(slots=True)
class Costs:
    """Seconds for one of them, one value per round: by the clock, and of CPU."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def take(self, run: Callable[[], object], *, does: int = 1) -> None:
        """The median of some runs, each of which does so many: others use the machine too."""
        wall, cpu = [], []
        for _ in range(RUNS_A_ROUND):
            began_s, computed_s = time.perf_counter(), time.thread_time()
            run()
            cpu.append((time.thread_time() - computed_s) / does)
            wall.append((time.perf_counter() - began_s) / does)
        self.wall.append(median(wall))
        self.cpu.append(median(cpu))


Measured = dict[str, Costs]


@click.command(help=__doc__, context_settings={"max_content_width": 100})
@click.option("--rounds", default=15, show_default=True)
@click.option("--kilobytes", default=50, show_default=True, help="Of the chat body.")
def main(rounds: int, kilobytes: int) -> None:
    request = conversation(1000 * kilobytes)
    decode, encode, frame, whole, told, read = (measured() for _ in range(6))
    for number in range(rounds + 1):
        for dialect in DIALECTS if number % 2 else DIALECTS[::-1]:
            bodies(dialect, request, decode, encode)
            answers(dialect, request, frame, whole)
            events(dialect, request, told, read)
        note(
            f"round {number}: "
            + ", ".join(f"{d.name} {1000 * decode[d.name].wall[-1]:.2f} ms" for d in DIALECTS)
        )
    for costs in (decode, encode, frame, whole, told, read):
        for one in costs.values():
            del one.wall[0], one.cpu[0]  # the first round warms up
    evidence = {"rounds": rounds, **machine()}
    n_bytes = body_bytes(request)
    for dialect in OTHERS:
        name = dialect.name
        shown = {**evidence, "body_bytes": n_bytes[name], "goal": 0.3}
        report_request(f"translate_request_ms_beyond_chat_{name}", name, decode, frame, shown)
        report_request(f"translate_whole_request_ms_beyond_chat_{name}", name, decode, whole, shown)
    for dialect in DIALECTS:
        name = dialect.name
        report(f"translate_upstream_request_ms_{name}", encode[name], "ms", 1e3, evidence)
    for half, costs in (("encode", told), ("decode", read)):
        for dialect in DIALECTS:
            shown = {**evidence, "events": N_TOKENS, "goal": 30}
            report(f"translate_event_us_{half}_{dialect.name}", costs[dialect.name], "us", 1e6, shown)


def measured() -> Measured:
    return {dialect.name: Costs() for dialect in DIALECTS}


# --- what is measured --------------------------------------------------------------------------


def conversation(n_bytes: int) -> ChatRequest:
    """Turns until the chat body has so many bytes."""
    tools = harness_tools(described=True)
    messages = [
        Message(role="system", content="You are a coding agent. " * 40),
        Message(role="user", content="Make the tests pass."),
    ]
    request = ChatRequest(
        model="smol", messages=(), tools=tools, max_tokens=32_000, reasoning=Reasoning(effort="high")
    )
    while len(messages) < 3 or len(chat_client.encode_request(request, "smol")) < n_bytes:
        id_ = f"call_{len(messages)}"
        arguments = '{"command":"pytest -q tests","timeout":60}'
        call = ToolCall(id=id_, name=tools[0].name, arguments=arguments)
        messages += [
            Message(role="assistant", reasoning="I should run them first. " * 4, tool_calls=(call,)),
            Message(role="tool", content='E   assert 1 == 2  # "a\\b"\n' * 20, tool_call_id=id_),
        ]
        request = msgspec.structs.replace(request, messages=tuple(messages))
    return request


def body_of(dialect: Dialect, request: ChatRequest) -> bytes:
    body: bytes = dialect.client.encode_request(request, "smol", *dialect.terms)
    return body


def body_bytes(request: ChatRequest) -> dict[str, int]:
    return {dialect.name: len(body_of(dialect, request)) for dialect in DIALECTS}


def generated() -> list[ChatEvent]:
    """Some reasoning, some text and a call, a token at a time."""
    third = N_TOKENS // 3
    return [
        *(ReasoningDelta(text=" think") for _ in range(third)),
        *(TextDelta(text=' wörd "x"') for _ in range(third)),
        ToolCallDelta(index=0, id="call_1", name="Bash"),
        ToolCallDelta(index=0, arguments='{"command":"'),
        *(ToolCallDelta(index=0, arguments=" ls") for _ in range(third)),
        ToolCallDelta(index=0, arguments='"}'),
    ]


def bodies(dialect: Dialect, request: ChatRequest, decode: Measured, encode: Measured) -> None:
    body = body_of(dialect, request)
    decode[dialect.name].take(lambda: dialect.server.decode_request(body))
    encode[dialect.name].take(lambda: body_of(dialect, request))


def answers(dialect: Dialect, request: ChatRequest, frame: Measured, whole: Measured) -> None:
    call = dialect.server.decode_request(body_of(dialect, request))
    answer = Answer()
    for event in [*generated(), FINISH]:
        answer.add(event)

    def framed() -> None:
        encoder = dialect.server.StreamEncoder(call, SERVED)
        encoder.begin()
        encoder.encode([FINISH], NO_WAITS)

    frame[dialect.name].take(framed)
    whole[dialect.name].take(
        lambda: dialect.server.encode_response(call, answer, FINISH, SERVED, NO_WAITS),
    )


def events(dialect: Dialect, request: ChatRequest, told: Measured, read: Measured) -> None:
    call = dialect.server.decode_request(body_of(dialect, request))
    tokens = generated()
    streams: list[list[bytes]] = []

    def tell() -> None:
        encoder = dialect.server.StreamEncoder(call, SERVED)
        streams.append([encoder.begin(), *(encoder.encode([token], NO_WAITS) for token in tokens)])

    def decoded() -> None:
        decoder = dialect.client.StreamDecoder()
        for piece in streams[0]:
            decoder.feed(piece)

    told[dialect.name].take(tell, does=len(tokens))
    read[dialect.name].take(decoded, does=len(tokens))


# --- what is said ------------------------------------------------------------------------------


def report_request(
    name: str, dialect: str, decode: Measured, answer: Measured, shown: dict[str, Any]
) -> None:
    parts = (decode, answer)
    figure(
        name,
        1000 * beyond(dialect, parts, "wall"),
        "ms",
        cpu_ms=round(1000 * beyond(dialect, parts, "cpu"), 3),
        decode_ms=millis(decode[dialect]),
        chat_decode_ms=millis(decode["chat"]),
        answer_ms=millis(answer[dialect]),
        chat_answer_ms=millis(answer["chat"]),
        **shown,
    )


def report(name: str, costs: Costs, unit: str, scale: float, shown: dict[str, Any]) -> None:
    cpu = {f"cpu_{unit}": round(scale * median(costs.cpu), 3)}
    figure(name, scale * median(costs.wall), unit, **cpu, **shown)


def beyond(dialect: str, parts: Sequence[Measured], clock: str) -> float:
    """The median of what a round's request costs more than the chat path's."""
    ours = zip(*(getattr(part[dialect], clock) for part in parts), strict=True)
    chats = zip(*(getattr(part["chat"], clock) for part in parts), strict=True)
    return median([sum(our) - sum(chat) for our, chat in zip(ours, chats, strict=True)])


def millis(costs: Costs) -> float:
    return round(1000 * median(costs.wall), 3)


if __name__ == "__main__":
    main()

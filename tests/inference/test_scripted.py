"""The scripted engine: what it answers, when, and what it counts. Time is virtual throughout."""

from __future__ import annotations

import json
import math
import signal
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from inference.chat import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    Finish,
    GenerateRequest,
    ImagePart,
    Message,
    ReasoningDelta,
    Sampling,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from inference.engines.script import parse_script, read_script
from inference.engines.script_answers import prompt, tokens
from inference.engines.script_faults import Death
from inference.engines.script_record import Record
from inference.engines.scripted import ScriptedEngine, load
from inference.errors import (
    ConfigError,
    ContextLengthExceeded,
    EngineFault,
    ErrorInfo,
    InvalidModelFile,
    InvalidRequest,
    LoadFailed,
)
from inference.messages import Embed, Event, Generate, PromptProgress
from inference.model_spec import ModelSpec


class Bench:
    """An engine, a clock that only moves when told, and everything that came out."""

    def __init__(
        self,
        script: str = "",
        *,
        slots: int = 2,
        n_ctx: int = 4096,
        embeddings: bool = False,
        folder: Path = Path(),
    ) -> None:
        self.now_s = 100.0
        self.deaths: list[Death] = []
        self.log: list[tuple[float, int, Event]] = []
        self._ids = 0
        spec = ModelSpec(
            name="m", path="m.toml", engine="scripted", slots=slots, n_ctx=n_ctx, embeddings=embeddings
        )
        self.engine = ScriptedEngine(
            spec, parse_script(script), folder=folder, clock=lambda: self.now_s, die=self.deaths.append
        )

    def ask(self, request: GenerateRequest | str) -> int:
        self._ids += 1
        self.engine.submit(
            self.engine.prepare(
                Generate(request_id=self._ids, request=chat(request) if isinstance(request, str) else request)
            )
        )
        return self._ids

    def step(self) -> None:
        self.log += [(self.now_s - 100.0, output.request_id, output.event) for output in self.engine.step()]

    def run(self) -> None:
        """Until the engine waits for messages, moving the clock as it asks."""
        while (wait_s := self.engine.wait_s()) is not None:
            self.now_s += wait_s
            self.step()

    def answer(self, request: GenerateRequest | str) -> list[Event]:
        request_id = self.ask(request)
        self.run()
        return self.events(request_id)

    def events(self, request_id: int) -> list[Event]:
        return [
            event
            for _, owner, event in self.log
            if owner == request_id and not isinstance(event, PromptProgress)
        ]


def chat(
    *content: str | Message,
    tools: tuple[str, ...] = (),
    max_tokens: int | None = None,
    stop: tuple[str, ...] = (),
) -> ChatRequest:
    messages = tuple(
        Message(role="user", content=item) if isinstance(item, str) else item for item in content
    )
    return ChatRequest(
        model="m",
        messages=messages,
        tools=tuple(Tool(name=name) for name in tools),
        max_tokens=max_tokens,
        stop=stop,
    )


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def finish(events: list[Event]) -> Finish:
    last = events[-1]
    assert isinstance(last, Finish), last
    return last


def tool_result(name: str, content: str) -> tuple[Message, Message]:
    return (
        Message(role="assistant", tool_calls=(ToolCall(id="c1", name=name, arguments="{}"),)),
        Message(role="tool", tool_call_id="c1", content=content),
    )


# --- answers -------------------------------------------------------------------------------------


def test_without_a_script_the_answer_repeats_the_last_user_message() -> None:
    events = Bench().answer(chat("first", Message(role="assistant", content="ok"), "second one"))
    assert text(events) == "You said: second one"
    assert finish(events) == Finish(
        reason="stop", usage=Usage(input_tokens=17, output_tokens=5), timings=finish(events).timings
    )


def test_channels_come_in_order_and_calls_are_valid_fragments() -> None:
    events = Bench("""
        [[turn]]
        reasoning = "think hard"
        text = "Calling."
        tool_calls = [{ name = "write", arguments = { path = "a.py", lines = [1, 2] } }, { name = "ls" }]
    """).answer("go")
    kinds = [type(event) for event in events]
    assert kinds == sorted(kinds, key=[ReasoningDelta, TextDelta, ToolCallDelta, Finish].index)
    assert "".join(e.text for e in events if isinstance(e, ReasoningDelta)) == "think hard"
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    assert [(c.index, c.name) for c in calls if c.name] == [(0, "write"), (1, "ls")]
    assert len({c.id for c in calls if c.id}) == 2
    assert "".join(c.arguments for c in calls if c.index == 0) == '{"path": "a.py", "lines": [1, 2]}'
    assert "".join(c.arguments for c in calls if c.index == 1) == "{}"
    assert finish(events).reason == "tool_calls"
    spoken = [
        *tokens("think hard"),
        *tokens("Calling."),
        *tokens("write"),
        *tokens('{"path": "a.py", "lines": [1, 2]}'),
    ]
    assert finish(events).usage.output_tokens == len(spoken) + len(tokens("ls")) + len(tokens("{}"))
    assert finish(events).usage.reasoning_tokens == 2


def test_call_ids_repeat_for_the_same_conversation_and_differ_for_another() -> None:
    bench = Bench("[[turn]]\ntool_calls = [{ name = 'ls' }]")

    def call_id(request: str) -> str:
        return next(
            event.id for event in bench.answer(request) if isinstance(event, ToolCallDelta) and event.id
        )

    assert call_id("a") == call_id("a") != call_id("b")


@pytest.mark.parametrize(
    ("condition", "asked"),
    [
        ("match.user_contains = 'needle'", chat("a needle", Message(role="assistant", content="x"))),
        ("match.user_matches = 'n.+e'", chat("a n\n e")),
        ("match.system_contains = 'needle'", chat(Message(role="developer", content="a needle"), "x")),
        ("match.system_matches = '^n'", chat(Message(role="system", content="need"), "x")),
        ("match.after_tool = 'write'", chat("x", *tool_result("write", "ok"))),
        ("match.tool_result_contains = 'done'", chat("x", *tool_result("write", "all done"))),
        ("match.tool_result_matches = 'd.ne'", chat("x", *tool_result("write", "all done"))),
        ("match.last_role = 'tool'", chat("x", *tool_result("write", "ok"))),
        ("match.offers = ['task']", chat("x", tools=("task", "write"))),
        ("match.lacks = ['write']", chat("x", tools=("task",))),
        ("match.contains = 'early'", chat("said early", Message(role="assistant", content="x"), "x")),
        ("match.step = 2", chat("x", Message(role="assistant", content="x"), "x")),
    ],
)
def test_each_condition_lets_its_request_through_and_not_another(condition: str, asked: ChatRequest) -> None:
    bench = Bench(f"[[turn]]\n{condition}\ntext = 'yes'\n[[turn]]\ntext = 'no'")
    assert text(bench.answer(asked)) == "yes"
    assert text(bench.answer(chat("x", tools=("write",)))) == "no"


def test_tool_results_count_with_a_reminder_behind_them_but_not_with_an_answer() -> None:
    bench = Bench("[[turn]]\nmatch.after_tool = 'write'\ntext = 'yes'\n[[turn]]\ntext = 'no'")
    results = tool_result("write", "ok")
    reminder = Message(role="system", content="mind the time")
    assert text(bench.answer(chat("x", *results, reminder))) == "yes"
    assert text(bench.answer(chat("x", *results, Message(role="assistant", content="well"), "y"))) == "no"


def test_all_conditions_of_a_turn_must_hold() -> None:
    bench = Bench("[[turn]]\nmatch = { user_contains = 'a', step = 2 }\ntext = 'yes'")
    assert text(bench.answer("a")) != "yes"


def test_times_and_request_count_since_load() -> None:
    bench = Bench("""
        [[turn]]
        match.request = 3
        text = "third"
        [[turn]]
        times = 1
        text = "once"
        [[turn]]
        text = "then"
    """)
    assert [text(bench.answer("x")) for _ in range(4)] == ["once", "then", "third", "then"]


def test_named_groups_fill_texts_and_arguments() -> None:
    bench = Bench("""
        [[turn]]
        match.tool_result_matches = '"agent_id": *"(?P<agent>[^"]+)"'
        text = "waiting for @{agent}"
        [[turn.tool_calls]]
        name = "wait_agent"
        arguments = { targets = ["@{agent}"], deep = { id = "@{agent}" } }
    """)
    events = bench.answer(chat("go", *tool_result("spawn_agent", '{"agent_id": "a-7"}')))
    assert text(events) == "waiting for a-7"
    arguments = "".join(event.arguments for event in events if isinstance(event, ToolCallDelta))
    assert arguments == '{"targets": ["a-7"], "deep": {"id": "a-7"}}'


def test_what_one_request_captured_is_not_said_to_the_next() -> None:
    bench = Bench("[[turn]]\nmatch.user_matches = 'my name is (?P<name>.+)'\ntext = 'Hello @{name}'")
    assert text(bench.answer("my name is Ada")) == "Hello Ada"
    assert text(bench.answer("my name is Grace")) == "Hello Grace"


def test_what_was_asked_is_written_down_in_order(tmp_path: Path) -> None:
    source = """
        [model]
        requests_file = "seen.jsonl"
        unmatched = "error"
        [[turn]]
        name = "greet"
        match.user_contains = "hello"
        [[turn]]
        match.user_contains = "bye"
    """
    asked = [chat("hello", tools=("write",)), chat("bye"), chat("what?")]
    for lives in (asked[:1], asked[1:]):  # a worker that died and its successor
        bench = Bench(source, folder=tmp_path)
        for request in lives:
            bench.answer(request)
        bench.engine.close()
    lines = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_text().splitlines()]
    assert [line["turn"] for line in lines] == ["greet", 1, None]
    assert [msgspec.convert(line["request"], ChatRequest) for line in lines] == asked
    assert (tmp_path / "seen.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_record_that_cannot_be_written_fails_the_load(tmp_path: Path) -> None:
    (tmp_path / "seen.jsonl").mkdir()
    with pytest.raises(LoadFailed, match="requests_file"):
        Bench("[model]\nrequests_file = 'seen.jsonl'", folder=tmp_path)


def test_a_record_has_a_bound(tmp_path: Path) -> None:
    record = Record(tmp_path / "seen.jsonl", max_bytes=2000)
    for _ in range(9):
        record.add("x", chat("hello"))
    record.close()
    lines = (tmp_path / "seen.jsonl").read_bytes().splitlines(keepends=True)
    assert lines
    assert sum(map(len, lines)) <= 2000
    assert all(line.endswith(b"\n") for line in lines)


def test_unmatched_requests_are_errors_where_the_script_says_so() -> None:
    (event,) = Bench("[model]\nunmatched = 'error'").answer("x")
    assert isinstance(event, ErrorInfo)
    assert event.code == "invalid_request"


def test_repeat_finish_and_usage_are_taken_from_the_script() -> None:
    events = Bench("""
        [[turn]]
        text = "ab "
        repeat = 3
        finish = "length"
        usage = { input_tokens = 1000, cached_tokens = 900 }
    """).answer("x")
    assert text(events) == "ab ab ab "
    assert finish(events).reason == "length"
    assert finish(events).usage == Usage(input_tokens=1000, cached_tokens=900, output_tokens=4)


def test_broken_arguments_are_passed_on_as_written() -> None:
    events = Bench("""[[turn]]\ntool_calls = [{ name = "w", arguments_text = '{"a": ' }]""").answer("x")
    assert "".join(event.arguments for event in events if isinstance(event, ToolCallDelta)) == '{"a": '


def test_chunk_tokens_groups_tokens() -> None:
    events = Bench("[[turn]]\nchunk_tokens = 2\ntext = 'a b c d e'").answer("x")
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["a b", " c d", " e"]
    assert finish(events).usage.output_tokens == 5


def test_logprobs_are_certain() -> None:
    request = ChatRequest(model="m", messages=chat("hi").messages, sampling=Sampling(logprobs=1))
    first = Bench("[[turn]]\ntext = 'é'").answer(request)[0]
    assert isinstance(first, TextDelta)
    assert [(p.token, p.bytes_, p.logprob, p.top) for p in first.logprobs] == [
        ("é", b"\xc3\xa9", 0.0, (("é", b"\xc3\xa9", 0.0),))
    ]


# --- limits --------------------------------------------------------------------------------------

LONG = """
    [[turn]]
    reasoning = "r1 r2"
    text = "t1 t2"
    tool_calls = [{ name = "n", arguments = { } }]
"""


@pytest.mark.parametrize("max_tokens", range(9))
def test_max_tokens_cuts_exactly(max_tokens: int) -> None:
    """Seven tokens in all: two of reasoning, two of text, one name, two of arguments."""
    events = Bench(LONG).answer(chat("x", max_tokens=max_tokens))
    said = finish(events)
    assert said.usage.output_tokens == min(max_tokens, 7)
    assert said.usage.reasoning_tokens == min(max_tokens, 2)
    assert said.reason == ("length" if max_tokens < 7 else "tool_calls")
    assert len(events) - 1 == min(max_tokens, 7)


def test_the_context_is_never_exceeded() -> None:
    events = Bench("[[turn]]\ntext = 'w '\nrepeat = 100", n_ctx=20).answer("a")
    assert finish(events).reason == "length"
    assert finish(events).usage.input_tokens + finish(events).usage.output_tokens == 20


def test_a_prompt_that_leaves_no_room_in_n_ctx_is_refused_with_both_numbers() -> None:
    bench = Bench(n_ctx=11)
    bench.ask("a b c d")  # "user", "\n", four words, "\n", "assistan", "t", "\n"
    with pytest.raises(ContextLengthExceeded) as caught:
        bench.ask("a b c d e")
    assert (caught.value.n_tokens, caught.value.n_ctx) == (11, 11)
    assert caught.value.param == "messages"
    with pytest.raises(InvalidRequest, match="empty"):
        bench.ask(CompletionRequest(model="m", prompt=""))


def test_a_stop_string_ends_the_text_and_its_tokens_count() -> None:
    bench = Bench("[[turn]]\ntext = 'one two. three'\ntool_calls = [{ name = 'n' }]")
    events = bench.answer(chat("x", stop=("o. t", "zzz")))
    assert text(events) == "one tw"
    assert (finish(events).reason, finish(events).stop_sequence) == ("stop", "o. t")
    assert finish(events).usage.output_tokens == len(tokens("one two. three"))
    assert not any(isinstance(event, ToolCallDelta) for event in events)


def test_a_stop_string_that_max_tokens_cuts_off_does_not_stop() -> None:
    events = Bench("[[turn]]\ntext = 'one two three'").answer(chat("x", stop=("two three",), max_tokens=2))
    assert text(events) == "one two"
    assert finish(events).reason == "length"


def test_images_are_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="images"):
        Bench().ask(chat(Message(role="user", content=(TextPart(text="a"), ImagePart(url="data:,")))))


def test_text_parts_are_one_text() -> None:
    asked = chat(Message(role="user", content=(TextPart(text="a"), TextPart(text="b"))))
    assert text(Bench().answer(asked)) == "You said: ab"


# --- prompts and the cache -----------------------------------------------------------------------


def test_tokens_joined_are_the_text() -> None:
    sample = "def f(x):\n        return '😀 naïveté_'*3  # longidentifier\u2028\ud800"
    assert "".join(tokens(sample)) == sample
    assert len(tokens("longidentifier")) == 2


def test_cached_tokens_are_the_prefix_shared_with_the_slot() -> None:
    bench = Bench(slots=1)
    first = chat(Message(role="system", content="be good"), "hello there")
    grown = chat(*first.messages, Message(role="assistant", content="You said"), "more")
    assert finish(bench.answer(first)).usage.cached_tokens == 0
    # all of the first prompt, whose last block "assistant\n" begins the third message
    assert finish(bench.answer(grown)).usage.cached_tokens == prompt(first).n_tokens
    assert finish(bench.answer(grown)).usage.cached_tokens == prompt(grown).n_tokens - 1
    # "system\n", and then another text
    assert finish(bench.answer(chat(Message(role="system", content="bad")))).usage.cached_tokens == 2


def test_a_request_goes_to_the_free_slot_that_forgets_least() -> None:
    bench = Bench(slots=2)
    bench.answer("aaaa bbbb")
    bench.answer("cccc dddd")  # into the unused slot, though it shares "user\n" with the first
    assert finish(bench.answer("aaaa bbbb eeee")).usage.cached_tokens == 4
    assert finish(bench.answer("cccc dddd eeee")).usage.cached_tokens == 4


def test_token_ids_count_one_each_and_prompts_can_be_echoed() -> None:
    asked = CompletionRequest(model="m", prompt=(5, 1234567, 3), echo=True, max_tokens=2)
    events = Bench().answer(asked)
    assert text(events) == "5 1234567 3You said"
    assert finish(events).usage == Usage(input_tokens=3, output_tokens=2)
    with pytest.raises(InvalidRequest, match="-1"):
        Bench().ask(CompletionRequest(model="m", prompt=(-1,)))


# --- time, slots, cancelling ---------------------------------------------------------------------

PACED = """
    [defaults]
    first_token_s = 1.0
    prefill_tokens_per_second = 10.0
    tokens_per_second = 2.0
    [[turn]]
    text = "a b c"
"""


def test_events_come_when_the_script_says() -> None:
    bench = Bench(PACED)
    bench.answer("x x")  # 7 tokens of prompt: 0.7 s
    assert [(round(at, 6), event) for at, _, event in bench.log[:-1]] == [
        (0.0, PromptProgress(done=0, total=8, cached=0)),
        (1.8, PromptProgress(done=8, total=8, cached=0)),
        (1.8, TextDelta(text="a")),
        (2.3, TextDelta(text=" b")),
        (2.8, TextDelta(text=" c")),
    ]
    timings = finish([bench.log[-1][2]]).timings
    assert (timings.prefill_tokens, timings.decode_tokens) == (8, 3)
    assert math.isclose(timings.prefill_s, 1.8)
    assert math.isclose(timings.decode_s, 1.0)


def test_a_late_step_catches_up_one_event_at_a_time() -> None:
    bench = Bench(PACED)
    request_id = bench.ask("x")
    bench.step()
    bench.now_s += 60.0
    counts = []
    while bench.engine.wait_s() is not None:
        assert bench.engine.wait_s() == 0.0
        bench.step()
        counts.append(len(bench.events(request_id)))
    assert counts == [1, 2, 4]  # the last text and Finish together


def test_no_more_than_slots_run_at_once_and_the_others_wait_in_order() -> None:
    bench = Bench(slots=2)
    ids = [bench.ask(f"{n} {n}") for n in range(4)]
    bench.step()
    assert {owner for _, owner, _ in bench.log} == set(ids[:2])
    bench.engine.cancel(ids[0])
    bench.step()
    assert {owner for _, owner, _ in bench.log} == set(ids[:3])
    bench.run()
    assert [owner for _, owner, event in bench.log if isinstance(event, Finish)] == [ids[1], ids[2], ids[3]]


def test_a_cancelled_request_says_nothing_more_whatever_its_state() -> None:
    bench = Bench(PACED, slots=1)
    running, waiting = bench.ask("a"), bench.ask("b")
    bench.step()
    for request_id in (running, waiting, 99):
        bench.engine.cancel(request_id)
    bench.log.clear()
    bench.run()
    assert bench.log == []
    assert text(bench.answer("c")) == "a b c"


def test_an_idle_engine_waits_for_messages() -> None:
    bench = Bench(PACED)
    assert bench.engine.wait_s() is None
    request_id = bench.ask("x")
    assert bench.engine.wait_s() == 0.0
    bench.step()
    assert bench.engine.wait_s() == pytest.approx(1.7)
    bench.engine.cancel(request_id)
    assert bench.engine.wait_s() is None


# --- faults --------------------------------------------------------------------------------------


def fault(kind: str, extra: str = "") -> str:
    turn = "[[turn]]\nmatch.user_contains = 'bad'\ntext = 'a b c'\n"
    return turn + f"fault = {{ kind = '{kind}', after_chunks = 2 {extra} }}"


def test_an_error_ends_one_request_and_frees_its_slot() -> None:
    bench = Bench(fault("error", ", code = 'overloaded', message = 'later', retry_after_s = 2"), slots=1)
    events = bench.answer("bad")
    assert text(events) == "a b"
    assert events[-1] == ErrorInfo(code="overloaded", message="later", retry_after_s=2.0)
    assert text(bench.answer("good")) == "You said: good"


def test_a_stalled_stream_keeps_its_slot_until_it_is_cancelled() -> None:
    bench = Bench(fault("stall"), slots=1)
    stalled, waiting = bench.ask("bad"), bench.ask("good")
    bench.run()
    assert text(bench.events(stalled)) == "a b"
    assert bench.events(waiting) == []
    bench.engine.cancel(stalled)
    bench.run()
    assert text(bench.events(waiting)) == "You said: good"


def test_an_engine_fault_is_raised() -> None:
    bench = Bench(fault("engine_fault", ", message = 'decode failed'"))
    bench.ask("bad")
    with pytest.raises(EngineFault, match="decode failed"):
        bench.run()


@pytest.mark.parametrize("kind", ["kill", "abort", "hang"])
def test_a_crash_comes_in_a_step_after_the_events_before_it(kind: Death) -> None:
    bench = Bench(fault(kind))
    request_id = bench.ask("bad")
    before = -1
    while not bench.deaths:
        assert bench.engine.wait_s() == 0.0
        before = len(bench.events(request_id))
        bench.step()
    assert bench.deaths == [kind]
    assert before == len(bench.events(request_id)) == 2


def test_a_fault_after_more_events_than_there_are_comes_instead_of_the_finish() -> None:
    bench = Bench("[[turn]]\ntext = 'a'\nfault = { kind = 'error', after_chunks = 50 }")
    assert [type(event) for event in bench.answer("x")] == [TextDelta, ErrorInfo]


def test_a_fault_with_once_file_happens_once_in_the_life_of_the_file(tmp_path: Path) -> None:
    script = fault("error", ", once_file = 'struck'")
    assert isinstance(Bench(script, folder=tmp_path).answer("bad")[-1], ErrorInfo)
    assert text(Bench(script, folder=tmp_path).answer("bad")) == "a b c"
    (tmp_path / "struck").unlink()
    assert isinstance(Bench(script, folder=tmp_path).answer("bad")[-1], ErrorInfo)


# --- embeddings ----------------------------------------------------------------------------------


def test_embeddings_are_unit_vectors_that_depend_on_the_text_alone() -> None:
    def embed(bench: Bench, *inputs: str | tuple[int, ...]) -> Embeddings:
        bench.engine.submit(
            bench.engine.prepare(Embed(request_id=1, request=EmbeddingRequest(model="m", inputs=inputs)))
        )
        bench.run()
        (event,) = bench.events(1)
        assert isinstance(event, Embeddings)
        return event

    made = embed(Bench("[model]\ndimensions = 8"), "a b", "c", (1, 2))
    assert made.dimensions == 8
    assert made.usage == Usage(input_tokens=5)
    for vector in made.vectors:
        assert math.isclose(sum(value * value for value in struct.unpack("<8f", vector)), 1.0, rel_tol=1e-6)
    assert len(set(made.vectors)) == 3
    assert embed(Bench("[model]\ndimensions = 8"), "a b").vectors[0] == made.vectors[0]


def test_inputs_that_cannot_be_embedded_are_refused() -> None:
    def prepare(*inputs: str) -> None:
        Bench(n_ctx=2).engine.prepare(Embed(request_id=1, request=EmbeddingRequest(model="m", inputs=inputs)))

    with pytest.raises(InvalidRequest, match="empty"):
        prepare("a", "")
    with pytest.raises(InvalidRequest, match="empty"):
        prepare()
    with pytest.raises(ContextLengthExceeded):
        prepare("a", "a b c")


def test_an_embedding_model_generates_nothing() -> None:
    with pytest.raises(InvalidRequest, match="use /v1/embeddings"):
        Bench(embeddings=True).ask("x")


# --- reading and loading -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("[[turn]]\ntxt = 'a'", "unknown field `txt`.*turn"),
        ("[lod]", "unknown field `lod`"),
        ("[[turn]]\nmatch.user_contain = 'a'", "user_contain"),
        ("[[turn]]\ntimes = 0", ">= 1"),
        ("[defaults]\ntokens_per_second = 0", "> 0"),
        ("[[turn]]\nmatch.user_matches = '('", "no regular expression"),
        ("[[turn]]\nname = 'x'\ntext = '@{nobody}'", r"turn\[0\] \(x\): @\{nobody\}"),
        ("[[turn]]\ntext = 'a'\nrepeat = 100_000_000", "repeat"),
        ("[[turn]]\ntool_calls = [{ name = 'a', arguments = { at = 2026-01-01 } }]", "JSON values"),
        ("[[turn]]\nfault = { kind = 'error', code = 'nope' }", "nope"),
        ("[load]\nonce_file = '../x'", "once_file"),
    ],
)
def test_what_a_script_must_not_say_is_named(source: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(source)
    with pytest.raises(ConfigError, match=says) as caught:
        read_script(tmp_path / "m.toml")
    assert str(tmp_path / "m.toml") in caught.value.message


def test_a_file_that_is_no_script_is_an_invalid_model_file(tmp_path: Path) -> None:
    for content in (b"= nonsense", b"\xff\xfe"):
        (tmp_path / "m.toml").write_bytes(content)
        with pytest.raises(InvalidModelFile, match="not a TOML file"):
            read_script(tmp_path / "m.toml")
    with pytest.raises(InvalidModelFile, match="correct the model's path"):
        read_script(tmp_path / "absent.toml")
    with pytest.raises(InvalidModelFile, match="correct the model's path"):
        read_script(tmp_path)


class Loading:
    def __init__(self, folder: Path, source: str) -> None:
        self.path = folder / "m.toml"
        self.path.write_text(source)
        self.progress: list[float] = []
        self.pauses: list[float] = []
        self.deaths: list[Death] = []

    def load(self) -> ScriptedEngine:
        spec = ModelSpec(name="m", path=str(self.path), engine="scripted", n_ctx=77, slots=3)
        return load(spec, self.progress.append, pause=self.pauses.append, die=self.deaths.append)


def test_load_takes_its_time_and_reports_progress(tmp_path: Path) -> None:
    loading = Loading(tmp_path, "[load]\nseconds = 2.0\nprogress_steps = 4\nallocate_bytes = 1000")
    facts = loading.load().facts
    assert loading.progress == [0.25, 0.5, 0.75, 1.0]
    assert loading.pauses == [0.5] * 4
    assert (facts.n_ctx, facts.slots, facts.architecture) == (77, 3, "scripted")
    assert facts.rss_bytes > 1_000_000


def test_load_can_fail_once_with_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loading = Loading(
        tmp_path, "[load]\nfail = 'out of memory'\nonce_file = 'failed'\nstderr = 'ggml says no'"
    )
    with pytest.raises(LoadFailed, match="out of memory"):
        loading.load()
    assert 1.0 not in loading.progress
    assert capsys.readouterr().err == "ggml says no\n"
    loading.load().close()


def test_load_can_crash(tmp_path: Path) -> None:
    loading = Loading(tmp_path, "[load]\nfault = 'abort'")
    with pytest.raises(LoadFailed):  # reached only because this `die` returns
        loading.load()
    assert loading.deaths == ["abort"]


@pytest.mark.parametrize(("kind", "number"), [("kill", signal.SIGKILL), ("abort", signal.SIGABRT)])
def test_a_crash_really_ends_the_process(kind: Death, number: signal.Signals) -> None:
    program = f"from inference.engines.script_faults import die; die({kind!r})"
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert ended.returncode == -number

"""The llama.cpp engine on the real demo models: what it says must be what the model says.

Greedy output of one request alone is the reference; batching, reuse, copying and cancelling must
not change it. Nothing here depends on speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inference.chat import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    Finish,
    Message,
    Sampling,
    TextDelta,
    TokenLogprob,
)
from inference.engines import llama
from inference.errors import ContextLengthExceeded, ErrorInfo, InvalidRequest, LoadFailed
from inference.messages import Embed, Event, Generate, PromptProgress
from inference.model_spec import ModelSpec

GREEDY = Sampling(temperature=0.0)
SYSTEM = Message(role="system", content="You are a helpful assistant.")
QUESTIONS = [
    "Name three colours.",
    "What is 2+2?",
    "Write a poem about the sea.",
    "Who wrote Hamlet?",
    "Explain gravity.",
    "List five animals.",
    "What is Python?",
    "Tell a joke.",
]


class Driver:
    """Runs an engine to the end of what it was given, and keeps every event by request."""

    def __init__(self, engine: llama.LlamaEngine) -> None:
        self.engine = engine
        self.events: dict[int, list[Event]] = {}
        self._next_id = 0

    def submit(self, request: ChatRequest | CompletionRequest) -> int:
        self._next_id += 1
        self.events[self._next_id] = []
        self.engine.submit(self.engine.prepare(Generate(request_id=self._next_id, request=request)))
        return self._next_id

    def embed(self, *inputs: str | tuple[int, ...]) -> list[np.ndarray[tuple[int], np.dtype[np.float32]]]:
        self._next_id += 1
        self.events[self._next_id] = []
        message = Embed(request_id=self._next_id, request=EmbeddingRequest(model="m", inputs=inputs))
        self.engine.submit(self.engine.prepare(message))
        self.run()
        (answer,) = self.events[self._next_id]
        assert isinstance(answer, Embeddings)
        return [np.frombuffer(vector, dtype="<f4") for vector in answer.vectors]

    def step(self) -> None:
        for output in self.engine.step():
            self.events[output.request_id].append(output.event)

    def run(self) -> None:
        while self.engine.wait_s() is not None:
            self.step()

    def text(self, request_id: int) -> str:
        return "".join(e.text for e in self.events[request_id] if isinstance(e, TextDelta))

    def finish(self, request_id: int) -> Finish:
        last = self.events[request_id][-1]
        assert isinstance(last, Finish)
        return last

    def ask(self, request: ChatRequest | CompletionRequest) -> tuple[str, Finish]:
        request_id = self.submit(request)
        self.run()
        return self.text(request_id), self.finish(request_id)


def spec(path: Path, **overrides: object) -> ModelSpec:
    values: dict[str, object] = {"name": "m", "path": str(path), "n_ctx": 1024, "slots": 4, "threads": 1}
    return ModelSpec(**{**values, **overrides})  # type: ignore[arg-type]


def load(path: Path, **overrides: object) -> llama.LlamaEngine:
    return llama.load(spec(path, **overrides), lambda _fraction: None)


@pytest.fixture
def smol(smollm2_path: Path) -> Iterator[Driver]:
    engine = load(smollm2_path)
    yield Driver(engine)
    engine.close()


@pytest.fixture
def gemma(gemma3_path: Path) -> Iterator[Driver]:
    engine = load(gemma3_path, slots=2, n_ubatch=128)
    yield Driver(engine)
    engine.close()


def chat(text: str, max_tokens: int = 12, sampling: Sampling = GREEDY, **fields: object) -> ChatRequest:
    messages = (SYSTEM, Message(role="user", content=text))
    return ChatRequest(model="m", messages=messages, sampling=sampling, max_tokens=max_tokens, **fields)  # type: ignore[arg-type]


def complete(
    prompt: str | tuple[int, ...], max_tokens: int | None = 8, **fields: object
) -> CompletionRequest:
    fields.setdefault("sampling", GREEDY)
    return CompletionRequest(model="m", prompt=prompt, max_tokens=max_tokens, **fields)  # type: ignore[arg-type]


# --- answers -----------------------------------------------------------------------------------


def test_it_answers_a_question_and_stops_by_itself(smol: Driver) -> None:
    text, finish = smol.ask(chat("What is the capital of France?", max_tokens=40))
    assert text == "The capital of France is Paris."
    assert finish.reason == "stop"
    assert finish.usage.input_tokens == 27
    assert finish.usage.output_tokens == 8
    assert finish.timings.prefill_tokens == 27
    assert finish.timings.prefill_s > 0
    assert finish.timings.decode_tokens == 7


def test_max_tokens_ends_with_length_and_true_usage(smol: Driver) -> None:
    _, finish = smol.ask(chat("Write a poem about the sea.", max_tokens=5))
    assert (finish.reason, finish.usage.output_tokens) == ("length", 5)


def test_the_context_end_is_length_and_nothing_is_shifted_out(smollm2_path: Path) -> None:
    engine = load(smollm2_path, n_ctx=256, slots=1)
    driver = Driver(engine)
    _, finish = driver.ask(chat("Count.", max_tokens=10_000, ignore_eos=True))
    assert finish.reason == "length"
    assert finish.usage.input_tokens + finish.usage.output_tokens == 256 + 1  # the last token needs no cell
    engine.close()


def test_streams_side_by_side_equal_each_alone(smollm2_path: Path) -> None:
    alone, together = load(smollm2_path, slots=8), load(smollm2_path, slots=8)
    one, many = Driver(alone), Driver(together)
    expected = [one.ask(chat(q))[0] for q in QUESTIONS]
    ids = [many.submit(chat(q)) for q in QUESTIONS]
    many.run()
    assert [many.text(i) for i in ids] == expected
    alone.close()
    together.close()


def test_rows_of_a_step_ascend_by_slot(smollm2_path: Path) -> None:
    """llama.cpp computes neighbours at once, but only in that order: a prompt in a slot before those that
    run would cost every step a pass more."""
    driver = Driver(load(smollm2_path, slots=2))
    short, long = (driver.submit(chat("Tell a story.", max_tokens=n, ignore_eos=True)) for n in (2, 40))
    while not (driver.events[short] and isinstance(driver.events[short][-1], Finish)):
        driver.step()
    driver.submit(
        complete("eight nine ten " * 10, max_tokens=4)
    )  # in the first slot, before the one that runs
    n_mixed = 0
    while driver.engine.wait_s() is not None:
        driver.step()
        rows = driver.engine._context.batch.sequences
        assert (np.diff(rows) >= 0).all(), rows
        n_mixed += len(rows) > 2
    assert n_mixed, "the prompt was computed beside the stream"
    assert driver.finish(long).reason == "length"
    driver.engine.close()


def test_a_long_prompt_beside_a_running_stream_is_cut_into_chunks(smol: Driver) -> None:
    stream = smol.submit(chat("Write a poem about the sea.", max_tokens=60, ignore_eos=True))
    while not smol.text(stream):
        smol.step()
    long = smol.submit(complete("one two three four five six seven " * 60, max_tokens=1))
    grew = 0
    while not any(isinstance(e, Finish) for e in smol.events[long]):
        before = len(smol.events[stream])
        smol.step()
        grew += len(smol.events[stream]) > before
    assert grew >= 3, "the stream stood still while the long prompt was prefilled"
    assert any(isinstance(e, PromptProgress) for e in smol.events[long])
    smol.run()


def test_more_requests_than_slots_wait_and_are_answered(smollm2_path: Path) -> None:
    engine = load(smollm2_path, slots=2)
    driver = Driver(engine)
    ids = [driver.submit(chat(q, max_tokens=4)) for q in QUESTIONS[:5]]
    driver.run()
    assert [driver.finish(i).usage.output_tokens for i in ids] == [4] * 5
    engine.close()


# --- prefix reuse ------------------------------------------------------------------------------


def test_a_continued_session_computes_only_what_is_new(smol: Driver) -> None:
    first = Message(role="user", content="Tell me about the history of the sea in a few words.")
    answer, finish = smol.ask(chat(str(first.content), max_tokens=20))
    follow_up = ChatRequest(
        model="m",
        messages=(
            SYSTEM,
            first,
            Message(role="assistant", content=answer),
            Message(role="user", content="Why?"),
        ),
        sampling=GREEDY,
        max_tokens=8,
    )
    text, second = smol.ask(follow_up)
    assert second.usage.cached_tokens >= finish.usage.input_tokens + 18
    assert second.timings.prefill_tokens == second.usage.input_tokens - second.usage.cached_tokens
    fresh = Driver(load(Path(smol.engine._spec.path)))
    assert fresh.ask(follow_up)[0] == text
    fresh.engine.close()


@pytest.mark.parametrize("kv_unified", [False, True])
def test_a_shared_prefix_is_copied_between_slots_and_changes_nothing(
    smollm2_path: Path, kv_unified: bool
) -> None:
    shared = "The following is a list of facts about animals. " * 8
    engine, fresh_engine = load(smollm2_path, kv_unified=kv_unified), load(smollm2_path)
    driver, fresh = Driver(engine), Driver(fresh_engine)
    driver.ask(complete(shared + "Cats are small. " * 20))
    text, finish = driver.ask(complete(shared + "Dogs are"))
    assert finish.usage.cached_tokens >= 70
    assert text == fresh.ask(complete(shared + "Dogs are"))[0]
    _, finish = driver.ask(complete(shared + "Cats are small. " * 20))
    assert finish.usage.cached_tokens == finish.usage.input_tokens - 1, "the first session was destroyed"
    engine.close()
    fresh_engine.close()


def test_simultaneous_prompts_compute_a_shared_prefix_once(smollm2_path: Path) -> None:
    shared = "You are a helpful assistant. Answer in one short sentence and nothing else. " * 8
    engine, fresh_engine = load(smollm2_path), load(smollm2_path)
    driver, fresh = Driver(engine), Driver(fresh_engine)
    prompts = [shared + q for q in QUESTIONS[:4]]
    ids = [driver.submit(complete(p)) for p in prompts]
    driver.run()
    computed = sum(driver.finish(i).timings.prefill_tokens for i in ids)
    total = sum(driver.finish(i).usage.input_tokens for i in ids)
    assert computed < 0.5 * total
    assert [driver.text(i) for i in ids] == [fresh.ask(complete(p))[0] for p in prompts]
    engine.close()
    fresh_engine.close()


def test_a_sliding_window_is_never_trimmed_beyond_its_reach(gemma: Driver) -> None:
    """Gemma 3's window is 512: going back further means prefill, and the same answer."""
    long = "The sea is blue and the sky is wide. " * 85
    first, _ = gemma.ask(complete(long + "The mountain is"))
    gemma.ask(complete("Once upon a time"))  # takes the other slot
    short_text, finish = gemma.ask(complete(long[: len(long) // 4] + "The river is"))
    fresh = Driver(load(Path(gemma.engine._spec.path), slots=2, n_ubatch=128))
    assert short_text == fresh.ask(complete(long[: len(long) // 4] + "The river is"))[0]
    again, finish = gemma.ask(complete(long + "The mountain is"))
    assert again == first
    fresh.engine.close()
    assert finish.usage.input_tokens > 700


# --- sampling ----------------------------------------------------------------------------------


def test_a_seed_fixes_the_answer(smollm2_path: Path) -> None:
    hot = Sampling(temperature=1.5, seed=42, top_k=0, top_p=1.0, min_p=0.0)

    def once(sampling: Sampling) -> str:
        engine = load(smollm2_path, slots=1)
        text, _ = Driver(engine).ask(chat("Tell a story.", sampling=sampling, max_tokens=16))
        engine.close()
        return text

    assert once(hot) == once(hot)
    assert once(hot) != once(Sampling(temperature=1.5, seed=43, top_k=0, top_p=1.0, min_p=0.0))


def test_top_k_of_one_is_greedy_at_any_temperature(smol: Driver) -> None:
    greedy, _ = smol.ask(chat("Who wrote Hamlet?"))
    assert smol.ask(chat("Who wrote Hamlet?", sampling=Sampling(temperature=2.0, top_k=1)))[0] == greedy


def test_logit_bias_forbids_a_token(smol: Driver) -> None:
    engine = smol.engine
    paris = int(engine._model.tokenize(" Paris", add_special=False)[0])
    question = "What is the capital of France?"
    assert "Paris" in smol.ask(chat(question, max_tokens=20))[0]
    banned = Sampling(temperature=0.0, logit_bias=((paris, -100.0),))
    assert " Paris" not in smol.ask(chat(question, max_tokens=20, sampling=banned))[0]


def test_logit_bias_beyond_the_vocabulary_is_named(smol: Driver) -> None:
    with pytest.raises(InvalidRequest, match="token 49152 does not exist"):
        smol.submit(chat("Hi", sampling=Sampling(temperature=0.0, logit_bias=((49152, 1.0),))))


def test_a_repeat_penalty_breaks_a_loop(smol: Driver) -> None:
    prompt = "🐙" * 12
    looping, _ = smol.ask(complete(prompt, max_tokens=12))
    assert looping == "🐙" * 4
    penalised = Sampling(temperature=0.0, repeat_penalty=2.0)
    assert "🐙" not in smol.ask(complete(prompt, max_tokens=12, sampling=penalised))[0]


def test_ignore_eos_runs_to_max_tokens(smol: Driver) -> None:
    _, finish = smol.ask(chat("What is the capital of France?", max_tokens=30, ignore_eos=True))
    assert (finish.reason, finish.usage.output_tokens) == ("length", 30)


def test_stop_strings_across_tokens_are_cut_out(smol: Driver) -> None:
    whole, _ = smol.ask(chat("Who wrote Hamlet?", max_tokens=20))
    middle = len(whole) // 2
    stop = whole[middle : middle + 6]
    text, finish = smol.ask(chat("Who wrote Hamlet?", max_tokens=20, stop=(stop,)))
    assert text == whole[: whole.index(stop)]
    assert (finish.reason, finish.stop_sequence) == ("stop", stop)


def test_logprobs_are_those_of_the_model(smol: Driver) -> None:
    request_id = smol.submit(
        chat("What is the capital of France?", max_tokens=6, sampling=Sampling(temperature=0.0, logprobs=3))
    )
    smol.run()
    found: list[TokenLogprob] = [
        entry for e in smol.events[request_id] if isinstance(e, TextDelta) for entry in e.logprobs
    ]
    assert b"".join(entry.bytes_ for entry in found).decode() == smol.text(request_id)
    assert len(found) == 6
    for entry in found:
        assert len(entry.top) == 3
        assert entry.top[0][1] == entry.bytes_, "greedy takes the likeliest"
        assert entry.top[0][2] == pytest.approx(entry.logprob)
        assert [top[2] for top in entry.top] == sorted((top[2] for top in entry.top), reverse=True)
        assert sum(np.exp(top[2]) for top in entry.top) <= 1.0 + 1e-5


def test_emoji_split_over_tokens_arrive_whole(smol: Driver) -> None:
    request_id = smol.submit(complete("🦜🌊🐙🦜🌊🐙🦜🌊🐙🦜🌊🐙", max_tokens=24, ignore_eos=True))
    smol.run()
    assert smol.text(request_id) == "🐙" * 8
    deltas = [e for e in smol.events[request_id] if isinstance(e, TextDelta)]
    assert smol.finish(request_id).usage.output_tokens == 24  # three tokens to a character
    assert {character for delta in deltas for character in delta.text} == {"🐙"}


def test_echo_returns_the_prompt_first(smol: Driver) -> None:
    text, _ = smol.ask(complete("Once upon a time", echo=True))
    assert text.startswith("Once upon a time")
    assert len(text) > len("Once upon a time")


def test_token_ids_are_a_prompt_too(smol: Driver) -> None:
    ids = tuple(int(t) for t in smol.engine._model.tokenize("Once upon a time", add_special=True))
    assert smol.ask(complete(ids))[0] == smol.ask(complete("Once upon a time"))[0]
    with pytest.raises(InvalidRequest, match="from 0 to 49151"):
        smol.submit(complete((1, 49152)))


def test_the_special_token_at_the_beginning_is_not_doubled(gemma: Driver) -> None:
    with_bos, finish = gemma.ask(complete("<bos>The sea is"))
    without, other = gemma.ask(complete("The sea is"))
    assert (with_bos, finish.usage.input_tokens) == (without, other.usage.input_tokens)


# --- refusals, cancelling ----------------------------------------------------------------------


def test_a_prompt_beyond_n_ctx_is_refused_with_the_numbers(smol: Driver) -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        smol.submit(complete("word " * 2000))
    assert caught.value.n_ctx == 1024
    assert caught.value.n_tokens is not None
    assert caught.value.n_tokens > 1990


def test_a_request_with_a_context_of_its_own_keeps_to_it(smol: Driver) -> None:
    """Neither prompt nor answer goes beyond, and never beyond the model's own."""
    n_prompt = smol.ask(complete("word " * 200, max_tokens=1))[1].usage.input_tokens
    with pytest.raises(ContextLengthExceeded) as caught:
        smol.submit(complete("word " * 200, context_limit=n_prompt))
    assert (caught.value.n_tokens, caught.value.n_ctx) == (n_prompt, n_prompt)
    for most in (None, 100):
        finish = smol.ask(
            complete("word " * 200, context_limit=n_prompt + 5, max_tokens=most, ignore_eos=True)
        )[1]
        assert (finish.reason, finish.usage.output_tokens) == ("length", 5)
    with pytest.raises(ContextLengthExceeded, match="maximum context length is 1024 tokens"):
        smol.submit(complete("word " * 2000, context_limit=4096))


def test_what_it_does_where_a_request_is_silent_is_told(smol: Driver) -> None:
    told = smol.engine.facts.sampling
    assert told is not None
    assert (told.temperature, told.top_k, told.seed) == (0.8, 40, None)


def test_a_cancelled_request_says_nothing_more_and_frees_its_slot(smollm2_path: Path) -> None:
    engine = load(smollm2_path, slots=1)
    driver = Driver(engine)
    first = driver.submit(chat("Write a poem about the sea.", max_tokens=200, ignore_eos=True))
    second = driver.submit(chat("Who wrote Hamlet?", max_tokens=4))
    while not driver.text(first):
        driver.step()
    engine.cancel(first)
    said = len(driver.events[first])
    driver.run()
    assert len(driver.events[first]) == said
    assert driver.finish(second).usage.output_tokens == 4
    engine.close()


def test_a_request_cancelled_while_waiting_never_starts(smollm2_path: Path) -> None:
    engine = load(smollm2_path, slots=1)
    driver = Driver(engine)
    driver.submit(chat("Who wrote Hamlet?", max_tokens=4))
    second = driver.submit(chat("Write a poem.", max_tokens=4))
    engine.cancel(second)
    driver.run()
    assert driver.events[second] == []
    engine.close()


def test_a_file_that_is_no_model_is_refused_with_llama_cpps_words(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 64)
    with pytest.raises(LoadFailed, match=r"llama\.cpp refused .*broken\.gguf: .+"):
        load(broken)


# --- embeddings --------------------------------------------------------------------------------


def test_embeddings_of_a_chat_model_are_unit_vectors_that_tell_meaning(smol: Driver) -> None:
    cat, kitten, tax = smol.embed(
        "The cat sat on the mat.", "A cat is sitting on a mat.", "Corporate tax law of 1987, section 4."
    )
    assert cat.shape == (576,)
    assert np.linalg.norm(cat) == pytest.approx(1.0, abs=1e-5)
    assert float(cat @ kitten) > float(cat @ tax)


def test_a_long_input_in_chunks_equals_a_pooled_context(smollm2_path: Path) -> None:
    """The chunked mean of the ordinary context and llama.cpp's own mean pooling agree."""
    text = "The sea is blue and the sky is wide. " * 12
    plain, pooled = load(smollm2_path), load(smollm2_path, embeddings=True, pooling="mean")
    (ours,), (theirs,) = Driver(plain).embed(text), Driver(pooled).embed(text)
    assert float(ours @ theirs) == pytest.approx(1.0, abs=1e-3)
    plain.close()
    pooled.close()


def test_an_embedding_beside_a_stream_disturbs_neither(smol: Driver) -> None:
    alone, _ = smol.ask(chat("Who wrote Hamlet?", max_tokens=20))
    (expected,) = smol.embed("The cat sat on the mat.")
    stream = smol.submit(chat("Who wrote Hamlet?", max_tokens=20))
    smol.step()
    (vector,) = smol.embed("The cat sat on the mat.")
    assert smol.text(stream) == alone
    assert float(vector @ expected) == pytest.approx(1.0, abs=1e-4)


def test_an_embedding_model_refuses_to_chat(smollm2_path: Path) -> None:
    engine = load(smollm2_path, embeddings=True, pooling="mean")
    with pytest.raises(InvalidRequest, match="is an embedding model"):
        Driver(engine).submit(chat("Hi"))
    engine.close()


def test_an_input_too_long_to_embed_is_refused_with_the_numbers(smol: Driver) -> None:
    with pytest.raises(ContextLengthExceeded, match="maximum input length is 1024"):
        smol.embed("word " * 2000)


# --- gemma: another architecture, no template ---------------------------------------------------


def test_gemma_completes_text(gemma: Driver) -> None:
    text, finish = gemma.ask(complete("Monday, Tuesday, Wednesday,", max_tokens=4))
    assert text == " Thursday, Friday,"
    assert finish.usage.output_tokens == 4


@pytest.mark.parametrize("fixture", ["smollm2_path", "gemma3_path"])
def test_two_threads_say_what_one_says(fixture: str, request: pytest.FixtureRequest) -> None:
    """A thread pool from a second copy of ggml's library once computed nonsense, on two threads only."""
    path = request.getfixturevalue(fixture)
    one, two = load(path, slots=1), load(path, slots=1, threads=2)
    prompt = complete("Monday, Tuesday, Wednesday,", max_tokens=4)
    assert Driver(two).ask(prompt)[0] == Driver(one).ask(prompt)[0] != ""
    one.close()
    two.close()


def test_a_model_without_a_chat_template_still_chats(gemma: Driver) -> None:
    _, finish = gemma.ask(chat("Hello"))
    assert finish.usage.output_tokens > 0
    assert gemma.engine.facts.has_chat_template is False


def test_errors_travel_as_values() -> None:
    error = ContextLengthExceeded("too long", n_tokens=5, n_ctx=4)
    assert error.info() == ErrorInfo(code="context_length_exceeded", message="too long", n_tokens=5, n_ctx=4)

"""Frames: the same bodies however the bytes were cut, and nothing absurd."""

from __future__ import annotations

import itertools
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    Finish,
    ImagePart,
    Message,
    ReasoningDelta,
    Sampling,
    TextDelta,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from inference.errors import ErrorInfo
from inference.messages import (
    MAX_FRAME_BYTES,
    Alive,
    Cancel,
    Embed,
    FrameReader,
    FromWorker,
    Generate,
    Hello,
    Load,
    LoadError,
    LoadProgress,
    Memory,
    ModelFacts,
    Output,
    Outputs,
    PrefixCause,
    PrefixReport,
    PromptProgress,
    Ready,
    Shutdown,
    ToWorker,
    frame,
    from_worker_decoder,
    to_worker_decoder,
)
from inference.model_spec import ModelSpec

CHAT = ChatRequest(
    model="m",
    messages=(
        Message(role="user", content=(TextPart(text="hé"), ImagePart(url="data:,"))),
        Message(role="assistant", tool_calls=(ToolCall(id="1", name="f", arguments="{}"),)),
        Message(role="tool", content="x", tool_call_id="1"),
    ),
    tools=(Tool(name="f", parameters={"type": "object", "properties": {}}),),
    sampling=Sampling(temperature=0.5, logit_bias=((1, -1.0),)),
    max_tokens=5,
    stop=("\n",),
)
CAUSE = PrefixCause(name="unknown", side="client", tokens=3, remedy="look")
PREFIX = PrefixReport(
    prompt_tokens=9,
    reused_tokens=5,
    source="disk",
    slot=1,
    first_difference=5,
    in_prompt="é",
    causes=(CAUSE,),
)
ERROR = ErrorInfo(code="overloaded", message="full", retry_after_s=1.5)
FACTS = ModelFacts(
    architecture="llama",
    n_ctx=1,
    n_ctx_train=2,
    n_vocab=3,
    slots=4,
    engine_build="b",
    has_chat_template=True,
    rss_bytes=5,
)
TO_WORKER: list[ToWorker] = [
    Load(spec=ModelSpec(name="m", path="p", aliases=("x",))),
    Generate(request_id=1, request=CHAT),
    Generate(request_id=2, request=CompletionRequest(model="m", prompt=(1, 2))),
    Embed(request_id=3, request=EmbeddingRequest(model="m", inputs=("a", (1,)))),
    Cancel(request_id=1),
    Shutdown(),
]
LOGPROB = TokenLogprob(token="a", bytes_=b"\xff", logprob=-0.5, top=(("b", b"b", -1.0),))
FROM_WORKER: list[FromWorker] = [
    Hello(pid=1, rss_bytes=2),
    LoadProgress(fraction=0.5),
    Ready(facts=FACTS),
    LoadError(error=ERROR),
    Memory(rss_bytes=9),
    Alive(),
    Outputs(
        outputs=[
            Output(1, TextDelta(text="é", logprobs=(LOGPROB,))),
            Output(2, ReasoningDelta(text="r")),
            Output(3, ToolCallDelta(index=0, id="c", name="f", arguments="{")),
            Output(4, Finish(reason="stop", usage=Usage(input_tokens=1))),
            Output(5, Embeddings(vectors=(b"\0\0\0\0",), dimensions=1, usage=Usage())),
            Output(6, PromptProgress(done=1, total=2, cached=0)),
            Output(7, ERROR),
            Output(8, PREFIX),
        ]
    ),
]


@pytest.mark.parametrize("message", TO_WORKER, ids=lambda m: type(m).__name__)
def test_what_the_pool_says_arrives_as_it_was(message: ToWorker) -> None:
    (body,) = FrameReader().feed(frame(message))
    assert to_worker_decoder.decode(body) == message


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda m: type(m).__name__)
def test_what_the_worker_says_arrives_as_it_was(message: FromWorker) -> None:
    (body,) = FrameReader().feed(frame(message))
    assert from_worker_decoder.decode(body) == message


def test_each_side_understands_only_its_own_half() -> None:
    (body,) = FrameReader().feed(frame(Shutdown()))
    with pytest.raises(msgspec.ValidationError):
        from_worker_decoder.decode(body)


def test_frames_cut_at_every_point() -> None:
    data = b"".join(frame(message) for message in FROM_WORKER)
    whole = FrameReader().feed(data)
    assert len(whole) == len(FROM_WORKER)
    for cut in range(len(data) + 1):
        reader = FrameReader()
        assert reader.feed(data[:cut]) + reader.feed(data[cut:]) == whole


def test_frames_one_byte_at_a_time() -> None:
    data = b"".join(frame(message) for message in TO_WORKER)
    reader = FrameReader()
    bodies = [body for i in range(len(data)) for body in reader.feed(data[i : i + 1])]
    assert [to_worker_decoder.decode(body) for body in bodies] == TO_WORKER


@given(bodies=st.lists(st.binary(max_size=20)), cuts=st.lists(st.integers(0, 200), max_size=8))
def test_any_bodies_in_any_pieces(bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(struct.pack("<I", len(body)) + body for body in bodies)
    reader = FrameReader()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    found = [body for a, b in itertools.pairwise(places) for body in reader.feed(data[a:b])]
    assert found == bodies


def test_an_absurd_length_is_refused_before_anything_is_kept() -> None:
    with pytest.raises(ValueError, match=str(MAX_FRAME_BYTES)):
        FrameReader().feed(struct.pack("<I", MAX_FRAME_BYTES + 1))
    reader = FrameReader()
    assert reader.feed(b"\xff\xff") == []
    with pytest.raises(ValueError, match="frame"):
        reader.feed(b"\xff\xff")

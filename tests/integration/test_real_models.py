"""The whole way with real parts: `hotseat serve`, the shipped models.toml, the demo models, the openai SDK.

Slow machines only make this slower: nothing here depends on time.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from proxy.model_files import hotseat_home
from tests.proxy.served import ROOT, Serving, serving_config

CAPITAL: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]


@pytest.fixture(autouse=True)
def demo_models(smollm2_path: Path, gemma3_path: Path) -> None:
    """Both are there, or the test is skipped with the reason."""


@contextmanager
def serving_demo(folder: Path, *options: str) -> Iterator[tuple[Serving, openai.OpenAI]]:
    """The shipped configuration, with KV snapshots in the test's own folder."""
    config = folder / "models.toml"
    shipped = (ROOT / "models.toml").read_text()
    config.write_text(shipped.replace("kv_store = {", f'kv_store = {{ path = "{folder}/kv",'))
    home = str(hotseat_home(os.environ))
    with (
        serving_config(folder, config, *options, HOTSEAT_HOME=home) as served,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=300) as client,
    ):
        yield served, client


def state(served: Serving) -> dict[str, Any]:
    with urllib.request.urlopen(f"{served.url}/api/state", timeout=60) as response:
        found: dict[str, Any] = json.load(response)
    return found


def resident(served: Serving) -> list[str]:
    return [model["name"] for model in state(served)["models"] if model["state"] == "ready"]


def ask(client: openai.OpenAI, model: str, max_tokens: int = 12) -> openai.types.chat.ChatCompletion:
    return client.chat.completions.create(model=model, messages=CAPITAL, temperature=0, max_tokens=max_tokens)


def test_with_room_for_one_both_answer_and_take_turns(tmp_path: Path) -> None:
    with serving_demo(tmp_path, "--budget", "300000000") as (served, client):
        answer = ask(client, "smollm2-135m")
        assert answer.choices[0].message.content == "The capital of France is Paris."
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (27, 8)
        assert resident(served) == ["smollm2-135m"]
        assert ask(client, "gemma3-270m").usage is not None
        assert resident(served) == ["gemma3-270m"]
        assert state(served)["swaps"] == 1
        assert served.stop()[0] == 0


def test_with_room_for_both_nothing_is_swapped(tmp_path: Path) -> None:
    with serving_demo(tmp_path, "--budget", "2GiB") as (served, client):
        for model in ("smollm2-135m", "gemma3-270m", "smollm2", "gemma3-270m"):
            ask(client, model, max_tokens=2)
        assert sorted(resident(served)) == ["gemma3-270m", "smollm2-135m"]
        assert state(served)["swaps"] == 0


def test_a_session_goes_on_after_its_model_was_swapped_out(tmp_path: Path) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "You are a helpful assistant. " * 30},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    with serving_demo(tmp_path, "--budget", "300000000") as (served, client):
        first = client.chat.completions.create(
            model="smollm2", messages=messages, temperature=0, max_tokens=8
        )
        ask(client, "gemma3-270m", max_tokens=1)
        assert resident(served) == ["gemma3-270m"]
        reply = first.choices[0].message.content
        messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": "And of Italy?"}]
        second = client.chat.completions.create(
            model="smollm2", messages=messages, temperature=0, max_tokens=8
        )
        assert first.usage is not None
        assert second.usage is not None
        assert second.usage.prompt_tokens_details is not None
        assert (second.usage.prompt_tokens_details.cached_tokens or 0) >= first.usage.prompt_tokens


def test_streams_through_the_proxy_equal_their_unstreamed_answers(tmp_path: Path) -> None:
    questions = ["Who wrote Hamlet?", "Name three colours.", "What is 2+2?", "Say hello."]
    with serving_demo(tmp_path) as (_, client):

        def streamed(question: str) -> str:
            with client.chat.completions.create(
                model="smollm2",
                messages=[{"role": "user", "content": question}],
                temperature=0,
                max_tokens=16,
                stream=True,
            ) as stream:
                return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)

        def whole(question: str) -> str:
            answer = client.chat.completions.create(
                model="smollm2",
                messages=[{"role": "user", "content": question}],
                temperature=0,
                max_tokens=16,
            )
            return answer.choices[0].message.content or ""

        alone = [whole(question) for question in questions]
        with ThreadPoolExecutor(len(questions)) as threads:
            assert list(threads.map(streamed, questions)) == alone


def test_a_worker_killed_mid_stream_is_an_error_and_is_started_again(tmp_path: Path) -> None:
    with serving_demo(tmp_path) as (served, client):
        stream = client.chat.completions.create(
            model="smollm2",
            messages=CAPITAL,
            max_tokens=2000,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        next(iter(stream))
        workers = served.workers()
        worker = max(workers, key=lambda child: child.memory_info().rss)
        worker.send_signal(signal.SIGKILL)
        with pytest.raises(openai.APIError, match="SIGKILL"):
            for _ in stream:
                pass
        assert ask(client, "smollm2").choices[0].message.content == "The capital of France is Paris."


def test_a_prompt_beyond_n_ctx_is_refused_by_code(tmp_path: Path) -> None:
    with serving_demo(tmp_path) as (_, client):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                model="smollm2", messages=[{"role": "user", "content": "word " * 5000}]
            )
        assert caught.value.code == "context_length_exceeded"
        assert "maximum context length is 4096 tokens" in str(caught.value)


def test_embeddings_arrive_as_unit_vectors(tmp_path: Path) -> None:
    with serving_demo(tmp_path) as (_, client):
        answer = client.embeddings.create(model="smollm2", input=["The sea is wide.", "Tax law."])
        vectors = np.array([entry.embedding for entry in answer.data])
        assert vectors.shape == (2, 576)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-4)


def test_a_truncated_model_is_refused_with_its_cause_and_others_are_served(
    tmp_path: Path, smollm2_path: Path
) -> None:
    whole = smollm2_path.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "huge.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**63, 5))
    config = tmp_path / "models.toml"
    config.write_text(
        f'[memory]\nkv_store = false\n[models.good]\npath = "{smollm2_path}"\nn_ctx = 512\n'
        '[models.cut]\npath = "cut.gguf"\n[models.huge]\npath = "huge.gguf"\n'
    )
    with (
        serving_config(tmp_path, config) as served,
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError, match=r"cut\.gguf.*download"):
            ask(client, "cut")
        with pytest.raises(openai.InternalServerError, match=r"huge\.gguf"):
            ask(client, "huge")
        assert ask(client, "good").choices[0].message.content == "The capital of France is Paris."

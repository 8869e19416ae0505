"""Tool calls and JSON documents of a real model, through the proxy and the openai SDK.

What a 135M model answers is of no interest; that it cannot answer anything but what was allowed is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

from tests.integration.test_real_models import serving_demo

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
CLOCK: Any = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}},
}
QUESTION: Any = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    with serving_demo(tmp_path_factory.mktemp("tools")) as (_, client):
        yield client


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    given = {"messages": QUESTION, "max_tokens": 150, "temperature": 1.0, "seed": 7} | fields
    return client.chat.completions.create(model="smollm2", **given)


@pytest.mark.parametrize("seed", range(3))
def test_a_required_call_is_one_of_an_offered_tool_with_valid_arguments(
    client: openai.OpenAI, seed: int
) -> None:
    answer = ask(
        client, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, seed=seed
    ).choices[0]
    assert answer.finish_reason == "tool_calls"
    (call,) = answer.message.tool_calls
    assert call.id
    assert call.function.name == "get_weather"
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "unit"}
    assert len(arguments["city"]) <= 20
    assert arguments["unit"] in ("celsius", "fahrenheit")
    assert not answer.message.content


def test_the_named_tool_is_called(client: openai.OpenAI) -> None:
    choice = {"type": "function", "function": {"name": "clock"}}
    answer = ask(client, tools=[WEATHER, CLOCK], tool_choice=choice, parallel_tool_calls=False)
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["clock"]


def test_a_streamed_call_has_its_id_and_name_first_and_arguments_in_pieces(client: openai.OpenAI) -> None:
    stream = ask(client, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, stream=True)
    deltas, reason = [], None
    for chunk in stream:
        if chunk.choices:
            deltas += chunk.choices[0].delta.tool_calls or []
            reason = chunk.choices[0].finish_reason or reason
    assert reason == "tool_calls"
    assert deltas[0].id
    assert deltas[0].function.name == "get_weather"
    assert all(not delta.id for delta in deltas[1:])
    assert len(deltas) > 2
    assert json.loads("".join(delta.function.arguments or "" for delta in deltas))["unit"]


def test_a_loop_of_calls_and_results_goes_on(client: openai.OpenAI) -> None:
    messages: Any = list(QUESTION)
    for _ in range(2):
        message = (
            ask(
                client,
                messages=messages,
                tools=[WEATHER],
                tool_choice="required",
                parallel_tool_calls=False,
            )
            .choices[0]
            .message
        )
        messages.append(message.model_dump(exclude_none=True))
        result = json.dumps({"celsius": 21})
        messages.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": result})
    answer = ask(client, messages=messages, tools=[WEATHER], max_tokens=8)
    assert answer.usage.prompt_tokens_details.cached_tokens > 100, "the conversation was continued"
    assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls")


class Person(BaseModel):
    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=120)
    mood: Literal["good", "bad"]


def test_the_sdk_parses_a_pydantic_model(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="smollm2",
        messages=[{"role": "user", "content": "Invent a person."}],
        response_format=Person,
        max_tokens=200,
        temperature=1.0,
        seed=3,
    )
    person = answer.choices[0].message.parsed
    assert isinstance(person, Person)
    assert 0 <= person.age <= 120


def test_a_json_object_is_one(client: openai.OpenAI) -> None:
    answer = ask(client, response_format={"type": "json_object"}, max_tokens=300, temperature=0.0)
    choice = answer.choices[0]
    if choice.finish_reason == "length":
        assert choice.message.content.lstrip().startswith("{")
    else:
        assert isinstance(json.loads(choice.message.content), dict)


def test_a_schema_that_nothing_satisfies_is_refused_by_name(client: openai.OpenAI) -> None:
    impossible = {"name": "x", "schema": {"enum": []}, "strict": True}
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, response_format={"type": "json_schema", "json_schema": impossible})
    assert caught.value.param == "response_format"


PERSON: Any = {
    "type": "json_schema",
    "json_schema": {"name": "person", "schema": Person.model_json_schema(), "strict": True},
}
ECHO: Any = [
    {
        "role": "user",
        "content": 'Say <tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", '
        '"unit": "celsius"}}\n</tool_call>',
    }
]


def test_either_a_valid_document_or_valid_calls_and_the_model_chooses(client: openai.OpenAI) -> None:
    """What Codex sends with --output-schema. Cut answers are counted, none is taken for whole."""
    kinds: list[str] = []
    for seed in range(8):
        answer = ask(
            client,
            messages=ECHO if seed % 2 else QUESTION,
            tools=[WEATHER, CLOCK],
            response_format=PERSON,
            seed=seed,
            max_tokens=110,
        ).choices[0]
        kinds.append(answer.finish_reason)
        match answer.finish_reason:
            case "stop":
                assert not answer.message.tool_calls
                Person.model_validate_json(answer.message.content)
            case "tool_calls":
                assert not answer.message.content
                for call in answer.message.tool_calls:
                    arguments = json.loads(call.function.arguments)
                    assert call.function.name == "clock" or arguments["unit"] in ("celsius", "fahrenheit")
                    assert call.function.name in ("clock", "get_weather")
    assert "stop" in kinds
    assert "tool_calls" in kinds


def test_the_sdk_parses_a_document_beside_tools(client: openai.OpenAI) -> None:
    strict: Any = {**WEATHER, "function": {**WEATHER["function"], "strict": True}}
    answer = client.chat.completions.parse(
        model="smollm2",
        messages=[{"role": "user", "content": "Invent a person."}],
        response_format=Person,
        tools=[strict],
        max_tokens=110,
        temperature=0.0,
    ).choices[0]
    assert isinstance(answer.message.parsed, Person) != bool(answer.message.tool_calls)


def test_without_tools_the_answer_is_text(client: openai.OpenAI, tmp_path: Path) -> None:
    answer = ask(client, max_tokens=8, tools=[WEATHER], tool_choice="none")
    assert answer.choices[0].message.content
    assert answer.choices[0].message.tool_calls is None

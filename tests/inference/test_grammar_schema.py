"""Schemas made ready: what stays, what goes, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from inference.errors import InvalidRequest
from inference.grammar_schema import MAX_DEPTH, prepare, with_definitions


def ready(schema: Any, *, closed: bool = False) -> Any:
    return prepare(schema, "p", strict=False, closed=closed).schema


def test_annotations_go_and_the_order_of_properties_stays() -> None:
    schema = {
        "title": "T",
        "properties": {"z": {"type": "string", "description": "d", "default": 1}, "a": {"examples": [1]}},
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "encrypted": True,
        "type": "object",
    }
    assert ready(schema) == {"properties": {"z": {"type": "string"}, "a": {}}, "type": "object"}
    assert list(ready(schema)["properties"]) == ["z", "a"]


def test_properties_may_be_called_like_keywords() -> None:
    names = ("$ref", "enum", "const", "anyOf", "properties")
    schema = {
        "properties": {name: {"$ref": "#/$defs/s"} for name in names},
        "$defs": {"s": {"type": "string", "title": "t"}},
    }
    prepared = prepare(schema, "p", strict=True)
    assert with_definitions(prepared.schema, prepared.definitions) == {
        "properties": {name: {"$ref": "#/$defs/d0"} for name in names},
        "$defs": {"d0": {"type": "string"}},
    }


def test_a_part_of_a_schema_takes_along_the_definitions_it_needs() -> None:
    schema = {
        "properties": {"a": {"$ref": "#/$defs/tree"}, "b": {"$ref": "#/$defs/other"}},
        "$defs": {"tree": {"items": {"$ref": "#/$defs/tree"}}, "other": {"type": "null"}},
    }
    prepared = prepare(schema, "p", strict=True, prefix="x")
    assert isinstance(prepared.schema, dict)
    part = prepared.schema["properties"]["a"]
    assert with_definitions(part, prepared.definitions) == {
        "$ref": "#/$defs/x0", "$defs": {"x0": {"items": {"$ref": "#/$defs/x0"}}},
    }  # fmt: skip
    assert with_definitions(True, {}) == {}
    assert with_definitions(False, {}) == {"enum": []}


@pytest.mark.parametrize(
    ("schema", "is_closed"),
    [
        ({"properties": {"a": {}}}, True),
        ({"properties": {}}, True),
        ({"properties": {"a": {}}, "additionalProperties": {}}, False),
        ({"properties": {"a": {}}, "required": ["b"]}, False),
        ({"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}]}, False),
        ({"properties": {"a": {}}, "patternProperties": {"^x": {}}}, False),
        ({"type": "object"}, False),
    ],
)
def test_an_object_that_names_its_properties_takes_no_others(schema: dict[str, Any], is_closed: bool) -> None:
    assert (ready(schema, closed=True).get("additionalProperties") is False) == is_closed
    assert ready(schema).get("additionalProperties") is not False
    inner = ready({"items": {"anyOf": [schema, {"type": "null"}]}}, closed=True)["items"]["anyOf"][0]
    assert (inner.get("additionalProperties") is False) == is_closed
    beside = ready({"required": ["q"], "anyOf": [schema]}, closed=True)["anyOf"][0]
    assert beside.get("additionalProperties") is not False


def test_what_has_no_effect_is_no_matter() -> None:
    schema = {"propertyNames": {"type": "string"}, "uniqueItems": False, "unevaluatedProperties": True}
    assert prepare(schema, "p", strict=True).schema == {}


def test_notes_name_the_place_and_are_few() -> None:
    prepared = prepare(
        {"properties": {f"p{n}": {"uniqueItems": True} for n in range(50)}},
        "tools[2].parameters",
        strict=False,
    )
    assert prepared.notes[0] == "tools[2].parameters: /properties/p0/uniqueItems cannot be enforced"
    assert len(prepared.notes) == 20


def test_lists_of_items_of_older_drafts() -> None:
    assert ready({"items": [{"type": "string"}, True]}) == {"prefixItems": [{"type": "string"}, True]}


@pytest.mark.parametrize("schema", [None, 3, "string", []])
def test_what_is_no_schema_at_all(schema: Any) -> None:
    assert ready(schema) == {}
    with pytest.raises(InvalidRequest, match="expected a schema object"):
        prepare(schema, "response_format", strict=True)


def test_too_deep_names_the_place() -> None:
    schema: dict[str, Any] = {}
    for _ in range(MAX_DEPTH + 1):
        schema = {"items": schema}
    with pytest.raises(
        InvalidRequest, match=r"^tools\[3\]\.parameters: the schema is too deep at /items"
    ) as error:
        prepare(schema, "tools[3].parameters", strict=False)
    assert error.value.param == "tools[3].parameters"
    assert ready(schema["items"])


def test_constants_that_are_not_json() -> None:
    with pytest.raises(InvalidRequest, match="not plain JSON"):
        prepare({"enum": [float("inf")]}, "p", strict=False)

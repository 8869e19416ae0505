"""A Report as JSON and back. Money is a string with all its digits; `format` says how to read it. Pure."""

from __future__ import annotations

import json

from pydantic import TypeAdapter, ValidationError

from bench.errors import BenchError
from bench.reports.report import FORMAT, Report

KIND = "hotseat-bench-report"


def to_json(report: Report) -> str:
    document = {"kind": KIND, **TypeAdapter(Report).dump_python(report, mode="json")}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str) -> Report:
    """Raises BenchError."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise BenchError(f"not JSON: {error}") from error
    if not isinstance(document, dict) or document.pop("kind", None) != KIND:
        raise BenchError(f"no report: expected a JSON object of the kind {KIND!r}")
    if document.get("format") != FORMAT:
        raise BenchError(
            f"a report of format {document.get('format')!r}: this version of Hotseat reads {FORMAT}"
        )
    try:
        return TypeAdapter(Report).validate_python(document, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BenchError(f"a report that cannot be read: {key}: {first['msg']}") from error

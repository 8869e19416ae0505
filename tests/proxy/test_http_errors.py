"""Errors at the HTTP border: every one has a status, a type and the headers its status needs."""

from __future__ import annotations

import json

import pytest

from inference import errors as inference_errors
from inference.errors import ConfigError, HotseatError, LoadFailed, Overloaded, ShuttingDown
from proxy.errors import BodyTimeout, Forbidden, Unauthorized, headers_of, openai_body, status_of

INTERNAL = {"internal_error"}


def all_classes(cls: type[HotseatError] = HotseatError) -> list[type[HotseatError]]:
    return [cls, *(deeper for sub in cls.__subclasses__() for deeper in all_classes(sub))]


@pytest.mark.parametrize("cls", all_classes(), ids=lambda cls: cls.__name__)
def test_every_error_has_a_status_of_its_own(cls: type[HotseatError]) -> None:
    status = status_of(cls("x"))
    assert (status == 500) == (cls.code in INTERNAL | {"engine_fault"})
    if cls.fault == "client" or issubclass(cls, ConfigError):  # of a reload: who asks for it can mend it
        assert 400 <= status < 500
    elif cls.fault == "provider":  # some of its refusals keep their meaning: unpaid, too many, unknown
        assert status >= 400
    else:
        assert status >= 500


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Overloaded("x", retry_after_s=0.2), b"1"),
        (Overloaded("x", retry_after_s=7.1), b"8"),
        (ShuttingDown("x"), b"2"),
        (LoadFailed("x", retry_after_s=30.0), b"30"),
    ],
)
def test_retry_after(error: HotseatError, expected: bytes) -> None:
    assert dict(headers_of(error)) == {b"retry-after": expected}


def test_what_a_retry_cannot_cure_says_so() -> None:
    assert dict(headers_of(LoadFailed("x"))) == {b"x-should-retry": b"false"}


def test_headers_of_statuses() -> None:
    assert dict(headers_of(Unauthorized("x"))) == {b"www-authenticate": b"Bearer"}
    assert dict(headers_of(BodyTimeout("x"))) == {b"connection": b"close"}
    assert headers_of(Forbidden("x")) == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (inference_errors.InvalidRequest("m", param="top_k"), "invalid_request_error"),
        (Unauthorized("m"), "authentication_error"),
        (Forbidden("m"), "permission_error"),
        (inference_errors.WorkerCrashed("m"), "server_error"),
    ],
)
def test_body(error: HotseatError, kind: str) -> None:
    assert json.loads(openai_body(error, "r1")) == {
        "error": {
            "message": "m",
            "type": kind,
            "param": error.param,
            "code": error.code,
            "hotseat": {"code": error.code, "fault": error.fault, "request_id": "r1"},
        }
    }

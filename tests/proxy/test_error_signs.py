"""What the words and codes of providers' errors mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.error_signs import Signs, signs_of
from proxy.openai_chunks import error_in


@pytest.mark.parametrize(
    ("text", "codes", "signs"),
    [
        ("no such tool", ["invalid_request_error"], Signs()),
        ("Rate limit reached for requests", ["rate_limit_exceeded"], Signs()),
        ("Your credit balance is too low to access the API", [], Signs(is_unpaid=True)),
        ("Insufficient credits. Add more", [], Signs(is_unpaid=True)),
        ("This request requires more credits, or fewer max_tokens.", [], Signs(is_unpaid=True)),
        ("You exceeded your current quota", ["insufficient_quota"], Signs(is_unpaid=True)),
        ("whatever", ["1113"], Signs(is_unpaid=True)),
        ("whatever", ["context_length_exceeded"], Signs(is_overflow=True)),
        ("Prompt exceeds max length", ["1261"], Signs(is_overflow=True)),
        (
            "This model's maximum context length is 8 tokens. However, your messages resulted in 9 tokens.",
            [],
            Signs(is_overflow=True, n_tokens=9, n_ctx=8),
        ),
        ("Please try again in 20s.", [], Signs(retry_after_s=20.0)),
        ("Please try again in 250ms.", [], Signs(retry_after_s=0.25)),
        ("Please try again in 999999s.", [], Signs(retry_after_s=3600.0)),
        ("Please try again in a while.", [], Signs()),
    ],
)
def test_words_and_codes(text: str, codes: list[str], signs: Signs) -> None:
    assert signs_of(text, codes, {}) == signs


def test_another_hotseat_says_it_all() -> None:
    details = {"code": "context_length_exceeded", "n_tokens": 9, "n_ctx": 8, "retry_after_s": 2.5}
    found = signs_of("", [], {"hotseat": details})
    assert found == Signs(is_overflow=True, n_tokens=9, n_ctx=8, retry_after_s=2.5)


@given(
    details=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["code", "n_tokens", "n_ctx", "retry_after_s"]), inner)
        ),
    )
)
def test_details_of_any_shape_do_no_harm(details: object) -> None:
    found = signs_of("", [], {"hotseat": details, "n_ctx": details, "n_prompt_tokens": details})
    assert found.retry_after_s is None or 0 < found.retry_after_s <= 3600


def test_fault_29_an_exhausted_balance_is_told_from_a_limit_by_its_status() -> None:
    body = b'{"error":{"message":"Your credit balance is too low","type":"invalid_request_error"}}'
    assert error_in(body, 400).status == 402
    assert error_in(b'{"error":{"message":"slower","code":"rate_limit_exceeded"}}', 429).status == 429

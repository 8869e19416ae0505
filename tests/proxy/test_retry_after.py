"""When a provider says to come back."""

from __future__ import annotations

import pytest

from proxy.upstreams.http_client import retry_after_s

NOON = 1795348800.0  # Sun, 22 Nov 2026 12:00:00 GMT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("20", 20.0),
        ("86400", 3600.0),
        ("9" * 64, 3600.0),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 13:00:30 +0100", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Mon, 22 Nov 2027 12:00:00 GMT", 3600.0),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Sun, 99 Nov 2026 12:00:00 GMT", None),
    ],
)
def test_seconds_and_dates(header: str, seconds: float | None) -> None:
    assert retry_after_s(header, NOON) == seconds

"""What can go wrong with whoever answers for us over HTTP, before it is said whose fault that is.

    UpstreamError
    ├── Unreachable     no connection was made: nothing was asked yet
    │   └── Untrusted   somebody is there, and is not who it should be (TLS)
    ├── Broken          the connection ended in the middle
    ├── Silent          nothing came within a deadline
    ├── BadAnswer       something came that is no answer: not HTTP, not JSON, no end, too much of it
    └── Reported        it said itself what is wrong, by a status or inside an answer

An upstream translates them into a HotseatError once: the same broken connection is a crashed
worker of ours, or somebody else's outage.
"""

from __future__ import annotations


class UpstreamError(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unreachable(UpstreamError):
    """No connection was made."""


class Untrusted(Unreachable):
    """The other side's certificate is not good."""


class Broken(UpstreamError):
    """The connection ended before the answer did."""


class Silent(UpstreamError):
    """Nothing came within a deadline."""


class BadAnswer(UpstreamError):
    """What came is no answer."""


class Reported(UpstreamError):
    """`status` is None for an error inside an answer that had begun well.

    `is_overflow`: the prompt does not fit the context, by whichever words it was said.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        param: str | None = None,
        retry_after_s: float | None = None,
        is_overflow: bool = False,
        n_tokens: int | None = None,
        n_ctx: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.is_overflow = is_overflow
        self.n_tokens = n_tokens
        self.n_ctx = n_ctx

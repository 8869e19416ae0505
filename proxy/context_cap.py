"""How much of a context the requests of one run may fill, where that is less than the model has. Pure.

Our own engines count for themselves (`context_limit` of a request). Of what goes elsewhere nobody here knows
the tokens before it is answered: they are estimated by the bytes of the body, at the rate that the run's last
answer from that model came to.
"""

from __future__ import annotations

from inference.errors import ContextLengthExceeded

BYTES_PER_TOKEN = 4.0
"""Of a body in JSON, until an answer has told: 3.7 to 4.5 with what harnesses send (tools, code, prose)."""

LEAST_TOKENS = 500
"""A shorter prompt says little about the rate: half of it is the chat template's own."""

LEAST_RATE, MOST_RATE = 1.0, 12.0
"""Outside of it a count is a mistake, or most of the body an image."""


class ContextCap:
    """Of one run. Fed on the event loop alone."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._rates: dict[str, float] = {}  # bytes of a token, by the model

    def check(self, model: str, n_bytes: int) -> None:
        """Raises ContextLengthExceeded for a body that is estimated to leave no room."""
        n_tokens = round(n_bytes / self._rates.get(model, BYTES_PER_TOKEN))
        if n_tokens >= self.limit:
            raise ContextLengthExceeded(
                f"This model's maximum context length is {self.limit} tokens. However, your messages resulted"
                f" in about {n_tokens} tokens. Please reduce the length of the messages.",
                param="messages",
                n_tokens=n_tokens,
                n_ctx=self.limit,
            )

    def learn(self, model: str, n_bytes: int, n_tokens: int) -> None:
        """What a body came to, as whoever answered it counted."""
        if n_tokens >= LEAST_TOKENS:
            self._rates[model] = min(max(n_bytes / n_tokens, LEAST_RATE), MOST_RATE)

"""What sections of models.toml are made of, wherever they are written: their base, and values that several
of them have."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from proxy.units import parse_duration_s

MAX_N_CTX = 2**24


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def matches(pattern: str, expected: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


# Capitals only: a key pasted here instead of a name is refused, and not shown.
EnvName = Annotated[
    str, matches(r"[A-Z_][A-Z0-9_]{0,127}", "the name of an environment variable, in capitals, not the key")
]

_NAME = r"[A-Za-z0-9][A-Za-z0-9._:+@-]{0,127}"
_EXPECTED_NAME = "up to 128 letters, digits and . _ : + @ -, starting with a letter or digit"

Name = Annotated[str, matches(_NAME, _EXPECTED_NAME)]
RouteName = Annotated[str, matches(rf"{_NAME}(/{_NAME}){{0,3}}", f"{_EXPECTED_NAME}, parts joined by /")]
Text = Annotated[str, Field(min_length=1, max_length=4096)]
Seconds = Annotated[float, BeforeValidator(parse_duration_s)]
PositiveSeconds = Annotated[float, Field(gt=0), BeforeValidator(parse_duration_s)]

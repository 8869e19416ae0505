"""What families write around the answer itself: markers that calls and documents stand behind.

A Frame belongs to a format; a format without one has nothing there. The parsers know these markers too,
as ReasoningStyle.dropped or by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Frame:
    """`lead`: how the prompt ends, where calls and text begin with it. `before_document`, `before_calls`:
    each may come, in this order."""

    lead: str = ""
    before_document: tuple[str, ...] = ()
    before_calls: tuple[str, ...] = ()


NO_FRAME: Final = Frame()

FRAMES: Final[Mapping[str, Frame]] = MappingProxyType(
    {
        "harmony": Frame(
            before_document=("<|start|>assistant", "<|channel|>final<|message|>"),
            before_calls=("<|start|>assistant",),
        ),
        "kimi-k3": Frame(
            before_document=("<|open|>response<|sep|>",),
            before_calls=("<|open|>response<|sep|>", "<|close|>response<|sep|>"),
        ),
        "functionary-3.2": Frame(lead=">>>", before_document=(">>>all\n",)),
        "cohere": Frame(before_document=("<|START_RESPONSE|>", "<|START_TEXT|>")),
        "granite": Frame(before_document=("<response>",)),
        "solar": Frame(
            before_document=("<|begin|>assistant", "<|content|>"),
            before_calls=("<|begin|>assistant", "<|tool_calls|>"),
        ),
    }
)
"""By the name of the format."""


def frame_of(format_name: str) -> Frame:
    return FRAMES.get(format_name, NO_FRAME)

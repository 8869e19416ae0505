"""ReasoningStyle: the markers between which a model thinks, found in its chat template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ReasoningStyle:
    """`dropped`: markers around the answer itself, which are not content either."""

    name: str
    start: str
    end: str
    dropped: tuple[str, ...] = ()

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that may be control tokens of a vocabulary and must reach the parser as text."""
        return (self.start, self.end, *self.dropped)

    def is_open_in(self, prompt: str) -> bool:
        """Whether the model, given this prompt, begins inside its reasoning."""
        _, start, after = prompt.rpartition(self.start.rstrip())
        return bool(start) and not after.strip()


THINK: Final = ReasoningStyle("think", "<think>", "</think>")

# In this order: the first whose characteristic text is in the template.
_STYLES: Final[tuple[tuple[str, ReasoningStyle], ...]] = (
    # Here the format (toolcall_formats/harmony.py) reads the channels itself; the markers are for whoever
    # asks whether and where the model reasons.
    ("<|channel|>analysis", ReasoningStyle("harmony", "<|channel|>analysis<|message|>", "<|end|>")),
    (
        "<|channel>thought",
        ReasoningStyle("gemma", "<|channel>thought\n", "<channel|>", ("<|tool_response>",)),
    ),
    (
        "'<|open|>'",
        ReasoningStyle(
            "kimi-k3",
            "<|open|>think<|sep|>",
            "<|close|>think<|sep|>",
            (
                "<|open|>response<|sep|>",
                "<|close|>response<|sep|>",
                "<|close|>message<|sep|>",
                "<|end_of_msg|>",
            ),
        ),
    ),
    (
        "<|think|>",
        ReasoningStyle(
            "solar",
            "<|think|>",
            "<|end|>",
            ("<|begin|>assistant", "<|content|>", "<|end|>", "<|tool_calls|>", "<|calls|>"),
        ),
    ),
    ("<seed:think>", ReasoningStyle("seed", "<seed:think>", "</seed:think>")),
    ("<mm:think>", ReasoningStyle("minimax", "<mm:think>", "</mm:think>")),
    ("[THINK]", ReasoningStyle("mistral", "[THINK]", "[/THINK]")),
    (
        "<|START_THINKING|>",
        ReasoningStyle(
            "cohere",
            "<|START_THINKING|>",
            "<|END_THINKING|>",
            ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
        ),
    ),
    (
        "to=self<|message|>",
        ReasoningStyle(
            "muse",
            " to=self<|message|>",
            "<|eom|>",
            (" to=user<|message|>", "<|start|>assistant", "<|eom|>", "<|eot|>"),
        ),
    ),
    ("<|inner_prefix|>", ReasoningStyle("apertus", "<|inner_prefix|>", "<|inner_suffix|>")),
    ("'<think{}>'.format", ReasoningStyle("hunyuan", "<think:opensource>", "</think:opensource>")),
    (
        "<response></response>",
        ReasoningStyle("granite", "<think>", "</think>", ("<response>", "</response>")),
    ),
    (
        "[BEGIN FINAL RESPONSE]",
        ReasoningStyle(
            "apriel",
            "Here are my reasoning steps:\n",
            "[BEGIN FINAL RESPONSE]",
            ("[END FINAL RESPONSE]",),
        ),
    ),
    ("<thinking>", ReasoningStyle("thinking", "<thinking>", "</thinking>")),
    ("<think>", THINK),
    ("</think>", THINK),
)


def detect_reasoning(template: str) -> ReasoningStyle | None:
    """The style that this chat template (its source) knows; None: the model does not reason apart."""
    return next((style for characteristic, style in _STYLES if characteristic in template), None)

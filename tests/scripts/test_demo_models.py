"""Model files out of packages: whole and verified, or not there at all."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.demo_models import DEMO_MODELS, DemoModel, Member, assemble, in_place, model_path
from bootstrap.failures import SetupError
from bootstrap.lockfiles import blocks
from bootstrap.places import find_places
from proxy.model_files import find_source

PARTS = (b"first half, ", b"second half")
MODEL = DemoModel(
    distribution="a-model",
    file="model.gguf",
    size_bytes=len(b"".join(PARTS)),
    sha256=hashlib.sha256(b"".join(PARTS)).hexdigest(),
    licence="some",
    parts=(Member("a-model-part1", "one/model.part0"), Member("a-model-part2", "two/model.part1")),
    terms=(Member("a-model", "a_model/NOTICE"),),
)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    directory = tmp_path / "wheels"
    directory.mkdir()
    for name, path, data in (
        ("a_model-1.0", "a_model/NOTICE", b"be nice"),
        ("a_model_part1-1.0", "one/model.part0", PARTS[0]),
        ("a_model_part2-1.0", "two/model.part1", PARTS[1]),
    ):
        with zipfile.ZipFile(directory / f"{name}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(path, data)
    return directory


def test_parts_become_one_file_with_its_terms_beside_it(tmp_path: Path, wheels: Path) -> None:
    path = tmp_path / "models" / "model.gguf"
    assemble(MODEL, wheels, path)
    assert path.read_bytes() == b"first half, second half"
    assert sorted(file.name for file in path.parent.iterdir()) == ["NOTICE", "model.gguf"]


def test_a_wrong_file_is_not_put_in_place(tmp_path: Path, wheels: Path) -> None:
    path = tmp_path / "models" / "model.gguf"
    with pytest.raises(SetupError, match=r"SHA-256 .*\n  remedy: "):
        assemble(replace(MODEL, sha256="0" * 64), wheels, path)
    assert list(path.parent.iterdir()) == []


def test_a_damaged_download_keeps_the_old_file(tmp_path: Path, wheels: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"the old one")
    with pytest.raises(SetupError):
        assemble(replace(MODEL, parts=MODEL.parts[:1]), wheels, path)
    assert path.read_bytes() == b"the old one"


def test_a_truncated_file_is_not_in_place(tmp_path: Path) -> None:
    places = find_places(ROOT, {"HOTSEAT_HOME": str(tmp_path)})
    path = model_path(places, MODEL)
    assert not in_place(places, MODEL)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"first half, ")
    assert not in_place(places, MODEL)
    path.write_bytes(b"".join(PARTS))
    assert in_place(places, MODEL)


def test_every_package_of_a_demo_model_is_pinned() -> None:
    pinned = blocks((ROOT / "locks" / "models.txt").read_text())
    assert {name for model in DEMO_MODELS for name in model.distributions} == set(pinned)


def test_the_server_looks_where_set_up_puts_them(tmp_path: Path) -> None:
    places = find_places(ROOT, {"HOTSEAT_HOME": str(tmp_path)})
    for model in DEMO_MODELS:
        found = find_source(f"pypi:{model.distribution}/{model.file}", tmp_path / "models")
        assert found.path == model_path(places, model)

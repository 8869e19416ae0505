"""Which file a model is made of, over HTTP and without a load."""

from __future__ import annotations

import os
from pathlib import Path

from inference.file_identity import identity
from inference.gguf import part_paths
from inference.model_spec import ModelSpec
from proxy.file_identities import FileIdentities
from tests.proxy.rig import Setup, run, serving


def test_the_file_of_a_model_is_told_by_name_and_alias_and_nothing_is_loaded(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path, Setup(aliases={"echo": ("parrot",)})) as rig:
            told = await rig.get("/api/models/parrot/file")
            assert told["model"] == "echo"
            assert told["identity"].startswith("sampled-sha256:")
            assert told["problem"] is None
            assert (await rig.model("echo"))["state"] == "unloaded"
            assert (await rig.get("/api/models/nobody/file"))["error"]["code"] == "model_not_found"

    run(main())


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    async def main() -> None:
        path, known = tmp_path / "a.gguf", FileIdentities()
        path.write_bytes(b"one")
        os.utime(path, (1000, 1000))
        spec = ModelSpec(name="a", path=str(path))
        first = await known.of(spec)
        assert (first.n_bytes, first.identity) == (3, identity([path]))
        path.write_bytes(b"two")
        os.utime(path, (1000, 1000))
        assert (await known.of(spec)).identity == first.identity  # by size and time it is the same
        os.utime(path, (2000, 2000))
        assert (await known.of(spec)).identity == identity([path]) != first.identity
        path.unlink()
        gone = await known.of(spec)
        assert (gone.identity, gone.problem) == (None, "No such file or directory")
        assert (await known.of(ModelSpec(name="b", path="", engine="command"))).identity is None

    run(main())


def test_a_split_model_is_all_of_its_parts(tmp_path: Path) -> None:
    parts = [tmp_path / f"big-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert part_paths(parts[0]) == parts
    assert part_paths(parts[1]) == [parts[1]]
    assert part_paths(tmp_path / "small.gguf") == [tmp_path / "small.gguf"]

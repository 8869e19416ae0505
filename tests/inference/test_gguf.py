from __future__ import annotations

import os
import socket
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gguf.constants import GGML_QUANT_SIZES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.errors import InvalidModelFile
from inference.gguf import MAX_KEYS, MAX_TENSORS, SkippedArray, read_header
from inference.gguf_bytes import MAX_HEADER_BYTES, MAX_STRING_BYTES, Reader
from inference.gguf_types import TENSOR_TYPES
from tests.inference import gguf_models
from tests.inference.gguf_models import GgufModel

MIB = 1024 * 1024


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A model without a tokenizer: a header of under 2 KiB."""
    model = gguf_models.llama(layers=1, tokenizer=False, extra={"general.name": "Tiny"})
    return gguf_models.write(model, tmp_path / "tiny.gguf", weights=False)


def refusal(path: Path | str) -> str:
    with pytest.raises(InvalidModelFile) as raised:
        read_header(path)
    return raised.value.message


# --- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [gguf_models.llama(), gguf_models.gemma3(), gguf_models.qwen35moe(mtp_layers=1), gguf_models.deepseek2()],
    ids=lambda model: model.architecture,
)
def test_what_was_written_is_read(model: GgufModel, tmp_path: Path) -> None:
    path = gguf_models.write(model, tmp_path / "model.gguf")
    header = read_header(path)
    assert header.architecture == model.architecture
    assert header.name == "Tiny test model"
    assert header.quantisation == "F32"
    assert header.n_ctx_train == 2048
    assert header.chat_template == gguf_models.CHAT_TEMPLATE
    assert header.file_bytes == path.stat().st_size
    assert {t.name: t.dims for t in header.tensors} == dict(model.tensors)
    assert sum(t.n_bytes for t in header.tensors) == pytest.approx(path.stat().st_size, rel=0.05)
    for key, value in model.metadata.items():
        if isinstance(value, list | int | str) and "tokenizer" not in key:
            full = key if key.startswith("general.") else f"{model.architecture}.{key}"
            assert header.metadata[full] == (tuple(value) if isinstance(value, list) else value)


def test_every_tensor_type_has_the_size_that_the_gguf_package_says(tmp_path: Path) -> None:
    names = {kind.name: kind for kind in TENSOR_TYPES.values()}
    known = {
        t.name: t for t in GGML_QUANT_SIZES if t.name in names and t.name != "Q8_1"
    }  # Q8_1 is never stored
    model = GgufModel(
        "llama", {}, {f"{name}.weight": (256, 3) for name in known}, {f"{n}.weight": n for n in known}
    )
    header = read_header(gguf_models.write(model, tmp_path / "types.gguf", weights=False))
    assert len(known) > 25
    for tensor in header.tensors:
        elements, n_bytes = GGML_QUANT_SIZES[known[tensor.type]]
        assert tensor.n_bytes == 256 * 3 // elements * n_bytes
    ids = {kind.value: name for name, kind in known.items()}
    assert ids == {number: kind.name for number, kind in TENSOR_TYPES.items() if number in ids}


def test_version_2_is_read_like_version_3(tiny: Path) -> None:
    expected = read_header(tiny)
    patch(tiny, 4, struct.pack("<I", 2))
    found = read_header(tiny)
    assert (found.version, expected.version) == (2, 3)
    assert (found.metadata, found.tensors) == (expected.metadata, expected.tensors)


def test_long_arrays_keep_type_and_length_short_ones_their_values(tmp_path: Path) -> None:
    extra = {
        "attention.head_count_kv": [2, 4, 2],
        "general.languages": ["en", "de"],
        "tokenizer.ggml.tokens": [f"token {n}" for n in range(5000)],
        "tokenizer.ggml.scores": [0.5] * 5000,
        "tokenizer.ggml.flags": [True, False],
    }
    header = read_header(gguf_models.write(gguf_models.llama(layers=3, extra=extra), tmp_path / "m.gguf"))
    assert header.per_layer("attention.head_count_kv", 3) == (2, 4, 2)
    assert header.metadata["general.languages"] == ("en", "de")
    assert header.metadata["tokenizer.ggml.flags"] == (True, False)
    assert header.metadata["tokenizer.ggml.tokens"] == SkippedArray("string", 5000)
    assert header.metadata["tokenizer.ggml.scores"] == SkippedArray("float32", 5000)


def test_a_large_vocabulary_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    gguf_models.write(gguf_models.llama(n_vocab=200_000), path, weights=False)
    tracemalloc.start()
    try:
        header = read_header(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert header.metadata["tokenizer.ggml.tokens"] == SkippedArray("string", 200_000)
    assert peak < 4 * MIB


@pytest.mark.parametrize(
    ("file_type", "name"), [(15, "Q4_K_M"), (1024 + 18, "Q6_K"), (None, "Q8_0"), (999, "Q8_0")]
)
def test_quantisation_is_the_file_type_or_what_most_bytes_have(
    file_type: int | None, name: str, tmp_path: Path
) -> None:
    model = gguf_models.llama(types={"*": "Q8_0"}, extra={"general.file_type": file_type}, tokenizer=False)
    assert read_header(gguf_models.write(model, tmp_path / "m.gguf", weights=False)).quantisation == name


def test_a_name_cannot_steer_a_terminal(tmp_path: Path) -> None:
    model = gguf_models.llama(extra={"general.name": "\x1b[31mred\u202eevil\n" + "x" * 1000})
    name = read_header(gguf_models.write(model, tmp_path / "m.gguf")).name
    assert name.startswith("[31mredevilxx")
    assert len(name) <= 200


def test_text_that_is_not_utf8_is_shown_as_such(tmp_path: Path) -> None:
    path = write_raw(tmp_path, keys=[ARCHITECTURE, (b"general.name", 8, string(b"caf\xe9"))])
    assert read_header(path).name == "caf\ufffd"


# --- accessors -------------------------------------------------------------------------------------


def test_a_missing_or_odd_count_is_refused_by_key(tmp_path: Path) -> None:
    extra = {"block_count": None, "embedding_length": "large", "context_length": [1], "vocab_size": True}
    header = read_header(gguf_models.write(gguf_models.llama(extra=extra), tmp_path / "m.gguf"))
    for key, found in [
        ("block_count", "nothing"),
        ("embedding_length", "'large'"),
        ("context_length", r"\(1,\)"),
        ("vocab_size", "True"),
    ]:
        with pytest.raises(InvalidModelFile, match=rf"expected a count at llama\.{key}, found {found}"):
            header.integer(key)
    assert header.integer("block_count", default=7) == 7


def test_per_layer_takes_one_number_for_all_or_one_for_each(tmp_path: Path) -> None:
    extra = {
        "attention.head_count": 8,
        "attention.head_count_kv": [1, 2, 3, 4],
        "feed_forward_length": [1, -2],
    }
    header = read_header(gguf_models.write(gguf_models.llama(extra=extra), tmp_path / "m.gguf"))
    assert header.per_layer("attention.head_count", 3) == (8, 8, 8)
    assert header.per_layer("attention.head_count_kv", 3) == (1, 2, 3)
    with pytest.raises(InvalidModelFile, match="5 counts, one for each layer"):
        header.per_layer("attention.head_count_kv", 5)
    with pytest.raises(InvalidModelFile, match="feed_forward_length"):
        header.per_layer("feed_forward_length", 2)


# --- damaged and hostile files ---------------------------------------------------------------------


def string(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def tensor(
    name: bytes = b"t",
    dims: tuple[int, ...] = (32,),
    kind: int = 0,
    offset: int = 0,
    n_dims: int | None = None,
) -> bytes:
    count = len(dims) if n_dims is None else n_dims
    return string(name) + struct.pack(f"<I{len(dims)}QIQ", count, *dims, kind, offset)


ARCHITECTURE = (b"general.architecture", 8, string(b"llama"))
Key = tuple[bytes, int, bytes]


def write_raw(
    directory: Path,
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    keys: list[Key] | None = None,
    tensors: list[bytes] | None = None,
    n_keys: int | None = None,
    n_tensors: int | None = None,
    data_bytes: int = 4096,
) -> Path:
    keys = [ARCHITECTURE] if keys is None else keys
    tensors = tensors or []
    body = magic + struct.pack(
        "<IQQ",
        version,
        len(tensors) if n_tensors is None else n_tensors,
        len(keys) if n_keys is None else n_keys,
    )
    body += b"".join(string(key) + u32(kind) + value for key, kind, value in keys) + b"".join(tensors)
    path = directory / "raw.gguf"
    path.write_bytes(body + b"\0" * (-len(body) % 32 + data_bytes))
    return path


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def array(element: int, length: int, data: bytes = b"") -> bytes:
    return struct.pack("<IQ", element, length) + data


HUGE = 2**63

HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "version 0": ({"version": 0}, "found 0"),
    "version 1": ({"version": 1}, "expected GGUF version 2 or 3, found 1"),
    "version 4": ({"version": 4}, "found 4"),
    "big-endian": ({"version": 0x03000000}, "big-endian"),
    "no architecture": ({"keys": []}, "expected a name as general.architecture"),
    "architecture with escapes": (
        {"keys": [(b"general.architecture", 8, string(b"ll\x1b[0mama"))]},
        "expected a name as general.architecture",
    ),
    "2^63 tensors": ({"n_tensors": HUGE}, f"{HUGE} tensors announced, at most {MAX_TENSORS}"),
    "too many tensors": ({"n_tensors": MAX_TENSORS + 1}, "tensors announced"),
    "more tensors than bytes": ({"n_tensors": MAX_TENSORS}, "tensor"),
    "2^63 keys": ({"n_keys": HUGE}, f"{HUGE} metadata keys announced, at most {MAX_KEYS}"),
    "more keys than bytes": ({"n_keys": MAX_KEYS, "data_bytes": 0}, "metadata key 2"),
    "empty key": ({"keys": [ARCHITECTURE, (b"", 4, u32(1))]}, "expected a metadata key in UTF-8"),
    "key not UTF-8": ({"keys": [ARCHITECTURE, (b"\xff\xfe", 4, u32(1))]}, "expected a metadata key in UTF-8"),
    "long key": ({"keys": [ARCHITECTURE, (b"k" * 2000, 4, u32(1))]}, "a metadata key of 2000 bytes"),
    "key twice": ({"keys": [ARCHITECTURE, ARCHITECTURE]}, "'general.architecture' appears twice"),
    "unknown value type": (
        {"keys": [ARCHITECTURE, (b"k", 13, b"")]},
        "found value type 13 at the value of 'k'",
    ),
    "endless string": (
        {"keys": [ARCHITECTURE, (b"k", 8, string(b"", HUGE))]},
        f"{HUGE} bytes announced, at most {MAX_STRING_BYTES}",
    ),
    "string beyond the file": (
        {"keys": [ARCHITECTURE, (b"k", 8, string(b"", 8192))]},
        "past the end of the file",
    ),
    "endless array": ({"keys": [ARCHITECTURE, (b"k", 9, array(0, HUGE))]}, "past the end of the file"),
    "endless array of strings": ({"keys": [ARCHITECTURE, (b"k", 9, array(8, HUGE))]}, "past the end"),
    "string array whose last string is endless": (
        {"keys": [ARCHITECTURE, (b"k", 9, array(8, 300, string(b"") * 299 + string(b"", HUGE)))]},
        "past the end of the file",
    ),
    "array of arrays": (
        {"keys": [ARCHITECTURE, (b"k", 9, array(9, 1, array(9, 1, array(4, 0))))]},
        "found an array of arrays at the value of 'k'",
    ),
    "unknown element type": ({"keys": [ARCHITECTURE, (b"k", 9, array(77, 1))]}, "found value type 77"),
    "alignment 0": ({"keys": [ARCHITECTURE, (b"general.alignment", 4, u32(0))]}, "power of two"),
    "alignment 48": ({"keys": [ARCHITECTURE, (b"general.alignment", 4, u32(48))]}, "power of two .* 48"),
    "alignment is text": ({"keys": [ARCHITECTURE, (b"general.alignment", 8, string(b"32"))]}, "power of two"),
    "alignment beyond the file": (
        {"keys": [ARCHITECTURE, (b"general.alignment", 4, u32(2**31))], "tensors": [tensor()]},
        "ends at byte",
    ),
    "5 dimensions": ({"tensors": [tensor(dims=(1, 1, 1, 1, 1))]}, "at most 4 dimensions, found 5"),
    "2^32 dimensions": ({"tensors": [tensor(n_dims=2**32 - 1)]}, "at most 4 dimensions"),
    "shape that overflows 64 bits": (
        {"tensors": [tensor(dims=(2**40, 2**40))]},
        "has 4835703278458516698824704 bytes",
    ),
    "shape of 2^64 - 1": ({"tensors": [tensor(dims=(2**64 - 1,) * 4)]}, "the file"),
    "unknown tensor type": ({"tensors": [tensor(kind=43)]}, "found type 43"),
    "withdrawn tensor type": ({"tensors": [tensor(kind=4)]}, "another quantisation"),
    "row not of whole blocks": ({"tensors": [tensor(dims=(33, 2), kind=2)]}, "a multiple of 32 elements"),
    "long tensor name": ({"tensors": [tensor(b"n" * 64)]}, "a tensor name of 64 bytes"),
    "tensor twice": ({"tensors": [tensor(), tensor(offset=128)]}, "the same name"),
    "offset beyond the file": ({"tensors": [tensor(offset=2**40)]}, "the file is truncated"),
    "offset of 2^64 - 32": ({"tensors": [tensor(offset=2**64 - 32)]}, "the file is truncated"),
    "offset not aligned": ({"tensors": [tensor(offset=4)]}, "not a multiple of 32"),
    "overlap": (
        {"tensors": [tensor(b"a", (64,)), tensor(b"b", (64,), offset=128)]},
        "'b' overlaps the one before it",
    ),
    "data cut off": (
        {"tensors": [tensor(dims=(1024,))], "data_bytes": 4064},
        "ends at byte .* unfinished download",
    ),
}


@pytest.mark.parametrize(("parts", "found"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_headers_are_refused_by_name(parts: dict[str, Any], found: str, tmp_path: Path) -> None:
    path = write_raw(tmp_path, **parts)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidModelFile, match=found) as raised:
            read_header(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in raised.value.message
    assert any(remedy in raised.value.message for remedy in ("download", "convert", "get the model"))
    assert peak < 4 * MIB


def test_a_header_larger_than_any_real_one_is_not_read(tmp_path: Path) -> None:
    n_strings = MAX_HEADER_BYTES // 8 + 1  # all empty; the file is a hole
    path = write_raw(tmp_path, keys=[ARCHITECTURE, (b"k", 9, array(8, n_strings))])
    os.truncate(path, 2**30)
    assert f"the header exceeds {MAX_HEADER_BYTES} bytes" in refusal(path)


def test_many_small_values_stay_within_tens_of_megabytes(tmp_path: Path) -> None:
    numbers = b"".join(struct.pack("<Q", 2**62 + n) for n in range(512))
    texts = b"".join(string(b"%06d" % n) for n in range(256))
    keys: list[Key] = [(b"n%d" % n, 9, array(10, 512, numbers)) for n in range(MAX_KEYS // 2)]
    keys += [(b"s%d" % n, 9, array(8, 256, texts)) for n in range(MAX_KEYS // 2 - 1)]
    path = write_raw(tmp_path, keys=[ARCHITECTURE, *keys])
    tracemalloc.start()
    try:
        read_header(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * MIB


def test_text_is_bounded_in_total(tmp_path: Path) -> None:
    keys: list[Key] = [(b"t%d" % n, 8, string(b"x" * MAX_STRING_BYTES)) for n in range(5)]
    assert "bytes of text up to the value of 't3'" in refusal(write_raw(tmp_path, keys=[ARCHITECTURE, *keys]))


def test_more_strings_than_bytes_are_refused_before_any_is_looked_at(tiny: Path) -> None:
    with Reader(str(tiny)) as reader:
        with pytest.raises(InvalidModelFile, match="past the end of the file"):
            reader.skip_strings(tiny.stat().st_size // 8 + 1)
        assert reader.offset == 0


@pytest.mark.parametrize(
    ("start", "found"),
    [
        (b"", "an empty one"),
        (b"GGU", "b'GGU'"),
        (b"\0" * 64, "begins with GGUF"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n <html lang=en>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"PK\x03\x04" + b"\0" * 60, "PyTorch or safetensors"),
        (struct.pack("<Q", 9000) + b'{"__metadata__"', "PyTorch or safetensors"),
        (b"tjgg\3\0\0\0", "obsolete GGML"),
    ],
)
def test_other_files_are_recognised(start: bytes, found: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(start)
    assert found in refusal(path)


def test_a_file_cut_at_any_byte_is_refused(tiny: Path, tmp_path: Path) -> None:
    whole = tiny.read_bytes()
    header_bytes = whole.rindex(b"blk.0.ffn_down.weight") + 64
    lengths = {*range(header_bytes), *range(header_bytes, len(whole), 997), len(whole) - 1}
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole)
    for length in sorted(lengths, reverse=True):
        os.truncate(cut, length)
        message = refusal(cut)
        assert "download" in message, (length, message)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(data=st.data())
def test_a_damaged_header_is_read_or_refused_and_nothing_else(data: st.DataObject, tiny: Path) -> None:
    whole = tiny.read_bytes()
    damaged = bytearray(whole[:2048])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 8))
        damage = data.draw(st.binary(min_size=1, max_size=8) | st.just(b"\xff" * 8))
        damaged[at : at + len(damage)] = damage
    path = tiny.with_name("damaged.gguf")
    path.write_bytes(bytes(damaged) + whole[len(damaged) :])
    try:
        header = read_header(path)
    except InvalidModelFile as error:
        assert str(path) in error.message
    else:
        assert sum(t.n_bytes for t in header.tensors) <= header.file_bytes


def test_a_file_that_shrinks_while_it_is_read_is_refused(tiny: Path) -> None:
    with Reader(str(tiny)) as reader:
        os.truncate(tiny, 10)
        with pytest.raises(InvalidModelFile, match="shrank while it was read"):
            reader.take(20)


# --- what may be opened ----------------------------------------------------------------------------


def test_a_link_to_a_model_is_followed(tiny: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(tiny)
    assert read_header(link).architecture == "llama"


def irregular(directory: Path) -> Iterator[tuple[str, Path]]:
    yield "a directory", directory
    fifo = directory / "fifo"
    os.mkfifo(fifo)
    yield "a named pipe", fifo
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind(str(directory / "socket"))
        yield "a socket", directory / "socket"
    yield "a character device", Path("/dev/zero")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    for kind, path in irregular(tmp_path):
        assert f"expected a GGUF file, found {kind}" in refusal(path)
        link = tmp_path / f"link to {kind}"
        link.symlink_to(path)
        assert f"found {kind}" in refusal(link)


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.gguf")
    loop = tmp_path / "loop.gguf"
    loop.symlink_to(loop)
    assert "cannot be opened" in refusal(loop)
    assert "cannot be opened" in refusal(f"{tmp_path}/nul\0.gguf")
    assert "cannot be opened" in refusal(tmp_path / ("n" * 5000))


def test_no_descriptor_is_left_open(tiny: Path, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    read_header(tiny)
    refusal(write_raw(tmp_path, n_tensors=HUGE))
    refusal(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


# --- split models ----------------------------------------------------------------------------------


def write_parts(directory: Path, count: int = 3, **first_extra: Any) -> list[Path]:
    """A llama model split as llama.cpp does it: all metadata in part 1, some tensors in each."""
    whole = gguf_models.llama(layers=2, tokenizer=False)
    names = list(whole.tensors)
    paths = []
    for number in range(count):
        split = {"split.no": number, "split.count": count, "split.tensors.count": len(names)}
        metadata = {**whole.metadata, **split, **first_extra} if number == 0 else split
        mine = {name: whole.tensors[name] for name in names[number::count]}
        path = directory / f"model-{number + 1:05d}-of-{count:05d}.gguf"
        paths.append(gguf_models.write(GgufModel("llama", metadata, mine), path, weights=False))
    return paths


def test_the_parts_of_a_split_model_are_summed(tmp_path: Path) -> None:
    whole = gguf_models.llama(layers=2, tokenizer=False)
    parts = write_parts(tmp_path)
    header = read_header(parts[0])
    assert header.n_parts == 3
    assert {t.name: t.dims for t in header.tensors} == dict(whole.tensors)
    assert header.file_bytes == sum(part.stat().st_size for part in parts)
    assert header.integer("block_count") == 2


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    parts = write_parts(tmp_path)
    parts[1].unlink()
    assert refusal(parts[0]).startswith(f"{parts[1]}: no such file")


def test_a_later_part_is_not_a_model(tmp_path: Path) -> None:
    parts = write_parts(tmp_path)
    model = gguf_models.llama(extra={"split.no": 1, "split.count": 3})
    gguf_models.write(model, parts[1])
    assert "give the path that ends in -00001-of-00003.gguf" in refusal(parts[1])


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    parts = write_parts(tmp_path)
    parts[2].write_bytes(parts[1].read_bytes())
    assert "expected part 3 of the model, found split.no 1" in refusal(parts[0])
    parts = write_parts(tmp_path, **{"split.tensors.count": 99})
    assert "99 tensors announced, 21 found" in refusal(parts[0])


def test_a_split_model_must_keep_its_names(tmp_path: Path) -> None:
    renamed = write_parts(tmp_path)[0].rename(tmp_path / "my-model.gguf")
    assert "expected a file name that ends in -00001-of-00003.gguf" in refusal(renamed)


def test_absurd_part_counts_are_refused(tmp_path: Path) -> None:
    model = gguf_models.llama(extra={"split.no": 0, "split.count": 65535})
    path = gguf_models.write(model, tmp_path / "model-00001-of-65535.gguf")
    assert "65535 parts announced" in refusal(path)

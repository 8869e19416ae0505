"""GGUF headers: metadata and tensor table of a model file, without touching its weights.

Versions 2 and 3, little-endian, split files summed. The file is not trusted: every count, length
and offset is checked against the file's size and the limits below before anything is allocated,
so a hostile header costs at most MAX_HEADER_BYTES of reading and a few tens of MiB of memory.

Layout (all little-endian): "GGUF", u32 version, u64 tensors, u64 keys; then each key as string,
u32 type, value; then each tensor as string name, u32 dimensions, u64 each, u32 type, u64 offset;
padding to general.alignment; then the weights. A string is a u64 length and UTF-8 bytes; an array
is a u32 element type, a u64 length and the elements.
"""

from __future__ import annotations

import os
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from inference.errors import InvalidModelFile
from inference.gguf_bytes import AGAIN, Reader
from inference.gguf_types import FILE_TYPES, TENSOR_TYPES, TensorType

MAX_KEYS = 2048  # llama.cpp writes at most about 150
MAX_TENSORS = 65_536  # DeepSeek-sized models with unmerged experts have about 50 000
MAX_KEY_BYTES = 1024
MAX_TENSOR_NAME_BYTES = 63  # llama.cpp's own limit
MAX_DIMS = 4
MAX_KEPT_ARRAY = 512  # per-layer arrays have at most 512 elements; vocabularies have more
MAX_KEPT_STRINGS = 256
MAX_PARTS = 1024
MAX_KEY_INTEGER = 2**32 - 1

_DEFAULT_ALIGNMENT = 32
_STRING, _ARRAY = 8, 9
_SCALARS: dict[int, tuple[str, str]] = {  # value type -> struct format, name
    0: ("B", "uint8"),
    1: ("b", "int8"),
    2: ("H", "uint16"),
    3: ("h", "int16"),
    4: ("I", "uint32"),
    5: ("i", "int32"),
    6: ("f", "float32"),
    7: ("?", "bool"),
    10: ("Q", "uint64"),
    11: ("q", "int64"),
    12: ("d", "float64"),
}
_SPLIT_NAME = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$")
_ARCHITECTURE = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_GUESSED = 1024  # bit of general.file_type: llama.cpp derived it from the tensors


@dataclass(frozen=True, slots=True)
class SkippedArray:
    """An array too long to keep, such as the vocabulary: only what it is and how long."""

    element_type: str
    length: int


Value = bool | int | float | str | tuple[bool | int | float | str, ...] | SkippedArray


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One row of the tensor table. `dims` fastest-varying first, as GGUF writes them."""

    name: str
    type: str
    dims: tuple[int, ...]
    n_bytes: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a model file says about itself. `file_bytes` and `tensors` cover all parts of a split file."""

    path: str
    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    file_bytes: int
    n_parts: int = 1

    @property
    def architecture(self) -> str:
        return str(self.metadata["general.architecture"])

    @property
    def name(self) -> str:
        """For people; control characters, which could steer a terminal, are taken out."""
        return "".join(c for c in self._text("general.name")[:200] if c.isprintable())

    @property
    def chat_template(self) -> str:
        """The Jinja source, at most MAX_STRING_BYTES long; empty where the file has none."""
        return self._text("tokenizer.chat_template")

    @property
    def quantisation(self) -> str:
        """The file type's name ("Q4_K_M"); without one, the tensor type that holds most bytes."""
        file_type = self.metadata.get("general.file_type")
        if isinstance(file_type, int) and file_type & ~_GUESSED in FILE_TYPES:
            return FILE_TYPES[file_type & ~_GUESSED]
        held: Counter[str] = Counter()
        for tensor in self.tensors:
            held[tensor.type] += tensor.n_bytes
        return held.most_common(1)[0][0] if held else "unknown"

    @property
    def n_ctx_train(self) -> int:
        """The context that the model was trained on; 0 where the file does not say."""
        return self.integer("context_length", default=0)

    def integer(self, key: str, default: int | None = None) -> int:
        """`<architecture>.<key>`, a count: 0 to 2^32 - 1."""
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_KEY_INTEGER:
            self.refuse_key(key, value, "a count")
        return value

    def per_layer(self, key: str, layers: int, default: int | None = None) -> tuple[int, ...]:
        """`<architecture>.<key>` for each of `layers` layers; one number stands for all of them."""
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        if not isinstance(value, tuple):
            return (self.integer(key, default),) * layers
        numbers = tuple(int(v) for v in value if isinstance(v, int) and 0 <= v <= MAX_KEY_INTEGER)
        if len(numbers) != len(value) or len(numbers) < layers:
            self.refuse_key(key, value, f"{layers} counts, one for each layer")
        return numbers[:layers]

    def refuse_key(self, key: str, value: object, expected: str) -> NoReturn:
        found = "nothing" if value is None else repr(value)[:80]
        raise InvalidModelFile(
            f"{self.path}: expected {expected} at {self.architecture}.{key}, found {found}: "
            f"{AGAIN} or convert the model with a current llama.cpp"
        )

    def _text(self, key: str) -> str:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""


def read_header(path: str | os.PathLike[str]) -> GgufHeader:
    """The header of the model at `path`; of a split model, the path of its first part.

    Blocks for disk reads only (about 50 ms for a 262k-token vocabulary, once cached). Raises
    InvalidModelFile for whatever is not a complete, self-consistent GGUF file.
    """
    first = _read_part(os.fspath(path))
    count = _split_number(first, "split.count", default=1)
    if count <= 1:
        return first
    return _join(first, [_read_part(other) for other in _other_parts(first, count)])


# --- split files ---------------------------------------------------------------------------------


def _other_parts(first: GgufHeader, count: int) -> list[str]:
    path = Path(first.path)
    named = _SPLIT_NAME.match(path.name)
    number = _split_number(first, "split.no", default=0)
    if number != 0:
        raise InvalidModelFile(
            f"{path}: expected the first part of a split model, found part {number + 1} of {count}: "
            f"give the path that ends in -00001-of-{count:05d}.gguf"
        )
    if count > MAX_PARTS:
        raise InvalidModelFile(f"{path}: {count} parts announced, at most {MAX_PARTS} accepted: {AGAIN}")
    if named is None or int(named["number"]) != 1 or int(named["count"]) != count:
        raise InvalidModelFile(
            f"{path}: part 1 of a model split in {count}, and the engine finds the others by name: "
            f"expected a file name that ends in -00001-of-{count:05d}.gguf; rename it"
        )
    return [str(part) for part in part_paths(path)[1:]]


def part_paths(path: Path) -> list[Path]:
    """The files of the model at `path`, as its name says."""
    named = _SPLIT_NAME.match(path.name)
    if named is None or int(named["number"]) != 1 or not 1 < int(named["count"]) <= MAX_PARTS:
        return [path]
    count = int(named["count"])
    return [path.with_name(f"{named['stem']}-{i:05d}-of-{count:05d}.gguf") for i in range(1, count + 1)]


def _join(first: GgufHeader, others: list[GgufHeader]) -> GgufHeader:
    for number, part in enumerate(others, start=1):
        found = _split_number(part, "split.no", default=-1)
        if found != number:
            raise InvalidModelFile(
                f"{part.path}: expected part {number + 1} of the model, found split.no {found}: {AGAIN}"
            )
    tensors = tuple(tensor for part in (first, *others) for tensor in part.tensors)
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise InvalidModelFile(f"{first.path}: the same tensor is in two of its parts: {AGAIN}")
    announced = _split_number(first, "split.tensors.count", default=len(tensors))
    if announced != len(tensors):
        raise InvalidModelFile(
            f"{first.path}: {announced} tensors announced, {len(tensors)} found in its parts: {AGAIN}"
        )
    return GgufHeader(
        path=first.path,
        version=first.version,
        metadata=first.metadata,
        tensors=tensors,
        file_bytes=first.file_bytes + sum(part.file_bytes for part in others),
        n_parts=1 + len(others),
    )


def _split_number(header: GgufHeader, key: str, *, default: int) -> int:
    value = header.metadata.get(key, default)
    return value if isinstance(value, int) else default


# --- one file --------------------------------------------------------------------------------------


def _read_part(path: str) -> GgufHeader:
    with Reader(path) as reader:
        version, n_tensors, n_keys = _read_counts(reader)
        metadata = _read_metadata(reader, n_keys)
        architecture = metadata.setdefault("general.architecture", "")
        if not metadata.get("split.no") and not _ARCHITECTURE.match(str(architecture)):
            reader.refuse(f"expected a name as general.architecture, found {architecture!r:.80}", AGAIN)
        tensors = _read_tensors(reader, n_tensors, _alignment(reader, metadata))
        return GgufHeader(path, version, metadata, tensors, reader.size)


def _read_counts(reader: Reader) -> tuple[int, int, int]:
    reader.doing = "the file's first bytes"
    magic = reader.peek(64)
    if not magic.startswith(b"GGUF"):
        reader.refuse(*_not_gguf(magic))
    reader.take(4)
    version = reader.u32()
    if version and version & 0xFFFF == 0:
        reader.refuse(
            "expected a little-endian GGUF, found a big-endian one", "get or convert a little-endian copy"
        )
    if version not in (2, 3):
        reader.refuse(
            f"expected GGUF version 2 or 3, found {version}", "get or convert a copy in a current version"
        )
    n_tensors, n_keys = reader.u64(), reader.u64()
    for found, limit, what in ((n_tensors, MAX_TENSORS, "tensors"), (n_keys, MAX_KEYS, "metadata keys")):
        if found > limit:
            reader.refuse(f"{found} {what} announced, at most {limit} accepted", AGAIN)
    return version, n_tensors, n_keys


def _not_gguf(start: bytes) -> tuple[str, str]:
    """What a file without the magic looks like, and the remedy for it."""
    text = start.lstrip().lower()
    if not start:
        return "expected a GGUF file, found an empty one", AGAIN
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return (
            "expected a GGUF file, found a web page",
            "the download was answered by a login or error page: " + AGAIN,
        )
    if text.startswith(b"version https://git-lfs"):
        return "expected a GGUF file, found a Git LFS pointer", "run `git lfs pull`, or " + AGAIN
    if start.startswith((b"PK\x03\x04", b"\x80\x02")) or b'{"' in start[8:12]:
        return (
            "expected a GGUF file, found PyTorch or safetensors weights",
            "get the model's GGUF, or convert it with llama.cpp",
        )
    if start[:4] in (b"lmgg", b"fmgg", b"tjgg", b"algg"):
        return (
            "expected a GGUF file, found one in the obsolete GGML format",
            "get the model's GGUF, or convert it with llama.cpp",
        )
    return f"expected a file that begins with GGUF, found {start[:4]!r}", AGAIN


def _read_metadata(reader: Reader, n_keys: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for number in range(n_keys):
        reader.doing = f"metadata key {number + 1} of {n_keys}"
        key = reader.name(MAX_KEY_BYTES, "a metadata key")
        if key in metadata:
            reader.refuse(f"the metadata key {key!r} appears twice", AGAIN)
        reader.doing = f"the value of {key!r}"
        metadata[key] = _read_value(reader, reader.u32())
    return metadata


def _read_value(reader: Reader, value_type: int) -> Value:
    if value_type == _STRING:
        return reader.text()
    if value_type == _ARRAY:
        return _read_array(reader)
    return reader.scalars(_scalar(reader, value_type)[0], 1)[0]


def _read_array(reader: Reader) -> Value:
    element_type, length = reader.u32(), reader.u64()
    if element_type == _STRING:
        if length <= MAX_KEPT_STRINGS:
            return tuple(reader.text() for _ in range(length))
        reader.skip_strings(length)
        return SkippedArray("string", length)
    code, name = _scalar(reader, element_type)
    if length <= MAX_KEPT_ARRAY:
        return reader.scalars(code, length)
    reader.skip(length * struct.calcsize(code))
    return SkippedArray(name, length)


def _scalar(reader: Reader, value_type: int) -> tuple[str, str]:
    known = _SCALARS.get(value_type)
    if known is None:  # llama.cpp refuses arrays of arrays too
        found = "an array of arrays" if value_type == _ARRAY else f"value type {value_type}"
        reader.refuse(f"expected a GGUF value type, found {found} at {reader.doing}", AGAIN)
    return known


def _alignment(reader: Reader, metadata: dict[str, Value]) -> int:
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        reader.refuse(f"expected a power of two as general.alignment, found {alignment!r:.40}", AGAIN)
    return alignment


def _read_tensors(reader: Reader, n_tensors: int, alignment: int) -> tuple[TensorInfo, ...]:
    tensors: list[TensorInfo] = []
    offsets: list[int] = []
    for number in range(n_tensors):
        reader.doing = f"tensor {number + 1} of {n_tensors}"
        tensors.append(_read_tensor(reader))
        offsets.append(reader.u64())
    if len({tensor.name for tensor in tensors}) != len(tensors):
        reader.refuse("two tensors have the same name", AGAIN)
    _check_placement(reader, tensors, offsets, alignment)
    return tuple(tensors)


def _read_tensor(reader: Reader) -> TensorInfo:
    name = reader.name(MAX_TENSOR_NAME_BYTES, "a tensor name")
    n_dims = reader.u32()
    if n_dims > MAX_DIMS:
        reader.refuse(f"tensor {name!r}: expected at most {MAX_DIMS} dimensions, found {n_dims}", AGAIN)
    dims = tuple(int(d) for d in reader.scalars("Q", n_dims))
    type_id = reader.u32()
    kind = TENSOR_TYPES.get(type_id)
    if kind is None:
        reader.refuse(
            f"tensor {name!r}: expected a tensor type of this engine, found type {type_id}",
            "get the model in another quantisation",
        )
    return TensorInfo(name, kind.name, dims, _tensor_bytes(reader, name, kind, dims))


def _tensor_bytes(reader: Reader, name: str, kind: TensorType, dims: tuple[int, ...]) -> int:
    row, *rest = dims or (1,)
    if row % kind.block_elements:
        reader.refuse(
            f"tensor {name!r}: expected rows of a multiple of {kind.block_elements} elements "
            f"({kind.name}), found {row}",
            AGAIN,
        )
    n_bytes = row // kind.block_elements * kind.block_bytes
    for size in rest:
        n_bytes *= size
    if n_bytes > reader.size:  # Python's integers do not overflow, so this also catches absurd shapes
        reader.refuse(
            f"tensor {name!r} of shape {dims} and type {kind.name} has {n_bytes} bytes, "
            f"the file {reader.size}",
            f"the file is truncated or damaged: {AGAIN}",
        )
    return n_bytes


def _check_placement(reader: Reader, tensors: list[TensorInfo], offsets: list[int], alignment: int) -> None:
    """Every tensor lies aligned, behind the header, inside the file, and on no other tensor's bytes."""
    data_start = -(-reader.offset // alignment) * alignment
    end = 0
    for offset, tensor in sorted(zip(offsets, tensors, strict=True), key=lambda pair: pair[0]):
        if offset % alignment:
            reader.refuse(f"tensor {tensor.name!r}: offset {offset} is not a multiple of {alignment}", AGAIN)
        if offset < end:
            reader.refuse(f"tensor {tensor.name!r} overlaps the one before it", AGAIN)
        end = offset + tensor.n_bytes
        if data_start + end > reader.size:
            reader.refuse(
                f"tensor {tensor.name!r} ends at byte {data_start + end}, the file at {reader.size}",
                f"the file is truncated (an unfinished download?): {AGAIN}",
            )

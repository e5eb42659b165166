"""Reading parts of tensors out of one safetensors file: the bytes that are asked for, straight to where they go.

Bytes are read and not mapped. Pages of a mapped file count as memory of the process, next to the arrays they are
copied to, and a slice of columns would bring in all of them.
"""

from __future__ import annotations

import json
import math
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import ml_dtypes  # noqa: F401  registers bfloat16 with numpy
import numpy as np
from safetensors import SafetensorError, safe_open

from seal_jax.models.errors import CheckpointError

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
BLOCK = 2**21  # bytes read at once where they do not go straight to their place: they stay in the processor's cache
# The bits of the exponent, all of them set in NaN and inf and in no other number.
_EXPONENTS = {
    "float64": np.uint64(0x7FF0000000000000),
    "float32": np.uint32(0x7F800000),
    "float16": np.uint16(0x7C00),
    "bfloat16": np.uint16(0x7F80),
}
Index: TypeAlias = tuple[slice, ...]


class Entry(NamedTuple):
    """A tensor in a file: its safetensors dtype, its shape, and the byte at which it begins."""

    dtype: str
    shape: tuple[int, ...]
    start: int

    def numpy_dtype(self) -> np.dtype:
        """The dtype of the numbers; KeyError for one that is not in `DTYPES`."""
        return np.dtype(DTYPES[self.dtype])


class StoredFile:
    """One open safetensors file; `entries` are its tensors by name. Nothing but the header has been read."""

    def __init__(self, path: Path) -> None:
        """Open and check the file. Raises CheckpointError if it is missing or damaged."""
        self.path = path
        try:
            with safe_open(path, framework="np"):  # checks the header, and that the tensors fill the file
                pass
            self._file = os.open(path, os.O_RDONLY)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: not a complete safetensors file ({error})") from error
        weakref.finalize(self, os.close, self._file)
        size = int.from_bytes(os.pread(self._file, 8, 0), "little")
        header = json.loads(os.pread(self._file, size, 8))
        self.entries = {
            name: Entry(value["dtype"], tuple(value["shape"]), 8 + size + value["data_offsets"][0])
            for name, value in header.items()
            if name != "__metadata__"
        }

    def copy(self, name: str, index: Index, target: np.ndarray, source: str, *, transposed: bool = False) -> None:
        """Fill `target` with a part of a tensor, in the dtype of `target`.

        index: slices of step 1, one for each dimension of the tensor in the file; transposed: `target` is the part's
        transpose. Raises CheckpointError naming `source` if the file ends too early, or if there is NaN or inf.
        """
        entry = self.entries[name]
        part = _Part(entry, [range(n)[s] for n, s in zip(entry.shape, index)])
        if not target.size:
            return
        if not transposed and target.dtype == entry.numpy_dtype() and target.flags.c_contiguous:
            flat = target.reshape(-1)
            self._read(part.runs(0, part.rows), flat, source)
            check_finite(flat, source)
            return
        lines = target.T if transposed else target
        lines = lines.reshape(part.rows, part.columns)
        for first in range(0, part.rows, part.rows_at_once):
            last = min(first + part.rows_at_once, part.rows)
            block = np.empty((last - first, part.columns), entry.numpy_dtype())
            self._read(part.runs(first, last), block.reshape(-1), source)
            copy_finite(lines[first:last], block, source)

    def _read(self, runs: Iterator[tuple[int, int]], target: np.ndarray, source: str) -> None:
        """Read runs of bytes, (offset in the file, length), one after the other into a flat, contiguous array."""
        view = memoryview(target.view(np.uint8).data)
        at = 0
        for offset, length in runs:
            end = at + length
            while at < end:
                got = os.preadv(self._file, [view[at:end]], offset)
                if not got:
                    raise CheckpointError(f"{source}: the file ends in the middle of it")
                at, offset = at + got, offset + got


class _Part:
    """A part of a tensor as rows of equal length, and where they are in the file."""

    def __init__(self, entry: Entry, ranges: list[range]) -> None:
        self.entry = entry
        self.width = entry.shape[-1] if entry.shape else 1
        *above, last = ranges or [range(1)]
        self.first_column, self.columns = last.start, len(last)
        self.above = above
        self.rows = math.prod(map(len, above))
        self.rows_at_once = max(BLOCK // max(self.columns * entry.numpy_dtype().itemsize, 1), 1)

    def runs(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """(offset, length) in bytes of the rows `first` to `last` of the part; neighbours are one run."""
        size = self.entry.numpy_dtype().itemsize
        rows = range(1) if not self.above else self.above[0]
        if self.columns == self.width or len(self.above) == 0:
            start = rows[first] * self.width + self.first_column if self.above else self.first_column
            yield self.entry.start + start * size, (last - first) * self.columns * size
            return
        for row in rows[first:last]:
            yield self.entry.start + (row * self.width + self.first_column) * size, self.columns * size


def copy_finite(target: np.ndarray, tensor: np.ndarray, source: str) -> None:
    """`target[...] = tensor` in the dtype of `target`; CheckpointError naming `source` if that has NaN or inf."""
    if tensor.dtype != target.dtype:
        with np.errstate(over="ignore"):  # the line below says so better
            tensor = tensor.astype(target.dtype)
    check_finite(tensor, source)
    target[...] = tensor


def check_finite(array: np.ndarray, source: str) -> None:
    """Raise CheckpointError naming `source` if an array has NaN or inf. By its bits: numpy is slow with bfloat16."""
    exponent = _EXPONENTS.get(array.dtype.name)
    if exponent is None or not array.size:
        return
    bits = array.view(exponent.dtype)
    for block in _blocks(bits):
        if (block & exponent).max() == exponent:
            raise CheckpointError(f"{source} has NaN or inf as {array.dtype}; expected finite values")


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    if not array.flags.c_contiguous:
        yield array
        return
    flat = array.reshape(-1)
    step = BLOCK // array.itemsize
    yield from (flat[at : at + step] for at in range(0, len(flat), step))

"""Element types: their names in YAML, C types, sizes and rounding.

Block types are GGUF's quantised ones: `block` elements share `block_bytes` bytes, which hold their scales too. They are
stored as plain bytes, `unsigned char` in C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class DType:
    """One element type.

    `roundoff` is the unit roundoff of round-to-nearest (half the gap between 1 and the next value); 0 for integers, and
    for block types, to which nothing is rounded. `size` is what C's sizeof gives: of a block type, of one of its bytes.
    """

    name: str
    ctype: str
    size: int
    roundoff: float
    block: int = 1
    block_bytes: int = 0

    @property
    def is_block(self) -> bool:
        """Whether elements are quantised in blocks."""
        return self.block > 1

    def nbytes(self, count: int) -> int:
        """Bytes of so many elements; raises ValueError where they are no whole number of blocks."""
        if count % self.block:
            raise ValueError(f"{count} elements are no whole number of {self.name}'s blocks of {self.block}")
        return count // self.block * (self.block_bytes or self.size)

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest finite value; of a block type, of one of its bytes."""
        if self.is_float:
            largest = {"f16": 65504.0, "bf16": (2 - 2.0**-7) * 2.0**127, "f32": (2 - 2.0**-23) * 2.0**127}[self.name]
            return -largest, largest
        bits = 8 * self.size
        return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if self.name[0] == "i" else (0, 2**bits - 1)

    @property
    def is_float(self) -> bool:
        """Whether values are floating point."""
        return self.roundoff > 0

    def numpy(self) -> np.dtype[np.generic]:
        """The numpy storage type of the same bits."""
        import numpy as np

        found: np.dtype[np.generic]
        if self.name == "bf16":
            import ml_dtypes

            found = np.dtype(ml_dtypes.bfloat16)
        else:
            found = np.dtype("uint8" if self.is_block else _NUMPY_NAMES[self.name])
        return found


_NUMPY_NAMES = {
    "f32": "float32",
    "f16": "float16",
    "i32": "int32",
    "i8": "int8",
    "u8": "uint8",
    "u32": "uint32",
    "i64": "int64",
}

DTYPES: dict[str, DType] = {
    dtype.name: dtype
    for dtype in (
        DType("f32", "float", 4, 2.0**-24),
        DType("f16", "__half", 2, 2.0**-11),
        DType("bf16", "__nv_bfloat16", 2, 2.0**-8),
        DType("i32", "int", 4, 0.0),
        DType("i8", "signed char", 1, 0.0),
        DType("u8", "unsigned char", 1, 0.0),
        DType("u32", "unsigned int", 4, 0.0),
        DType("i64", "long long", 8, 0.0),
        DType("q4_k", "unsigned char", 1, 0.0, 256, 144),
        DType("q5_k", "unsigned char", 1, 0.0, 256, 176),
        DType("q6_k", "unsigned char", 1, 0.0, 256, 210),
        DType("q8_0", "unsigned char", 1, 0.0, 32, 34),
        DType("q5_0", "unsigned char", 1, 0.0, 32, 22),
    )
}

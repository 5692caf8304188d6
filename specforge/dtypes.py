"""Element types: their names in YAML, C types, sizes and rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class DType:
    """One element type.

    `roundoff` is the unit roundoff of round-to-nearest (half the gap between 1 and the next value); 0 for integers.
    """

    name: str
    ctype: str
    size: int
    roundoff: float

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
            found = np.dtype(_NUMPY_NAMES[self.name])
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
    )
}

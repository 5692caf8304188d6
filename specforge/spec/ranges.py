"""Where the `values` entries with formulas stand in kernel.yaml, and which a tensor cannot have in any case."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from specforge.diagnostics import Diagnostic
from specforge.dtypes import DTYPES
from specforge.spec.document import Document, Location
from specforge.spec.kernel import Tensor, ValueRange


def check_values(document: Document, name: str, tensor: Tensor, dtypes: Collection[str]) -> Iterator[Diagnostic]:
    """Faults of a tensor's `values`, given every element type that it may have."""
    for index, entry in enumerate(tensor.values):
        if not isinstance(entry, ValueRange):
            if tensor.values.index(entry) < index:
                where = document.at(("tensors", name, "values", index))
                yield Diagnostic("SF203", "a distribution stands twice", where, entry)
            continue
        where = document.at(values_at(document, name, index, entry)[0])
        for dtype in dtypes:
            if DTYPES[dtype].is_block:
                yield Diagnostic("SF203", f"{dtype} blocks are drawn from a distribution by name", where, entry.kind)
            elif entry.kind != "between" and DTYPES[dtype].is_float:
                yield Diagnostic("SF203", f"`{entry.kind}` holds whole numbers, not {dtype}", where, entry.kind)


def values_at(document: Document, name: str, index: int, entry: ValueRange) -> list[Location]:
    """Where the formulas of a tensor's range stand, which may be one of a list or all there is."""
    written = document.data["tensors"][name]["values"]
    here: Location = ("tensors", name, "values", *((index,) if isinstance(written, list) else ()), entry.kind)
    return [(*here, 0), (*here, 1)] if entry.kind == "between" else [here]

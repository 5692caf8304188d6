"""The distinct binaries that a set of cases needs: rendered, checked against their interface, compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from specforge.expressions import Scalar
from specforge.spec.interface import Kernel
from specforge.spec.sweep import Case


@dataclass(frozen=True, slots=True)
class Variant:
    """One kernel with its compile parameters and tunables bound."""

    kernel: Kernel
    bindings: tuple[tuple[str, Scalar], ...]

    @property
    def key(self) -> tuple[str, tuple[tuple[str, Scalar], ...]]:
        """Hashable identity: kernel and bindings."""
        return self.kernel.identity, self.bindings

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Variant) and self.key == other.key


def variant_of(kernel: Kernel, parameters: Mapping[str, Scalar], tunables: Mapping[str, Scalar]) -> Variant:
    """The variant that a case runs."""
    known = {**parameters, **tunables}
    return Variant(kernel, tuple((name, known[name]) for name in kernel.compile_names()))


def variants(cases: Iterable[Case]) -> dict[Variant, Case]:
    """Distinct variants in order, each with the first case that needs it."""
    found: dict[Variant, Case] = {}
    for case in cases:
        if case.kernel is not None:
            found.setdefault(variant_of(case.kernel, case.parameters, case.tunables), case)
    return found

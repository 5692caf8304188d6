"""The distinct binaries that a set of cases needs: rendered, checked against their interface, compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from specforge.expressions import Scalar
from specforge.spec.interface import Kernel
from specforge.spec.sweep import Case


@dataclass(frozen=True, slots=True)
class Variant:
    """One kernel with its compile parameters and tunables bound; variants are equal by kernel and bindings."""

    kernel: Kernel = field(compare=False)
    bindings: tuple[tuple[str, Scalar], ...]
    identity: str = field(init=False)

    def __post_init__(self) -> None:  # noqa: D105 - the identity is what makes variants of two loads of a kernel equal
        object.__setattr__(self, "identity", self.kernel.identity)


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

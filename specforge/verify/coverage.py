"""What of each domain the executed examples reached, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from specforge.expressions import Scalar
from specforge.spec.interface import Kernel
from specforge.verify.covering import domains


def describe_coverage(kernel: Kernel, cases: Iterable[Mapping[str, Scalar]]) -> dict[str, str]:
    """Per parameter and tunable: `1..4096 of 1..262144` for a range, `64, 128 of 64, 128, 256` or `all of` a list."""
    seen: dict[str, set[Scalar]] = {}
    for case in cases:
        for name, value in case.items():
            seen.setdefault(name, set()).add(value)
    described = {}
    for name, domain in domains(kernel).items():
        values = seen.get(name, set())
        if not values:
            described[name] = f"nothing of {domain}"
        elif domain.listed:
            met = [value for value in domain.listed if value in values]
            described[name] = f"{'all' if len(met) == len(domain.listed) else ', '.join(map(str, met))} of {domain}"
        else:
            numbers = [value for value in values if isinstance(value, int)]
            described[name] = f"{min(numbers)}..{max(numbers)} of {domain}"
    return described

"""Parts of a decode step: which benchmarks cover them, and which parts nobody can count."""

from __future__ import annotations

import pytest

REST = '- {part: rest, launches: "1", bytes: "0"}'


def test_parts_are_covered_by_one_benchmark_or_several_or_by_another_part(files):
    assert files.load().benchmark("token").covered == {"scale": ("scale",)}
    files.replace("workload", "benchmark: scale}", "benchmark: [scale, scale_too]}")
    files.replace("workload", REST, '- {part: rest, fused_with: scale, bytes: "8"}')
    files.replace("workload", "  token:\n", TOO + "  token:\n")
    token = files.load().benchmark("token")
    assert token.covered == {"scale": ("scale", "scale_too"), "rest": ("scale", "scale_too")}
    assert [part.launches is None for part in token.parts] == [False, True]
    files.replace("workload", "scale_too]", "scale_two]")
    assert [(fault.code, fault.position) for fault in files.faults()] == [
        ("SF411", files.find("workload", "[scale, scale_two]"))
    ]


TOO = "  scale_too: {kernel: demo/scale, bind: {rows: 1, width: 32, dtype: f32, flip: true}}\n"


@pytest.mark.parametrize(
    ("part", "code", "at"),
    [
        ('{part: rest, fused_with: scael, bytes: "8"}', "SF411", "scael"),
        ('{part: rest, fused_with: rest, bytes: "8"}', "SF411", 'rest, bytes: "8"'),
        ('{part: rest, fused_with: scale, launches: "1", bytes: "8"}', "SF203", "{part: rest"),
        ('{part: rest, fused_with: scale, benchmark: scale, bytes: "8"}', "SF203", "{part: rest"),
        ('{part: rest, bytes: "8"}', "SF203", "{part: rest"),
        ('{part: rest, launches: "1", bytes: "8", benchmark: []}', "SF203", "[]"),
    ],
)
def test_a_part_that_nobody_can_count(files, part, code, at):
    files.replace("workload", REST, f"- {part}")
    (fault,) = files.faults()
    assert (fault.code, fault.position) == (code, files.find("workload", at))

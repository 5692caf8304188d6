"""Fuzzing the real thing: a shipped kernel on the emulator in a worker process, right and with planted faults."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from specforge.backend.emulator.compile import compile_host, find_host_compiler
from specforge.backend.worker import Worker
from specforge.kernel.nvrtc import load_toolchain
from specforge.kernel.render import render
from specforge.roots import shipped
from specforge.spec.interface import Kernel, find_kernel
from specforge.verify.fuzz import FuzzReport, fuzz

VARIANT = {"experts": 128, "top_k": 4, "dtype": "bf16", "renormalise": True, "warps": 4}


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker("emulator") as made:
        yield made


@pytest.fixture
def search(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> Callable[..., FuzzReport]:
    cache = tmp_path_factory.getbasetemp() / "emulated"

    def run(old: str = "", new: str = "", **options) -> FuzzReport:
        kernel = planted(tmp_path, old, new)
        source = render(kernel, VARIANT).text
        library = compile_host(
            source,
            ["route"],
            include_dirs=kernel.include_dirs,
            cuda_include_dirs=load_toolchain().include_dirs,
            cache_dir=cache,
            compiler=find_host_compiler(),
        )
        options = {"examples": 40, "seed": 3, "budget": 60.0, "cap": 2e6} | options
        return fuzz(kernel, [(VARIANT, str(library))], worker, **options)

    return run


def planted(root: Path, old: str, new: str) -> Kernel:
    """A copy of the shipped router with one piece of its source replaced."""
    folder = root / "kernels" / "moe" / "router_topk"
    shutil.copytree(shipped() / "kernels" / "moe" / "router_topk", folder)
    template = folder / "kernel.cu.j2"
    text = template.read_text()
    assert not old or text.count(old) == 1
    template.write_text(text.replace(old, new) if old else text)
    return find_kernel("moe/router_topk", (root, shipped()))


def test_the_shipped_router_passes(search) -> None:
    report = search()
    assert report.failure is None
    assert report.examples == 40
    assert 0 < report.worst_ratio <= 1
    assert report.backend == "emulator"


@pytest.mark.parametrize(
    ("old", "new", "kind", "sentence"),
    [
        ("if (token >= tokens) return;", "if (token >= tokens - (tokens > 4)) return;", "wrong", "was never written"),
        ("= weight / total;", "= weight / total * 1.0001f;", "wrong", "x the tolerance"),
        ("if (token >= tokens) return;", "if (token > tokens) return;", "violation", "ids"),
        ("key[i] = ordered(logit[i]);", "key[i] = ordered(-logit[i]);", "wrong", "they must be equal"),
    ],
)
def test_planted_faults(search, old: str, new: str, kind: str, sentence: str) -> None:
    report = search(old, new)
    assert report.failure is not None
    assert report.failure.result.kind == kind, report.failure.result
    assert sentence in report.failure.result.failure
    assert report.failure.example.parameters["tokens"] <= 5

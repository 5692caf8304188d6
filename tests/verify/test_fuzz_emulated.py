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

    def run(old: str = "", new: str = "", ahead: str = "", kept: bool = False, **options) -> FuzzReport:
        kernel = find_kernel("moe/router_topk", (tmp_path, shipped())) if kept else planted(tmp_path, old, new)
        if ahead:
            text = kernel.template.read_text()
            kernel.template.write_text(text.replace('extern "C"', f'{ahead}\nextern "C"', 1))
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


MEMO = """\
__device__ bool known;
__device__ float first;
__device__ float remember(float fresh) {
  if (!known) first = fresh;
  known = true;
  return first;
}
"""
COUNT = """\
__device__ int launches;
__device__ float remember(float fresh) { return ++launches > 3 ? 0.5f * fresh : fresh; }
"""
BY_ADDRESS = """\
__device__ const void* seen;
__device__ float first;
__device__ float remember_at(const void* where, float fresh) {
  if (seen != where) first = fresh;
  seen = where;
  return first;
}
"""


@pytest.mark.parametrize(
    ("ahead", "call"),
    [
        (MEMO, "remember(weight / total)"),
        (COUNT, "remember(weight / total)"),
        (BY_ADDRESS, "remember_at(logits, weight / total)"),
    ],
    ids=["memo", "launch count", "by address"],
)
def test_what_a_device_global_keeps_is_found_and_replayed(search, worker: Worker, ahead: str, call: str) -> None:
    """The module stays loaded and the buffers stay where they are; the failing row fails in a fresh process, too."""
    call = f"(lane + token == 0 ? {call} : weight / total)"
    report = search("= weight / total;", f"= {call};", ahead)
    assert report.failure is not None
    assert report.failure.result.kind == "wrong"
    assert report.failure.result.failure.endswith(
        "; right in a fresh process: the kernel keeps something from one launch to the next"
    )
    worker.restart()
    again = search("", "", examples=1, known_failures=[report.failure.example], kept=True)
    assert again.examples == 1
    assert again.failure is not None
    assert "keeps something" in again.failure.result.failure

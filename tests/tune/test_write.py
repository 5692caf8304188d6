"""Tuning files are written whole, read back equal, and lose nothing that still holds."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from specforge.diagnostics import SpecForgeError
from specforge.measure.estimate import Estimate
from specforge.schemas import schema_text
from specforge.spec.document import load_document
from specforge.spec.interface import find_kernel
from specforge.spec.tuning import TuningRun, load_tuning, tuning_path
from specforge.tune.write import keep_case, span

RUN = TuningRun(
    at="2026-11-22",
    card="NVIDIA H100 80GB HBM3",
    driver="580.65",
    clocks="as found",
    compiler="NVRTC 13.0",
    tool_version="0.1.0",
    tool_sha256="0" * 64,
    commit=None,
    dirty=None,
    facts={"multiprocessors": 132, "memory_bandwidth": 3.35e12, "architecture": "sm_90a"},
)
TIMES = {
    "time": span(Estimate(4.1234567e-6, 4.1e-6, 4.2e-6, None, None, 3)),
    "default": span(Estimate(5e-6, 0.0, 6e-6, None, None, 3)),
}


def case(tokens: int, warps: int) -> dict[str, object]:
    parameters = {"tokens": tokens, "experts": 128, "top_k": 8, "dtype": "f32", "renormalise": True}
    return {"parameters": parameters, "tunables": {"warps": warps}, "metric": "latency", "tried": 2, **TIMES}


@pytest.fixture
def kernel(project: Path):
    return find_kernel("moe/router_topk", (project,))


@pytest.fixture
def path(project: Path) -> Path:
    return tuning_path(project, "h100_sxm", "moe/router_topk")


def test_what_was_written_is_read(kernel, path: Path, project: Path) -> None:
    keep_case(project, kernel, "h100_sxm", case(1, 8), RUN)
    found = load_tuning(path, "h100_sxm", kernel)
    assert (found.changed, found.file.runs) == ((), [RUN])
    (one,) = found.file.cases
    assert one.parameters == case(1, 8)["parameters"]
    assert one.parameters["renormalise"] is True
    assert one.time.value == pytest.approx(4.12346e-6)
    assert one.default.low > 0
    assert list(path.parent.iterdir()) == [path]


def test_what_was_written_follows_the_schema_that_it_names(kernel, path: Path, project: Path) -> None:
    assert keep_case(project, kernel, "h100_sxm", case(1, 8), RUN) == path
    named = path.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == project / "schemas" / "tuning.schema.json"
    schema = jsonschema.Draft202012Validator(json.loads(schema_text("tuning")))
    data = load_document(path).data
    schema.validate(data)
    for place in ((), ("runs", 0), ("runs", 0, "facts"), ("cases", 0), ("cases", 0, "parameters")):
        broken = copy.deepcopy(data)
        node = broken
        for part in place:
            node = node[part]
        node["no such key"] = 1
        assert not schema.is_valid(broken), place


def test_a_file_begins_with_what_is_shipped_and_still_holds(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specforge.spec.tuning.shipped", lambda: project)
    kernel = find_kernel("moe/router_topk", (project,))
    keep_case(project, kernel, "h100_sxm", case(1, 8), RUN)
    before = tuning_path(project, "h100_sxm", kernel.identity).read_bytes()
    path = keep_case(tmp_path, kernel, "h100_sxm", case(64, 4), RUN)
    assert path == tuning_path(tmp_path, "h100_sxm", kernel.identity)
    assert [one.parameters["tokens"] for one in load_tuning(path, "h100_sxm", kernel).file.cases] == [1, 64]
    assert tuning_path(project, "h100_sxm", kernel.identity).read_bytes() == before

    shutil.copytree(project / "kernels", tmp_path / "other" / "kernels")
    own = find_kernel("moe/router_topk", (tmp_path / "other", project))
    path = keep_case(tmp_path / "other", own, "h100_sxm", case(64, 4), RUN)
    assert [one.parameters["tokens"] for one in load_tuning(path, "h100_sxm", own).file.cases] == [64]


def test_cases_are_replaced_one_by_one_and_runs_go_with_their_last_case(kernel, path: Path, project: Path) -> None:
    later = RUN.model_copy(update={"at": "2026-12-01", "driver": "590"})
    keep_case(project, kernel, "h100_sxm", case(1, 8), RUN)
    keep_case(project, kernel, "h100_sxm", case(64, 4), RUN)
    assert len(load_tuning(path, "h100_sxm", kernel).file.runs) == 1
    keep_case(project, kernel, "h100_sxm", case(1, 4), later)
    found = load_tuning(path, "h100_sxm", kernel).file
    assert [(one.parameters["tokens"], one.tunables["warps"], found.runs[one.run].at) for one in found.cases] == [
        (64, 4, "2026-11-22"),
        (1, 4, "2026-12-01"),
    ]
    keep_case(project, kernel, "h100_sxm", case(64, 8), later)
    found = load_tuning(path, "h100_sxm", kernel).file
    assert ([run.at for run in found.runs], [one.run for one in found.cases]) == (["2026-12-01"], [0, 0])


def test_what_was_tuned_for_another_state_of_the_kernel_goes(kernel, path: Path, project: Path) -> None:
    keep_case(project, kernel, "h100_sxm", case(1, 8), RUN)
    kernel.reference.write_text(kernel.reference.read_text() + "# changed\n")
    keep_case(project, kernel, "h100_sxm", case(64, 8), RUN)
    found = load_tuning(path, "h100_sxm", kernel)
    assert found.changed == ()
    assert [one.parameters["tokens"] for one in found.file.cases] == [64]


def test_a_place_that_cannot_be_written(kernel, path: Path, project: Path) -> None:
    (project / "tunings").write_text("no folder")
    with pytest.raises(SpecForgeError, match="SF415"):
        keep_case(project, kernel, "h100_sxm", case(1, 8), RUN)

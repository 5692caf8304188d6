"""Tuning files: where they stand, what they set, when they are stale, and what is wrong with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from specforge.diagnostics import SpecForgeError
from specforge.record.provenance import input_files
from specforge.spec.facts import load_device
from specforge.spec.interface import find_kernel
from specforge.spec.load import Spec, load_spec
from specforge.spec.tuning import find_tuning, kernel_inputs, load_tunings, tuning_path

SPEC = """\
specforge: 1
spec: small
device: devices/h100_sxm.yaml
benchmarks:
  routing:
    kernel: moe/router_topk
    bind: {experts: 128, top_k: 8, renormalise: true, dtype: f32}
    matrix: {tokens: [1, 64]}
    targets:
      - {metric: registers, at_most: 64}
"""
CASE = "{tokens: 64, experts: 128, top_k: 8, dtype: f32, renormalise: true}"
HEAD = """\
specforge: 1
tuning: moe/router_topk
device: h100_sxm
"""
RUN = """\
runs:
- {at: "2026-11-22", card: H100, driver: "580", clocks: as found, compiler: NVRTC 13.0, tool_version: "1",
   tool_sha256: "TOOL", commit: null, dirty: null}
""".replace("TOOL", "0" * 64)
TIME = "{value: 4 us, low: 3.9 us, high: 4.1 us}"


def tuning_text(kernel, tunables: str = "{warps: 8}", parameters: str = CASE) -> str:
    inputs = "".join(f"  {name}: {digest}\n" for name, digest in kernel_inputs(kernel).items())
    return f"""{HEAD}inputs:
{inputs}{RUN}cases:
- parameters: {parameters}
  tunables: {tunables}
  metric: latency
  run: 0
  tried: 2
  time: {TIME}
  default: {TIME}
"""


@pytest.fixture
def spec_path(project: Path) -> Path:
    path = project / "specs" / "small.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def kernel(project: Path):
    return find_kernel("moe/router_topk", (project,))


@pytest.fixture
def write(project: Path, kernel) -> Callable[..., Path]:
    def put(text: str | None = None, device: str = "h100_sxm", **given: str) -> Path:
        path = tuning_path(project, device, "moe/router_topk")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tuning_text(kernel, **given) if text is None else text)
        return path

    return put


def warps(spec: Spec) -> list[object]:
    return [case.tunables["warps"] for case in spec.benchmarks[0].cases]


def test_a_case_is_tuned_by_exactly_its_parameters(spec_path: Path, write) -> None:
    assert warps(load_spec(spec_path)) == [4, 4]
    path = write()
    spec = load_spec(spec_path)
    assert warps(spec) == [4, 8]
    assert spec.tunings.notices() == ()
    origin = spec.benchmarks[0].cases[1].origins["warps"]
    line = path.read_text().splitlines()[origin.line - 1]
    assert (origin.file.resolve(), line[origin.column - 1 :]) == (path.resolve(), "8}")
    assert "warps" not in spec.benchmarks[0].cases[0].origins


def test_the_file_is_an_input(spec_path: Path, write) -> None:
    write()
    found = {entry.path: entry.role for entry in input_files(load_spec(spec_path))}
    assert found["tunings/h100_sxm/moe__router_topk.yaml"] == "tuning"


def test_a_shipped_file_counts_for_the_shipped_kernel_alone(
    project: Path, spec_path: Path, write, kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specforge.spec.tuning.shipped", lambda: project)
    own = project.parent / "own"
    shipped = write()
    assert find_tuning(own, "h100_sxm", kernel) == shipped
    assert find_tuning(own, "h200_sxm", kernel) is None
    assert load_tunings(own, "h100_sxm", [kernel]).used()[0].path.resolve() == shipped
    mine = tuning_path(own, "h100_sxm", kernel.identity)
    mine.parent.mkdir(parents=True)
    shutil.copy(shipped, mine)
    assert find_tuning(own, "h100_sxm", kernel) == mine
    mine.unlink()
    shutil.copytree(project / "kernels", own / "kernels")
    assert find_tuning(own, "h100_sxm", find_kernel("moe/router_topk", (own, project))) is None


def test_another_devices_file_says_nothing(spec_path: Path, write, kernel) -> None:
    write(tuning_text(kernel).replace("h100_sxm", "h200_sxm"), device="h200_sxm")
    spec = load_spec(spec_path)
    assert warps(spec) == [4, 4]
    assert "tuning" not in {entry.role for entry in input_files(spec)}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("kernels/moe/router_topk/kernel.yaml", "kernel.yaml"),
        ("kernels/moe/router_topk/kernel.cu.j2", "kernel.cu.j2"),
        ("kernels/moe/router_topk/reference.py", "reference.py"),
        ("kernels/include/specforge.cuh", "specforge.cuh"),
    ],
)
def test_a_stale_file_is_not_used_and_said_to_be_so(
    project: Path, spec_path: Path, write, name: str, changed: str
) -> None:
    write()
    assert warps(load_spec(spec_path)) == [4, 8]
    file = project / name
    file.write_text(file.read_text() + ("// changed\n" if name.endswith(("cuh", "j2")) else "# changed\n"))
    spec = load_spec(spec_path)
    assert warps(spec) == [4, 4]
    (notice,) = spec.tunings.notices()
    assert (notice.code, notice.severity) == ("SF414", "warning")
    assert f"before its {changed} changed" in notice.message
    assert notice.position is not None
    assert notice.position.line == 4
    assert "tuning" not in {entry.role for entry in input_files(spec)}


def test_a_header_that_the_kernel_does_not_reach_matters_not(project: Path, spec_path: Path, write) -> None:
    write()
    (project / "kernels" / "include" / "another.cuh").write_text("// new\n")
    assert warps(load_spec(spec_path)) == [4, 8]


def test_a_stale_file_is_not_held_against_its_kernel(project: Path, spec_path: Path, write) -> None:
    """A tunable that is gone since is no error: nobody wrote it there."""
    write()
    file = project / "kernels" / "moe" / "router_topk" / "kernel.yaml"
    file.write_text(file.read_text().replace("domain: [4, 8], default: 4}", "domain: [4], default: 4}"))
    assert warps(load_spec(spec_path)) == [4, 4]


@pytest.mark.parametrize(
    ("old", "new", "code", "at", "said"),
    [
        ("{warps: 8}", "{warp: 8}", "SF404", "warp: 8", "has no tunable 'warp'"),
        ("{warps: 8}", "{warps: 5}", "SF405", "5}", "warps = 5 lies outside the kernel's domain: 4, 8"),
        ("{warps: 8}", "{warps: true}", "SF405", "true}", "outside the kernel's domain"),
        ("{warps: 8}", "{}", "SF403", "tunables: {}", "tunable 'warps' of moe/router_topk is left open"),
        ("tokens: 64", "tokens: 0", "SF405", "0, experts", "tokens = 0 lies outside"),
        ("tokens: 64", "token: 64", "SF404", "token: 64", "has no parameter 'token'"),
        ("device: h100_sxm", "device: h200_sxm", "SF206", "h200_sxm", "the file's place says 'h100_sxm'"),
        ("tuning: moe/router_topk", "tuning: moe/router", "SF206", "moe/router", "its own `tuning` 'moe/router'"),
        ("run: 0", "run: 1", "SF204", "1", "there are 1 runs"),
        ("run: 0", "rum: 0", "SF201", "rum: 0", ""),
        ("metric: latency", "metric: registers", "SF204", "registers", ""),
        ("value: 4 us", "value: 4", "SF205", "4, low", "quantity"),
    ],
)
def test_what_is_wrong_is_named_where_it_stands(
    spec_path: Path, write, kernel, old: str, new: str, code: str, at: str, said: str
) -> None:
    text = tuning_text(kernel)
    path = write(text.replace(old, new, 1))
    with pytest.raises(SpecForgeError) as raised:
        load_spec(spec_path)
    found = [one for one in raised.value.diagnostics if one.code == code]
    assert found, raised.value
    assert said in found[0].message
    where = found[0].position
    assert where is not None
    assert where.file.resolve() == path.resolve()
    assert path.read_text().splitlines()[where.line - 1][where.column - 1 :].startswith(at)


def test_a_case_that_stands_twice(spec_path: Path, write, kernel) -> None:
    text = tuning_text(kernel)
    write(text + text[text.index("- parameters") :])
    with pytest.raises(SpecForgeError, match="SF406"):
        load_spec(spec_path)


def test_a_tuning_file_is_no_spec(project: Path, write) -> None:
    with pytest.raises(SpecForgeError, match="is a tuning file"):
        load_spec(write())


def test_defaults_follow_the_device_where_nothing_is_tuned(project: Path) -> None:
    kernel = find_kernel("calibration/copy", (project,))
    device = load_device(project / "specs" / "devices" / "h100_sxm.yaml")
    tunings = load_tunings(project, "h100_sxm", [kernel])
    assert tunings.tunables(kernel, {"words": 1 << 26}, device.names)["blocks"] == 16 * 132
    assert tunings.used() == ()

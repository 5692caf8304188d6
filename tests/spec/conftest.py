"""A small project of one kernel, card, model, workload and spec, whose lines a test can break one at a time."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from specforge.diagnostics import Diagnostic, Position, SpecForgeError
from specforge.spec.interface import Kernel, load_kernel
from specforge.spec.load import Spec, load_spec

KERNEL = """\
specforge: 1
kernel: scale
summary: Every row times its largest element.
template: kernel.cu.j2
reference: reference.py
parameters:
  rows:  {type: int, bind: launch, domain: "1..1024", edges: [31, 32], summary: "rows"}
  width: {type: int, bind: compile, domain: [32, 64]}
  dtype: {type: dtype, bind: compile, domain: [f32, bf16]}
  flip:  {type: bool, bind: compile, domain: [false, true]}
constraints:
  - {that: "rows * width <= 65536", reason: "one wave"}
tunables:
  splits: {bind: launch, domain: "1..8", default: "clamp(device.multiprocessors // rows, 1, 8)"}
  warps:  {bind: compile, domain: [4, 8], default: "4 if width == 32 else 8"}
tensors:
  x:       {shape: [rows, width], dtype: dtype, role: in, values: [normal, ties], residency: cold}
  partial: {shape: [rows, splits, 2], dtype: f32, role: scratch}
  out:     {shape: [rows, width], dtype: dtype, role: out}
  best:    {shape: [rows], dtype: i32, role: out, rows: [0]}
launches:
  - {entry: find, grid: [rows, splits], block: ["32 * warps"], shared_bytes: "4 * warps", args: [x, partial, rows]}
  - {entry: apply, grid: [rows], block: [width, 2], args: [x, partial, out, best, "rows / 2.5", splits]}
work: {bytes: "2 * sizeof(dtype) * rows * width", flops: "2 * rows * width"}
emulation: {steps: "rows * width * splits"}
tolerance:
  out: {relative: "2 * roundoff(dtype)", conditioned: "width * roundoff(f32)"}
  best: exact
"""

DEVICE = """\
specforge: 1
device: card
name: A card
sources: {paper: "a paper"}
match: {names: ["Card 1"], compute_capability: "9.0"}
facts:
  architecture: {value: sm_90, certainty: A, source: paper}
  multiprocessors: {value: 100, certainty: A, source: paper}
  l2_capacity: {value: "50 MiB", certainty: A, source: paper}
  shared_per_multiprocessor: {value: "228 KiB", certainty: A, source: paper}
  shared_per_block: {value: "227 KiB", certainty: A, source: paper, note: "opted into"}
  warps_per_multiprocessor: {value: 64, certainty: A, source: paper}
  blocks_per_multiprocessor: {value: 32, certainty: A, source: paper}
  registers_per_multiprocessor: {value: 65536, certainty: A, source: paper}
  memory_capacity: {value: "80 GB", certainty: B, source: paper}
  memory_bandwidth: {value: "2000 GB/s", certainty: B, source: paper}
  bf16_rate: {value: "1000 TFLOPS", certainty: B, source: paper}
  boost_clock: {value: "1980 MHz", certainty: B, source: paper}
  board_power: {value: "700 W", certainty: C, source: paper}
"""

MODEL = """\
specforge: 1
model: tiny
name: Tiny
summary: A small model.
sources: {config: "its config"}
quantisation: bf16
weights: {synthetic: {generator: normal, seed: 1}}
shapes:
  block: {source: config, certainty: A, layers: 4, width: 64, tied: true, kind: dense}
derived:
  layer_bytes: {value: "2 * block.width * block.width", unit: B, summary: "One layer."}
  weight_bytes: {value: "block.layers * layer_bytes", unit: B, summary: "All layers."}
"""

WORKLOAD = """\
specforge: 1
workload: demo
model: ../models/tiny.yaml
benchmarks:
  scale:
    kernel: demo/scale
    bind: {width: =model.block.width, dtype: bf16, flip: false}
    matrix: {rows: [1, 32, 512, 1000]}
    exclude:
      - {when: "rows > 900", reason: "too many"}
    targets:
      - {metric: spill_bytes, equals: 0}
      - {metric: peak_bandwidth_share, at_least: "50 %", when: "rows >= 512"}
  token:
    matrix: {context: [1, 100]}
    step:
      - {part: scale, launches: model.block.layers, bytes: model.weight_bytes * context, benchmark: scale}
      - {part: rest, launches: "1", bytes: "0"}
"""

SPEC = """\
specforge: 1
spec: demo
summary: A demonstration.
device: devices/card.yaml
workload: workloads/demo.yaml
narrow:
  scale: {keep: "rows != 1", reason: "nobody asks"}
targets:
  scale:
    - {metric: latency, at_most: "9 us", when: "rows == 32", level: warn,
       known_miss: {reason: "not yet", until: 2027-02-01}}
  token:
    - {metric: decode_throughput, at_least: "100 tok/s", baseline: {value: "50 tok/s", source: "somebody"}}
"""

FILES = {
    "kernels/demo/scale/kernel.yaml": KERNEL,
    "kernels/demo/scale/kernel.cu.j2": "// nothing\n",
    "kernels/demo/scale/reference.py": "def reference():\n    return {}\n",
    "specs/devices/card.yaml": DEVICE,
    "specs/models/tiny.yaml": MODEL,
    "specs/workloads/demo.yaml": WORKLOAD,
    "specs/demo.yaml": SPEC,
}
SHORT = {
    "kernel": "kernels/demo/scale/kernel.yaml",
    "device": "specs/devices/card.yaml",
    "model": "specs/models/tiny.yaml",
    "workload": "specs/workloads/demo.yaml",
    "spec": "specs/demo.yaml",
}


@dataclass(frozen=True, slots=True)
class Files:
    """The project's folder; files go by their kind, or by their path in it."""

    root: Path

    def path(self, name: str) -> Path:
        return self.root / SHORT.get(name, name)

    def write(self, name: str, text: str) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)

    def replace(self, name: str, old: str, new: str) -> None:
        text = self.path(name).read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        self.path(name).write_text(text.replace(old, new))

    def add(self, name: str, text: str) -> None:
        self.path(name).write_text(self.path(name).read_text() + text)

    def load(self) -> Spec:
        return load_spec(self.path("spec"))

    def kernel(self) -> Kernel:
        return load_kernel(self.path("kernel"), "demo/scale", (self.root,))

    def faults(self) -> tuple[Diagnostic, ...]:
        with pytest.raises(SpecForgeError) as caught:
            self.load()
        return caught.value.diagnostics

    def fault(self) -> Diagnostic:
        (only,) = self.faults()
        return only

    def find(self, name: str, text: str) -> Position:
        """Where the only occurrence of a text begins."""
        lines = self.path(name).read_text().splitlines()
        (place,) = [(number, line) for number, line in enumerate(lines, start=1) if text in line]
        assert place[1].count(text) == 1, f"{text!r} stands twice in {place[1]!r}"
        return Position(self.path(name), place[0], place[1].index(text) + 1)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests, so that files which a test leaves alone are parsed once."""
    return tmp_path_factory.mktemp("small")


@pytest.fixture
def files(place: Path) -> Files:
    shutil.rmtree(place)
    found = Files(place / "repository")
    for name, text in FILES.items():
        found.write(name, text)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A document of its own, to be written."""
    return tmp_path / "some.yaml"

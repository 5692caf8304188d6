"""Every device function on the card and in the emulator, on the same words: bit for bit, any NaN equal to another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.emulated import EmulatorRunner
from specforge.backend.emulator.compile import compile_host, find_host_compiler
from specforge.backend.runner import Runner
from specforge.backend.worker import Worker
from specforge.kernel.nvrtc import compile_source, load_toolchain
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance
from tests.backend.emulator.collective_models import COLLECTIVES
from tests.backend.emulator.intrinsic_models import MODELS, draw

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "tests" / "backend" / "emulator"
ENTRIES = {
    "intrinsics.cu": [f"run_{name}" for name in MODELS],
    "collectives.cu": list(COLLECTIVES),
    "dependent.cu": ["first_grid", "second_grid"],
    "cluster.cu": ["exchange", "reads_too_early"],
}
ITEMS = 1 << 16
Payload = tuple[Plan, str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Cubin and shared library of each source."""
    from cuda.core import Device

    folder = tmp_path_factory.mktemp("intrinsics")
    include = ROOT / "kernels" / "include"
    made = {}
    for name, entries in ENTRIES.items():
        text = '#include "specforge.cuh"\n' + (SOURCES / name).read_text()
        done = compile_source(text, SOURCES / name, f"sm_{Device(0).arch}", (include,))
        assert done.cubin is not None, done.log
        cubin = folder / f"{name}.cubin"
        cubin.write_bytes(done.cubin)
        library = compile_host(
            text,
            entries,
            include_dirs=[include],
            cuda_include_dirs=list(load_toolchain().include_dirs),
            cache_dir=folder,
            compiler=find_host_compiler(),
        )
        made[name] = str(cubin), str(library)
    return made


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker("cuda:0") as started:
        yield started


@pytest.fixture(scope="module")
def emulator() -> EmulatorRunner:
    return EmulatorRunner()


def run(runner: Runner, payload: Payload) -> dict[str, np.ndarray]:
    plan, path, inputs = payload
    done = runner.run(plan, path, inputs)
    assert done.violations == ()
    return done.outputs


def words(name: str, count: int, role: str) -> BufferPlan:
    return BufferPlan(name, (count,), "u32", role, ("normal",), "hot", ())  # type: ignore[arg-type]


def plan_of(buffers: list[BufferPlan], launches: list[LaunchPlan]) -> Plan:
    exact = {buffer.name: Tolerance(True) for buffer in buffers if buffer.role == "out"}
    return Plan("test/intrinsics", "", {}, {}, tuple(buffers), tuple(launches), 1.0, 1.0, 1, exact)


@pytest.mark.parametrize("name", MODELS)
def test_elementwise(worker: Worker, emulator: EmulatorRunner, binaries: dict[str, tuple[str, str]], name: str) -> None:
    model = MODELS[name]
    x = draw(model, ITEMS, 11)
    buffers = [words("x", x.size, "in"), words("y", ITEMS * model.words_out, "out")]
    launch = LaunchPlan(f"run_{name}", (ITEMS // 128, 1, 1), (128, 1, 1), 0, ("x", "y", ITEMS))
    plan, inputs = plan_of(buffers, [launch]), {"x": x.reshape(-1)}
    cubin, library = binaries["intrinsics.cu"]
    got = worker.call(run, (plan, cubin, inputs), timeout=60)["y"]
    want = run(emulator, (plan, library, inputs))["y"]
    np.testing.assert_array_equal(model.canonical(got), model.canonical(want))


@pytest.mark.parametrize("name", COLLECTIVES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_collective(
    worker: Worker, emulator: EmulatorRunner, binaries: dict[str, tuple[str, str]], name: str, seed: int
) -> None:
    collective = COLLECTIVES[name]
    inputs = {"x": collective.draw(np.random.default_rng(seed), collective.words_in)}
    buffers = [words("x", collective.words_in, "in"), words("y", collective.words_out, "out")]
    launch = LaunchPlan(name, (1, 1, 1), (collective.threads, 1, 1), 0, ("x", "y"))
    plan = plan_of(buffers, [launch])
    cubin, library = binaries["collectives.cu"]
    got = worker.call(run, (plan, cubin, inputs), timeout=60)["y"]
    np.testing.assert_array_equal(got, run(emulator, (plan, library, inputs))["y"])


@pytest.mark.parametrize("blocks", [1, 64, 2000])
def test_a_dependent_grid(
    worker: Worker, emulator: EmulatorRunner, binaries: dict[str, tuple[str, str]], blocks: int
) -> None:
    count = 32 * blocks
    buffers = [words("x", count, "in"), words("middle", count, "scratch"), words("y", count, "out")]
    sizes = (blocks, 1, 1), (32, 1, 1), 0
    first = LaunchPlan("first_grid", *sizes, ("x", "middle"))
    plan = plan_of(buffers, [first, LaunchPlan("second_grid", *sizes, ("x", "middle", "y"), dependent=True)])
    inputs = {"x": np.random.default_rng(blocks).integers(0, 2**32, count, dtype=np.uint32)}
    cubin, library = binaries["dependent.cu"]
    want = run(emulator, (plan, library, inputs))["y"]
    for _ in range(20):
        np.testing.assert_array_equal(worker.call(run, (plan, cubin, inputs), timeout=60)["y"], want)


@pytest.mark.parametrize("dependent", [True, False])
def test_only_a_dependent_grid_starts_early(
    worker: Worker, binaries: dict[str, tuple[str, str]], dependent: bool
) -> None:
    """The first grid stays until it sees that the second has started, or a tenth of a second has passed."""
    from cuda.core import Device

    if Device(0).compute_capability.major < 9:
        dependent = False
    sizes = (1, 1, 1), (1, 1, 1), 0
    first = LaunchPlan("waits_to_be_met", *sizes, ("flag", "met"))
    launches = [first, LaunchPlan("starts", *sizes, ("flag",), dependent=dependent)]
    plan = plan_of([words("flag", 1, "scratch"), words("met", 1, "out")], launches)
    run_once = worker.call(run, (plan, binaries["dependent.cu"][0], {}), timeout=60)  # loads both entries
    assert run_once["met"][0] in (0, 1)
    assert worker.call(run, (plan, binaries["dependent.cu"][0], {}), timeout=60)["met"][0] == dependent


@pytest.mark.parametrize("clusters", [1, 16, 500])
def test_the_blocks_of_a_cluster_exchange_words(
    worker: Worker, binaries: dict[str, tuple[str, str]], clusters: int
) -> None:
    """Only a card does: every block has the words of all four, though these send them one long after the other."""
    from cuda.core import Device

    if Device(0).compute_capability.major < 9:
        pytest.skip("clusters came with compute capability 9.0")
    x = np.random.default_rng(clusters).integers(1, 2**31, (clusters, 4, 4, 8), dtype=np.uint32)  # of, to
    x &= np.uint32(0x7F7FFFFF)  # finite
    want = x.transpose(0, 2, 1, 3).reshape(-1)
    buffers = [words("x", x.size, "in"), words("y", x.size, "out")]

    def came(entry: str) -> np.ndarray:
        plan = plan_of(buffers, [LaunchPlan(entry, (4 * clusters, 1, 1), (64, 1, 1), 0, ("x", "y"))])
        payload = plan, binaries["cluster.cu"][0], {"x": x.reshape(-1)}
        return worker.call(run, payload, timeout=60)["y"]

    for _ in range(20):
        np.testing.assert_array_equal(came("exchange"), want)
    early = came("reads_too_early").reshape(x.shape)
    assert not early[:, :3, 3].any()  # the last block's words, which nobody has waited for

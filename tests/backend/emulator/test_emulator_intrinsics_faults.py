"""Copies, barriers and dependent grids used wrongly: each fault shows, by name in a sanitized build."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.emulator.compile import compile_host
from specforge.backend.emulator.module import Buffer, Call, EmulatedModule, EmulationFault
from tests.backend.emulator.collective_models import COLLECTIVES

HERE = Path(__file__).parent
INCLUDE = HERE.parents[2] / "kernels" / "include"
WRONG_COPIES = ["never_waited", "one_group_early", "not_closed", "barrier_but_no_wait"]


@pytest.fixture(scope="module")
def load(compiler, cache_dir, cuda_include_dirs):
    def load(source: str, entries: list[str], sanitize: str) -> EmulatedModule:
        library = compile_host(
            '#include "specforge.cuh"\n#line 1 "kernel.cu.j2"\n' + source,
            entries,
            include_dirs=[INCLUDE],
            cuda_include_dirs=cuda_include_dirs,
            cache_dir=cache_dir,
            compiler=compiler,
            sanitize=sanitize,
        )
        return EmulatedModule(library)

    return load


def line_of(text: str) -> int:
    """Where intrinsic_faults.cu says so first."""
    lines = (HERE / "intrinsic_faults.cu").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def entries_of(source: str) -> list[str]:
    found = re.findall(r"^(?:COPY_THEN\(|extern \"C\" __global__ void )(\w+)", source, re.MULTILINE)
    return [name for name in found if name != "NAME"]


@pytest.fixture(scope="module")
def faults(load):
    source = (HERE / "intrinsic_faults.cu").read_text()
    return {kind: load(source, entries_of(source), kind) for kind in ("off", "shadow")}


@pytest.fixture(scope="module")
def collectives(load):
    source = (HERE / "collectives.cu").read_text()
    return load(source, list(COLLECTIVES), "shadow")


@pytest.fixture(scope="module")
def grids(load):
    source = (HERE / "dependent.cu").read_text()
    names = ["first_grid", "second_grid", "impatient", "overwrites", "traps", "last_adds", "counts_too_early"]
    return {kind: load(source, names, kind) for kind in ("off", "shadow")}


def watch(module: EmulatedModule, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
    every = {**inputs, **outputs}
    module.watch(
        [
            Buffer(name, a.ctypes.data, a.nbytes, a.itemsize, name in outputs, given=name == "count")
            for name, a in every.items()
        ]
    )


def launch(module: EmulatedModule, entry: str, block: int, x: np.ndarray, y: np.ndarray, schedule: int = 0) -> None:
    watch(module, {"x": x}, {"y": y})
    module.launch(entry, (1, 1, 1), (block, 1, 1), 0, [x.ctypes.data, y.ctypes.data], schedule=schedule)


@pytest.mark.parametrize("schedule", [1, 5])
@pytest.mark.parametrize("name", COLLECTIVES)
def test_right_use_raises_no_alarm(collectives, name, schedule):
    collective = COLLECTIVES[name]
    x = collective.draw(np.random.default_rng(schedule), collective.words_in)
    y = np.full(collective.words_out, 0xFFFFFFFF, np.uint32)
    launch(collectives, name, collective.threads, x, y, schedule)
    np.testing.assert_array_equal(y, collective.compute(x))


def copied(module: EmulatedModule, entry: str) -> np.ndarray:
    x, y = np.arange(1, 257, dtype=np.uint32), np.zeros(32, np.uint32)
    launch(module, entry, 32, x, y)
    return y


@pytest.mark.parametrize("kind", ["off", "shadow"])
def test_a_waited_copy_arrives(faults, kind):
    i = np.arange(32)
    np.testing.assert_array_equal(copied(faults[kind], "waited"), 4 * i + i % 4 + 1)


@pytest.mark.parametrize("entry", WRONG_COPIES)
def test_a_missing_wait_shows_in_the_values(faults, entry):
    assert (copied(faults["off"], entry) == 0xFFFFFFFF).all()


@pytest.mark.parametrize("entry", WRONG_COPIES)
def test_a_missing_wait_is_named(faults, entry):
    with pytest.raises(EmulationFault) as caught:
        copied(faults["shadow"], entry)
    assert caught.value.kind in ("uninitialised", "race")
    assert "kernel.cu.j2" in caught.value.message


def test_a_wait_without_a_barrier_is_a_race(faults):
    with pytest.raises(EmulationFault, match=f"kernel.cu.j2:{line_of('(wait_but_no_barrier')}") as caught:
        copied(faults["shadow"], "wait_but_no_barrier")
    assert caught.value.kind in ("uninitialised", "race")


@pytest.mark.parametrize("kind", ["off", "shadow"])
def test_a_stage_that_is_refilled_too_early_shows(faults, kind):
    x, y = np.arange(256, dtype=np.uint32), np.zeros(256, np.uint32)
    if kind == "shadow":
        with pytest.raises(EmulationFault) as caught:
            launch(faults[kind], "refilled_early", 64, x, y)
        assert caught.value.kind in ("race", "uninitialised")
    else:
        launch(faults[kind], "refilled_early", 64, x, y)
        assert (y == 0xFFFFFFFF).any()


@pytest.mark.parametrize("kind", ["off", "shadow"])
@pytest.mark.parametrize(
    ("entry", "fault", "text"),
    [
        (
            "odd_source",
            "alignment",
            r"cp_async of 8 bytes: the source is 4 bytes past a multiple \(.*kernel.cu.j2:{line}\)",
        ),
        ("odd_destination", "alignment", "cp_async of 16 bytes: the destination is 8 bytes past a multiple"),
        ("to_global", "bounds", "cp_async writes 4 bytes that are not shared memory"),
        ("from_shared", "bounds", "cp_async reads shared memory"),
        ("overfilled", "bounds", "cp_async of 4 bytes is to fill 8 of them"),
        (
            "nobody_arrives",
            "deadlock",
            r"threads 0-31 wait at named barrier 5, where 32 of 64 threads have come \(.*:{line}\)",
        ),
        ("different_counts", "barrier", "takes barrier 5 to be of (64|96) threads, others took it to be of (64|96)"),
        (
            "different_in_a_warp",
            "barrier",
            r"lanes of warp 0 name different barriers or numbers of threads \(.*:{line}\)",
        ),
        ("odd_count", "barrier", "40 threads are not whole warps of the block, which has 64"),
        ("barrier_zero", "barrier", "barrier 0 is not one of 1 to 15"),
        ("arrives_twice", "barrier", "warp 0 comes to barrier 5 again before that has completed"),
        ("half_a_warp", "shuffle", r"exits while lane \d+ waits for it at barrier_sync"),
    ],
)
def test_misuse_is_named(faults, kind, entry, fault, text):
    x, y = np.arange(256, dtype=np.uint32), np.zeros(256, np.uint32)
    block = 96 if entry == "different_counts" else 32 if "cp_async" in text else 64
    line = line_of({"nobody_arrives": "barrier_sync(5, 64)"}.get(entry, entry))
    with pytest.raises(EmulationFault, match=text.replace("{line}", str(line))) as caught:
        launch(faults[kind], entry, block, x, y)
    assert caught.value.kind == fault


def test_what_was_not_announced_is_a_race(faults):
    with pytest.raises(EmulationFault) as caught:
        launch(faults["shadow"], "wrong_barrier", 64, np.arange(64, dtype=np.uint32), np.zeros(64, np.uint32), 1)
    assert caught.value.kind in ("race", "uninitialised")


class Grids:
    """x = given + 1, then two launches of four blocks of 32 threads each, the second dependent on the first."""

    def __init__(self, module: EmulatedModule, second: str, first: str = "first_grid", schedule: int = 0) -> None:
        self.given = np.arange(5, 133, dtype=np.uint32)
        self.x, self.middle, self.y = (np.full(128, 0xFFFFFFFF, np.uint32) for _ in range(3))
        watch(module, {"given": self.given}, {"x": self.x, "middle": self.middle, "y": self.y})
        sizes = (4, 1, 1), (32, 1, 1), 0
        given, x, middle, y = (array.ctypes.data for array in (self.given, self.x, self.middle, self.y))
        calls = [Call("first_grid", *sizes, [given, x]), Call(first, *sizes, [x, middle])]
        module.launch_all([*calls, Call(second, *sizes, [x, middle, y], dependent=True)], schedule=schedule)


@pytest.mark.parametrize("entry", ["opens", "waits_until_opened", "sends", "waits"])
def test_words_between_blocks_of_a_cluster_are_not_emulated(load, entry):
    module = load((HERE / "cluster.cu").read_text(), ["asks", entry], "off")
    y = np.ones(1, np.uint32)
    watch(module, {}, {"y": y})
    module.launch("asks", (1, 1, 1), (1, 1, 1), 0, [y.ctypes.data])
    assert y[0] == 0  # CLUSTERS
    with pytest.raises(EmulationFault, match="__trap"):
        module.launch(entry, (1, 1, 1), (1, 1, 1), 0, [y.ctypes.data])


def counted(module: EmulatedModule, entry: str, threads: int, schedule: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The sum that the last of eight blocks makes of what all left, in the second of two launches; the counter."""
    x, parts = np.arange(256, dtype=np.uint32), np.full(8, 0xFFFFFFFF, np.uint32)
    count, y = np.zeros(1, np.uint32), np.zeros(1, np.uint32)
    watch(module, {"x": x}, {"parts": parts, "count": count, "y": y})
    arguments = [array.ctypes.data for array in (x, parts, count, y)]
    for turn in range(2):
        module.launch(entry, (8, 1, 1), (threads, 1, 1), 0, arguments, schedule=schedule + turn)
    return y, count


@pytest.mark.parametrize("schedule", [0, 1, 5])
@pytest.mark.parametrize("kind", ["off", "shadow"])
def test_the_last_block_has_all_parts(grids, kind, schedule):
    y, count = counted(grids[kind], "last_adds", 32, schedule)
    assert (y[0], count[0]) == (255 * 128, 0)


def test_a_block_that_counts_too_early_is_a_race(grids):
    with pytest.raises(EmulationFault) as caught:
        counted(grids["shadow"], "counts_too_early", 1)
    assert caught.value.kind in ("race", "uninitialised")


@pytest.mark.parametrize("schedule", [0, 1, 5])
@pytest.mark.parametrize("kind", ["off", "shadow"])
def test_a_dependent_grid_that_waits(grids, kind, schedule):
    done = Grids(grids[kind], "second_grid", schedule=schedule)
    np.testing.assert_array_equal(done.y, 3 * done.x + done.x[::-1] + 1)


def test_a_dependent_grid_that_does_not_wait_reads_what_nothing_wrote(grids):
    done = Grids(grids["off"], "impatient")
    np.testing.assert_array_equal(done.y, 3 * done.x + np.uint32(0xFFFFFFFF))
    np.testing.assert_array_equal(done.middle, done.x + 1)  # the first grid has run all the same


def test_a_dependent_grid_that_does_not_wait_is_a_race(grids):
    with pytest.raises(EmulationFault) as caught:
        Grids(grids["shadow"], "impatient")
    assert caught.value.kind == "race"


def test_a_dependent_grid_may_not_write_what_the_first_reads(grids):
    done = Grids(grids["off"], "overwrites")
    np.testing.assert_array_equal(done.middle[:32], 8)  # the first block, up to its wait
    with pytest.raises(EmulationFault) as caught:
        Grids(grids["shadow"], "overwrites")
    assert caught.value.kind == "race"


@pytest.mark.parametrize("kind", ["off", "shadow"])
def test_a_fault_of_the_first_grid_is_its_own(grids, kind):
    with pytest.raises(EmulationFault, match="__trap") as caught:
        Grids(grids[kind], "second_grid", first="traps")
    assert caught.value.entry == "traps"
    done = Grids(grids[kind], "second_grid")  # and the library goes on
    np.testing.assert_array_equal(done.y, 3 * done.x + done.x[::-1] + 1)


def chain(module: EmulatedModule, middle_waits: bool) -> np.ndarray:
    """Three grids, each dependent on the one before; what the last reads of the first's."""
    x, a, b, y = (np.full(32, value, np.uint32) for value in (1, 0, 0, 0))
    watch(module, {"x": x}, {"a": a, "b": b, "y": y})
    p, q, r, s = (array.ctypes.data for array in (x, a, b, y))
    sizes = (1, 1, 1), (32, 1, 1), 0
    second = "second_grid" if middle_waits else "impatient"
    calls = [Call("first_grid", *sizes, [p, q]), Call(second, *sizes, [p, p, r], True)]
    module.launch_all([*calls, Call("second_grid", *sizes, [p, q, s], True)])
    return y


def test_a_wait_is_for_the_launch_before_and_what_that_waited_for(grids):
    np.testing.assert_array_equal(chain(grids["off"], middle_waits=True), 3 + 2)
    np.testing.assert_array_equal(chain(grids["off"], middle_waits=False), 3 + 0)

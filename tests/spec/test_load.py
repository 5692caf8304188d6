"""A spec and all that it names, resolved; and every way in which the files may disagree."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from specforge.diagnostics import Position, SpecForgeError
from specforge.spec.load import load_spec

ROOT = Path(__file__).parents[2]


def found(files) -> list[tuple[str, Position]]:
    return [(fault.code, fault.position) for fault in files.faults()]


# --- what a sound spec means ------------------------------------------------------------------------------------------


def test_a_spec_is_its_workload_narrowed_with_targets_added(files):
    spec = files.load()
    assert (spec.name, spec.device.architecture, spec.model.file.model) == ("demo", "sm_90", "tiny")
    assert [benchmark.name for benchmark in spec.benchmarks] == ["scale", "token"]
    scale = spec.benchmark("scale")
    assert [case.id for case in scale.cases] == ["scale[rows=32]", "scale[rows=512]"]
    assert [(item.id, item.reason) for item in scale.excluded] == [
        ("scale[rows=1000]", "too many"),
        ("scale[rows=1]", "nobody asks"),
    ]
    assert [target.text for target in scale.targets] == [
        "spill_bytes == 0 B",
        "peak_bandwidth_share >= 50 % when rows >= 512",
        "latency <= 9 us when rows == 32",
    ]
    assert [target.cases for target in scale.targets] == [
        ("scale[rows=32]", "scale[rows=512]"),
        ("scale[rows=512]",),
        ("scale[rows=32]",),
    ]
    assert scale.targeted() == 2
    assert spec.benchmark("token").kernel is None
    assert [part.name for part in spec.benchmark("token").parts] == ["scale", "rest"]


def test_documents_are_all_that_it_was_made_from(files):
    spec = files.load()
    assert [document.path for document in spec.documents] == [
        files.path(name) for name in ("spec", "workload", "device", "model")
    ]


def test_every_parameter_knows_where_it_came_from(files):
    case = files.load().benchmark("scale").cases[0]
    assert case.parameters == {"rows": 32, "width": 64, "dtype": "bf16", "flip": False}
    assert case.origins == {
        "width": files.find("workload", "=model.block.width"),
        "dtype": files.find("workload", "bf16"),
        "flip": files.find("workload", "false"),
        "rows": files.find("workload", "32, 512"),
    }


def test_every_target_knows_where_it_came_from(files):
    scale = files.load().benchmark("scale")
    assert [target.position for target in scale.targets] == [
        files.find("workload", "{metric: spill_bytes"),
        files.find("workload", "{metric: peak"),
        files.find("spec", "{metric: latency"),
    ]
    assert len({target.id for target in scale.targets}) == 3


def test_tunables_are_resolved_for_the_card(files):
    assert [case.tunables for case in files.load().benchmark("scale").cases] == [
        {"splits": 3, "warps": 8},
        {"splits": 1, "warps": 8},
    ]
    files.replace("device", "multiprocessors: {value: 100", "multiprocessors: {value: 64")
    assert files.load().benchmark("scale").cases[0].tunables["splits"] == 2


def test_names_are_in_base_units(files):
    names = files.load().names()
    assert names["device.memory_bandwidth"] == 2e12
    assert names["device.l2_capacity"] == 50 * 2**20
    assert names["model.block.width"] == 64
    assert names["model.weight_bytes"] == 4 * 2 * 64 * 64
    assert "model.block.source" not in names
    assert "model.block.certainty" not in names
    assert "device.fp8_rate" not in names


def test_own_benchmarks_stand_beside_the_workloads(files):
    files.add(
        "spec",
        "benchmarks:\n  own:\n    kernel: demo/scale\n    bind: {width: 32, dtype: f32, flip: true, rows: 8}\n"
        "    targets: [{metric: latency, at_most: 1 ms}]\n",
    )
    own = files.load().benchmark("own")
    assert [case.id for case in own.cases] == ["own"]
    assert own.document.path == files.path("spec")
    assert own.targets[0].bound == 1e-3, "a spec's own benchmark may have targets of its card"
    assert own.cases[0].origins["rows"] == files.find("spec", "8}")


def test_a_spec_without_a_workload_may_name_a_model(files):
    files.write(
        "spec",
        "specforge: 1\nspec: demo\ndevice: devices/card.yaml\nmodel: models/tiny.yaml\nbenchmarks:\n  own:\n"
        "    kernel: demo/scale\n    bind: {width: =model.block.width, dtype: f32, flip: true}\n"
        "    cases: [{rows: 8}, {rows: 2}]\n",
    )
    assert [case.id for case in files.load().benchmark("own").cases] == ["own[rows=8]", "own[rows=2]"]


def test_shipped_files_are_found_where_there_are_none_beside_the_spec(files):
    files.replace("spec", "devices/card.yaml", "devices/rtx4090.yaml")
    spec = files.load()
    assert spec.device.architecture == "sm_89"
    assert spec.device.document.path.name == "rtx4090.yaml"


def test_the_own_file_comes_before_the_shipped_one(files):
    files.write(
        "specs/devices/rtx4090.yaml", files.path("device").read_text().replace("device: card", "device: rtx4090")
    )
    files.replace("spec", "devices/card.yaml", "devices/rtx4090.yaml")
    assert files.load().device.architecture == "sm_90"


def test_shipped_kernels_are_found_from_another_repository(files):
    files.replace("workload", "kernel: demo/scale", "kernel: moe/router_topk")
    files.replace(
        "workload",
        "{width: =model.block.width, dtype: bf16, flip: false}",
        "{experts: 128, top_k: 8, dtype: f32, renormalise: true}",
    )
    files.replace("workload", "matrix: {rows: [1, 32, 512, 1000]}", "matrix: {tokens: [1, 32, 512, 1000]}")
    for name in ("workload", "spec"):
        path = files.path(name)
        path.write_text(path.read_text().replace('"rows ', '"tokens '))
    assert files.load().benchmark("scale").kernel.identity == "moe/router_topk"


def test_paths_are_as_a_person_writes_them(files, monkeypatch):
    monkeypatch.chdir(files.root)
    spec = load_spec(Path("specs/demo.yaml"))
    assert [str(document.path) for document in spec.documents] == [
        "specs/demo.yaml",
        "specs/workloads/demo.yaml",
        "specs/devices/card.yaml",
        "specs/models/tiny.yaml",
    ]
    assert str(spec.benchmark("scale").kernel.document.path) == "kernels/demo/scale/kernel.yaml"


@pytest.mark.parametrize("path", sorted((ROOT / "specs").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_specs_load(path):
    spec = load_spec(path)
    assert spec.name == path.stem
    assert all(benchmark.cases for benchmark in spec.benchmarks)
    assert any(benchmark.targets for benchmark in spec.benchmarks)


def test_known_misses_and_baselines_are_read(files):
    spec = files.load()
    latency = spec.benchmark("scale").targets[2]
    assert latency.known_miss == ("not yet", date(2027, 2, 1))
    assert latency.level == "warn"
    assert spec.benchmark("token").targets[0].baseline == (50.0, "somebody")


# --- files that are not there, or not what they should be -------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        ("spec", "devices/card.yaml", "devices/crad.yaml", "SF401", "devices/card.yaml"),
        ("spec", "workloads/demo.yaml", "workloads/dmo.yaml", "SF401", "workloads/demo.yaml"),
        ("workload", "../models/tiny.yaml", "../models/tyny.yaml", "SF401", "../models/tiny.yaml"),
        ("spec", "devices/card.yaml", "nowhere/card.yaml", "SF401", None),
        ("spec", "devices/card.yaml", "devices", "SF002", None),
        ("spec", "devices/card.yaml", ".", "SF002", None),
        ("spec", "devices/card.yaml", "/dev/null", "SF401", None),
        ("spec", "devices/card.yaml", "a" * 300, "SF401", None),
        ("spec", "devices/card.yaml", "devices/card.yaml/x", "SF401", None),
        ("spec", "devices/card.yaml", "models/tiny.yaml", "SF005", None),
        ("spec", "devices/card.yaml", "demo.yaml", "SF005", None),
        ("spec", "workloads/demo.yaml", "demo.yaml", "SF005", None),
        ("spec", "workloads/demo.yaml", "devices/card.yaml", "SF005", None),
        ("workload", "../models/tiny.yaml", "demo.yaml", "SF005", None),
        ("workload", "../models/tiny.yaml", "../demo.yaml", "SF005", None),
        ("workload", "../models/tiny.yaml", "../../kernels/demo/scale/kernel.yaml", "SF005", None),
    ],
)
def test_a_wrong_file_is_told_where_it_is_named(files, change):
    name, old, new, code, near = change
    where = files.find(name, old)
    files.replace(name, old, new)
    fault = files.fault()
    assert (fault.code, fault.position) == (code, where)
    if near:
        assert f"did you mean {near!r}?" in str(fault.hint)


@pytest.mark.parametrize("kind", ["workload", "device", "model", "kernel"])
def test_only_specs_are_checked(files, kind):
    with pytest.raises(SpecForgeError) as caught:
        load_spec(files.path(kind))
    (fault,) = caught.value.diagnostics
    assert fault.code == "SF005"
    assert f"is a {kind} file" in fault.message
    assert fault.position.line == 2


@pytest.mark.parametrize(
    ("kind", "typo"), [("spec", "spce"), ("workload", "worklaod"), ("device", "devise"), ("model", "mdoel")]
)
def test_a_mistyped_kind_is_a_typo_not_another_kind(files, kind, typo):
    text = files.path(kind).read_text()
    files.write(kind, text.replace(f"\n{kind}: ", f"\n{typo}: ", 1))
    faults = files.faults()
    assert [fault.code for fault in faults] == ["SF202", "SF201"]
    assert faults[1].position == Position(files.path(kind), 2, 1)
    assert f"did you mean {kind!r}?" in faults[1].hint


def test_two_files_that_name_each_other(files):
    files.write("specs/a.yaml", "specforge: 1\nworkload: a\nmodel: b.yaml\nbenchmarks: {}\n")
    files.write("specs/b.yaml", "specforge: 1\nworkload: b\nmodel: a.yaml\nbenchmarks: {}\n")
    files.replace("spec", "workload: workloads/demo.yaml", "workload: a.yaml")
    assert "SF203" in {fault.code for fault in files.faults()}  # an empty workload comes first
    for name, other in (("a", "b"), ("b", "a")):
        benchmarks = files.path("workload").read_text().partition("benchmarks:")[2]
        files.write(
            f"specs/{name}.yaml", f"specforge: 1\nworkload: {name}\nmodel: {other}.yaml\nbenchmarks:{benchmarks}"
        )
    assert found(files) == [("SF005", files.find("specs/a.yaml", "b.yaml"))]


@pytest.mark.parametrize("version", ["2", "0", "'1'", "1.5", "true", "[1]", "~"])
@pytest.mark.parametrize("kind", ["spec", "workload", "device", "model", "kernel"])
def test_other_versions_are_refused_before_anything_else(files, kind, version):
    files.replace(kind, "specforge: 1", f"specforge: {version}\nnonsense: 1")
    assert found(files) == [("SF107", Position(files.path(kind), 1, 12))]


@pytest.mark.parametrize(("kind", "name"), [("device", "card"), ("model", "tiny")])
def test_a_file_is_named_after_what_it_holds(files, kind, name):
    files.replace(kind, f"{kind}: {name}", f"{kind}: other")
    assert found(files) == [("SF206", files.find(kind, "other"))]


def test_an_unreadable_workload_is_told_in_its_own_place(files):
    files.add("workload", "x: [1\n")
    fault = files.fault()
    assert (fault.code, fault.position.file) == ("SF101", files.path("workload"))


# --- names that mean nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        ("workload", "kernel: demo/scale", "kernel: demo/scael", "SF401", "demo/scael"),
        ("workload", "=model.block.width", "=model.block.widht", "SF303", "model.block.widht"),
        ("workload", "=model.block.width", '"= 1 + model.nothing"', "SF303", "model.nothing"),
        ("workload", "=model.block.width", "=device.multiprocessors", "SF303", "device.multiprocessors"),
        ("workload", "launches: model.block.layers", "launches: model.layers", "SF303", "model.layers,"),
        ("workload", "model.weight_bytes * context", "model.weight_bytes * contxt", "SF303", "contxt"),
        ("workload", "benchmark: scale}", "benchmark: scael}", "SF411", "scael"),
        ("workload", "benchmark: scale}", "benchmark: token}", "SF411", "token}"),
        ("spec", "targets:\n  scale:", "targets:\n  scael:", "SF411", "scael"),
        ("spec", "narrow:\n  scale:", "narrow:\n  scael:", "SF411", "scael"),
        ("model", "block.width * block.width", "block.width * blok.width", "SF303", "blok.width"),
        ("model", "block.layers * layer_bytes", "block.layers * weight_bytes", "SF303", 'weight_bytes", unit'),
        ("model", "source: config, certainty: A", "source: confg, certainty: A", "SF204", "confg"),
        ("device", "source: paper, note", "source: papr, note", "SF204", "papr"),
    ],
)
def test_a_name_that_nothing_declares(files, change):
    name, old, new, code, at = change
    files.replace(name, old, new)
    fault = files.fault()
    assert (fault.code, fault.position) == (code, files.find(name, at))
    assert fault.hint


def test_a_group_of_shapes_states_its_certainty(files):
    files.replace("model", "certainty: A, ", "")
    assert found(files) == [("SF204", files.find("model", "block: {source"))]


def test_division_by_zero_in_a_derived_size(files):
    files.replace("model", '"2 * block.width * block.width"', '"block.width // (block.layers - 4)"')
    assert found(files) == [("SF304", files.find("model", "block.width // (block"))]


def test_a_step_that_cannot_be_counted(files):
    files.replace("workload", 'launches: "1"', 'launches: "context / 3"')
    assert found(files) == [("SF304", files.find("workload", "context / 3"))]
    files.replace("workload", 'launches: "context / 3"', 'launches: "1 - context"')
    assert found(files) == [("SF304", files.find("workload", '"1 - context"'))]


def test_a_benchmark_is_never_changed_silently(files):
    files.add(
        "spec", "benchmarks:\n  scale: {kernel: demo/scale, bind: {rows: 1, width: 32, dtype: f32, flip: true}}\n"
    )
    fault = files.faults()[0]
    assert (fault.code, fault.position) == ("SF404", files.find("spec", "scale: {kernel"))
    assert "targets" in fault.hint


def test_a_target_is_never_repeated(files):
    files.replace(
        "spec", "targets:\n  scale:\n", "targets:\n  scale:\n    - {metric: spill_bytes, equals: 0, level: record}\n"
    )
    assert found(files) == [("SF410", files.find("spec", "{metric: spill_bytes"))]


def test_a_spec_has_something_to_check(files):
    files.write("spec", "specforge: 1\nspec: demo\ndevice: devices/card.yaml\n")
    assert found(files) == [("SF202", Position(files.path("spec"), 1, 1))]


def test_the_model_belongs_to_the_workload(files):
    files.replace("spec", "summary: A demonstration.", "model: models/tiny.yaml")
    assert found(files) == [("SF203", Position(files.path("spec"), 1, 1))]


# --- several at once --------------------------------------------------------------------------------------------------


def test_one_run_reports_what_is_independent(files):
    files.replace("device", "certainty: C", "certainty: D")
    files.replace("device", '"700 W"', '"700 J"')
    files.replace("workload", "  token:\n    matrix", "  token:\n    matrx")
    files.replace("workload", "equals: 0}", "eqals: 0}")
    faults = files.faults()
    assert [fault.code for fault in faults] == ["SF205", "SF204", "SF201", "SF201"]
    assert len({fault.position for fault in faults}) == 4


def test_faults_of_two_benchmarks_come_together(files):
    files.replace("workload", "rows >= 512", "row >= 512")
    files.replace("workload", "model.weight_bytes * context", "model.weight_bytes * contxt")
    files.replace("spec", "rows == 32", "rows == 33")
    assert {(fault.code, fault.position.file.name, fault.position.line) for fault in files.faults()} == {
        ("SF303", "demo.yaml", files.find("workload", "row >=").line),
        ("SF303", "demo.yaml", files.find("workload", "contxt").line),
        ("SF408", "demo.yaml", files.find("spec", "rows == 33").line),
    }


def test_a_broken_kernel_is_reported_once_for_all_its_benchmarks(files):
    files.add(
        "workload",
        "  again:\n    kernel: demo/scale\n    bind: {width: 32, dtype: f32, flip: true}\n    matrix: {rows: [2]}\n",
    )
    assert files.load()
    files.replace("kernel", 'flops: "2 * rows', 'flops: "2 * row')
    assert found(files) == [("SF303", files.find("kernel", 'row * width"}'))]


def test_a_copy_of_the_shipped_files_is_its_own_repository(project, monkeypatch):
    shutil.rmtree(project / "specs" / "devices")
    monkeypatch.chdir(project)
    spec = load_spec(Path("specs/qwen35_rtx5090.yaml"))
    assert spec.device.document.path == ROOT / "specs" / "devices" / "rtx5090.yaml"
    assert str(spec.benchmark("router_topk").kernel.document.path) == "kernels/moe/router_topk/kernel.yaml"
    assert spec.roots == (project, ROOT)

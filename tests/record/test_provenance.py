from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from specforge.record import provenance
from specforge.record.provenance import (
    changed_inputs,
    changed_since,
    check_publishable,
    input_files,
    input_paths,
    locate,
    package_versions,
    sources,
    tool_sha256,
)
from specforge.roots import shipped
from specforge.spec.load import load_spec

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def spec(samples):
    return samples.spec_at("specs/qwen35_rtx5090.yaml")


def test_inputs_are_everything_a_spec_is_made_from(spec):
    found = {entry.path: entry for entry in input_files(spec)}
    assert found["specs/qwen35_rtx5090.yaml"].role == "spec"
    assert found["specs/workloads/qwen35_decode.yaml"].role == "workload"
    assert found["specs/devices/rtx5090.yaml"].role == "device"
    assert found["specs/models/qwen35_35b_a3b.yaml"].role == "model"
    assert found["kernels/attention/flash_decode/kernel.yaml"].role == "kernel"
    assert found["kernels/attention/flash_decode/kernel.cu.j2"].role == "template"
    assert found["kernels/attention/flash_decode/reference.py"].role == "reference"
    assert found["kernels/include/specforge.cuh"].role == "header"
    assert found["kernels/moe/experts/blocks.cuh"].role == "header", "a kernel's own, beside its template"
    assert all(len(entry.sha256) == 64 for entry in found.values())


def test_hashes_are_those_of_the_files(spec):
    import hashlib

    with contextlib.chdir(ROOT):
        for entry in input_files(spec):
            assert entry.sha256 == hashlib.sha256((ROOT / entry.path).read_bytes()).hexdigest()


@pytest.fixture
def elsewhere(tmp_path):
    """A spec and a kernel in a repository of their own, on a shipped device."""
    kernel = tmp_path / "kernels" / "mine" / "router_topk"
    shutil.copytree(shipped() / "kernels" / "moe" / "router_topk", kernel)
    path = tmp_path / "specs" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(
        "specforge: 1\nspec: mine\ndevice: devices/rtx4090.yaml\nbenchmarks:\n"
        "  routing:\n    kernel: mine/router_topk\n"
        "    bind: {experts: 128, top_k: 8, renormalise: true, dtype: f32}\n    matrix: {tokens: [1]}\n"
    )
    return path


def test_shipped_files_are_marked_and_found_again(elsewhere):
    spec = load_spec(elsewhere)
    names = {entry.path for entry in input_files(spec)}
    assert "specs/mine.yaml" in names
    assert "kernels/mine/router_topk/kernel.yaml" in names
    assert "shipped:specs/devices/rtx4090.yaml" in names
    assert "shipped:kernels/include/specforge.cuh" in names
    assert all(locate(name, elsewhere).is_file() for name in names)
    assert all(path.is_relative_to(elsewhere.parents[1]) for path in input_paths(spec))


def test_a_lone_spec_is_named_from_its_own_folder(tmp_path):
    path = tmp_path / "lone.yaml"
    path.write_text(
        "specforge: 1\nspec: lone\ndevice: devices/rtx4090.yaml\nbenchmarks:\n  routing:\n    kernel: moe/router_topk\n"
        "    bind: {experts: 128, top_k: 8, renormalise: true, dtype: f32}\n    matrix: {tokens: [1]}\n"
    )
    names = [entry.path for entry in input_files(load_spec(path))]
    assert names[0] == "lone.yaml"
    assert all(name.startswith("shipped:") for name in names[1:])
    assert locate("lone.yaml", path) == path.resolve()


def test_a_changed_and_a_missing_input_make_a_record_stale(elsewhere, samples):
    spec = load_spec(elsewhere)
    record = samples.undecided().model_copy(update={"inputs": input_files(spec)})
    assert changed_inputs(record, elsewhere) == []
    template = elsewhere.parents[1] / "kernels/mine/router_topk/kernel.cu.j2"
    template.write_text(template.read_text() + ";\n")
    (template.parent / "reference.py").unlink()
    found = changed_inputs(record, elsewhere)
    assert {item.code for item in found} == {"SF603"}
    assert sorted(item.message for item in found) == [
        "the record is stale: its reference is gone",
        "the record is stale: its template has changed",
    ]


@pytest.mark.parametrize(
    ("edit", "stale"), [("// A word more.\n", False), ("{# and another #}\n", False), (";\n", True)]
)
@pytest.mark.parametrize("name", ["kernel.cu.j2", "own.cuh"])
def test_a_comment_leaves_a_record_current(elsewhere, samples, name, edit, stale):
    """A template's header says what was measured, so it is written after measuring."""
    folder = elsewhere.parents[1] / "kernels/mine/router_topk"
    (folder / "own.cuh").write_text("#pragma once\n")
    inputs = input_files(load_spec(elsewhere))
    (folder / name).write_text(edit + (folder / name).read_text())
    older = [entry.model_copy(update={"without_comments_sha256": None}) for entry in inputs]
    for entries, is_stale in ((inputs, stale), (older, True)):
        record = samples.undecided().model_copy(update={"inputs": entries})
        assert bool(changed_inputs(record, elsewhere)) == is_stale
        assert changed_since(record, elsewhere) == [f"kernels/mine/router_topk/{name}"] * is_stale


KERNEL = "kernels/mine/router_topk/kernel.yaml"
MORE = 'equivalent_mutants:\n  - {mutant: cast-00000000, reason: "no input tells it"}\n'
IDS = "  ids:     {shape: [tokens, top_k], dtype: i32, role: out, rows: [0]}\n"
CURRENT = {
    "an entry": [("equivalent_mutants:\n", MORE)],
    "an entry less": [("  - {mutant: constant-443e242f,", "  # - {mutant: constant-443e242f,")],
    "a comment": [("tolerance:\n", "# a comment\ntolerance:\n")],
}
STALE = {
    "a tolerance": [('"23 * roundoff(f32)"', '"24 * roundoff(f32)"')],
    "a domain": [('"1..1024"', '"1..1025"')],
    "an entry and a domain": [("equivalent_mutants:\n", MORE), ('"1..1024"', '"1..1025"')],
    "values in another order": [("spiky, constant", "constant, spiky")],
    "tensors in another order": [(IDS, ""), ("launches:\n", f"{IDS}launches:\n")],
    "no peers": [("peers: peers.py\n", "")],
    "what is called fast": [("work:\n", 'specialised: "top_k == 8"\nwork:\n')],
    "an unknown key": [("work:\n", "works: 1\nwork:\n")],
    "no YAML": [("work:\n", "work: {\n")],
}


@pytest.mark.parametrize("edit", [*CURRENT, *STALE])
def test_only_what_is_said_of_mutants_leaves_a_record_current(elsewhere, samples, edit):
    inputs = input_files(load_spec(elsewhere))
    file = elsewhere.parents[1] / KERNEL
    text = file.read_text()
    for old, new in (CURRENT | STALE)[edit]:
        assert text.count(old) == 1
        text = text.replace(old, new)
    file.write_text(text)
    older = [entry.model_copy(update={"without_mutants_sha256": None}) for entry in inputs]
    for entries, stale in ((inputs, edit in STALE), (older, True)):  # an older record has the file's digest alone
        record = samples.undecided().model_copy(update={"inputs": entries})
        assert [item.message for item in changed_inputs(record, elsewhere)] == [
            "the record is stale: its kernel has changed"
        ] * stale
        assert changed_since(record, elsewhere) == [KERNEL] * stale


def test_only_a_kernel_has_a_digest_without_mutants(elsewhere):
    found = input_files(load_spec(elsewhere))
    (entry,) = [entry for entry in found if entry.without_mutants_sha256 is not None]
    assert (entry.role, entry.path) == ("kernel", KERNEL)
    assert entry.without_mutants_sha256 != entry.sha256


@pytest.mark.parametrize("digest", ["0" * 64, ""])
def test_another_digest_without_mutants_helps_no_changed_kernel(elsewhere, samples, digest):
    inputs = [
        entry.model_copy(update={"without_mutants_sha256": digest}) for entry in input_files(load_spec(elsewhere))
    ]
    record = samples.undecided().model_copy(update={"inputs": inputs})
    assert changed_inputs(record, elsewhere) == []  # no file differs
    file = elsewhere.parents[1] / KERNEL
    file.write_text(file.read_text().replace("equivalent_mutants:\n", MORE))
    assert [item.code for item in changed_inputs(record, elsewhere)] == ["SF603"]
    file.unlink()
    assert [item.message for item in changed_inputs(record, elsewhere)] == ["the record is stale: its kernel is gone"]


def test_without_history_the_supplied_commit_stands(elsewhere):
    found = sources(elsewhere, [], "abc123")
    assert (found.commit, found.dirty) == ("abc123", None)
    assert sources(elsewhere, [], None).commit is None


def test_tool_hash_depends_on_names_and_contents(tmp_path, monkeypatch):
    package = tmp_path / "specforge"
    for name in ("record/a.py", "backend/b.h", "record/notes.txt", "shipped/kernels/c.py", "__pycache__/a.pyc"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(name)
    include = tmp_path / "kernels" / "include"
    include.mkdir(parents=True)
    (include / "specforge.cuh").write_text("d")
    monkeypatch.setattr(provenance, "__file__", str(package / "record" / "provenance.py"))
    monkeypatch.setattr(provenance, "shipped", lambda: tmp_path)
    first = tool_sha256()
    for name in ("record/notes.txt", "shipped/kernels/c.py", "__pycache__/a.pyc"):
        (package / name).write_text("changed, but no part of the tool")
    assert tool_sha256() == first
    (include / "specforge.cuh").write_text("e")
    second = tool_sha256()
    (package / "record/a.py").rename(package / "record/z.py")
    third = tool_sha256()
    (package / "backend/b.h").write_text("other")
    assert len({first, second, third, tool_sha256()}) == 4


def test_package_versions_are_those_installed():
    found = package_versions()
    assert found["numpy"][0].isdigit()
    assert all(name in provenance.PACKAGES for name in found)


def refusals(record, **changes):
    changed = record.model_copy(update=changes)
    return [item.message for item in check_publishable(changed)]


def test_what_may_be_published(samples):
    record = samples.every_verdict()
    assert refusals(record) == []
    without_git = record.sources.model_copy(update={"dirty": None})
    assert refusals(record, sources=without_git) == []
    assert refusals(record, sources=record.sources.model_copy(update={"dirty": True}))
    assert refusals(record, sources=without_git.model_copy(update={"commit": None}))
    assert refusals(record, binaries=[])
    assert refusals(record, binaries=[record.binaries[0].model_copy(update={"flags": []})])
    assert {item.code for item in check_publishable(record.model_copy(update={"binaries": []}))} == {"SF604"}

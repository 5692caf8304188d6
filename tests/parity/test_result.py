"""Results and their table: what is committed belongs to the kernels as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from specforge.cli import main
from specforge.diagnostics import SpecForgeError
from specforge.parity.builds import builds
from specforge.parity.result import ParityResult, kernel_files, read_results, result_path, write_result
from specforge.parity.table import render_table
from specforge.roots import shipped
from specforge.spec.interface import find_kernel, list_kernels

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "parity"
KERNELS = sorted(list_kernels((shipped(),)))


def sample(**changes) -> ParityResult:
    build = {
        "card_flags": ["--fmad=false"],
        "emulator_flags": [],
        "agreed": 3,
        "outputs": {"out": {"elements": 1234, "unequal": 0, "ulps": 0}},
        "card_ratio": 0.25,
        "emulator_ratio": 0.5,
    }
    return ParityResult.model_validate(
        {
            "parity_version": 1,
            "kernel": "moe/router_topk",
            "created": "2026-01-02T03:04:05+00:00",
            "commit": "0123456789abcdef",
            "tool_sha256": "0" * 64,
            "files": {"moe/router_topk/kernel.yaml": "1" * 64},
            "card": "NVIDIA H100 80GB HBM3",
            "compute_capability": "9.0",
            "driver": "580.0",
            "architecture": "sm_90a",
            "nvrtc": "NVRTC 13.0",
            "host_compiler": "g++ 13",
            "seed": 0,
            "cases": 3,
            "variants": 2,
            "seconds": 1.5,
            "covered": {"tokens": "1..9 of 1..1024"},
            "builds": {"ordinary": build, "parity": build},
            "disagreements": [],
        }
        | changes
    )


@pytest.mark.parametrize("identity", KERNELS)
def test_the_committed_result_is_of_the_kernel_as_shipped(identity):
    path = result_path(RESULTS, identity)
    assert path.is_file(), f"no parity result of {identity}: run `specforge parity {identity}` on a card and commit it"
    (result,) = [found for found in read_results(RESULTS) if found.kernel == identity]
    assert result.files == kernel_files(find_kernel(identity, (shipped(),))), (
        f"{identity} or a header of it has changed since {path.name}: run `specforge parity {identity}` on a card again"
    )
    assert result.agreed
    assert result.cases >= 500


def test_the_committed_table_is_that_of_the_results():
    assert (ROOT / "docs" / "parity.md").read_text() == render_table(read_results(RESULTS))


@pytest.mark.parametrize("identity", KERNELS)
def test_every_file_of_a_kernel_counts(identity):
    files = kernel_files(find_kernel(identity, (shipped(),)))
    own = {f"{identity}/{name}" for name in ("kernel.yaml", "kernel.cu.j2", "reference.py")}
    assert own | {"include/specforge.cuh", "include/parity.cuh"} <= set(files)
    assert all(len(digest) == 64 for digest in files.values())


def test_a_comment_of_the_template_does_not_count(tmp_path):
    shutil.copytree(shipped() / "kernels", tmp_path / "kernels")
    template = tmp_path / "kernels" / "moe" / "router_topk" / "kernel.cu.j2"
    before = kernel_files(find_kernel("moe/router_topk", (tmp_path,)))
    template.write_text(f"// Measured.\n{template.read_text()}")
    assert kernel_files(find_kernel("moe/router_topk", (tmp_path,))) == before
    template.write_text(f"{template.read_text()}\nint more;\n")
    after = kernel_files(find_kernel("moe/router_topk", (tmp_path,)))
    assert {name for name in after if after[name] != before[name]} == {"moe/router_topk/kernel.cu.j2"}


def test_written_and_read_back(tmp_path):
    result = sample()
    path = write_result(result, tmp_path / "parity")
    assert path.name == "moe_router_topk.json"
    assert read_results(tmp_path / "parity") == [result]


def test_a_file_that_is_no_result(tmp_path):
    (tmp_path / "wrong.json").write_text('{"kernel": 1}')
    with pytest.raises(SpecForgeError, match="SF601") as caught:
        read_results(tmp_path)
    assert "wrong.json" in str(caught.value)


def test_agreement_needs_every_case_of_every_build():
    assert sample().agreed
    assert not sample(cases=4).agreed
    assert not sample(cases=0).agreed


def test_the_table_shows_every_output_and_every_disagreement():
    text = render_table([sample(disagreements=[{"build": "parity", "row": "{tokens: 1}", "failure": "out[0] is 1"}])])
    row = "| moe/router_topk | NVIDIA H100 80GB HBM3 | parity | 3 | 3 | out | 1,234 | 0 | 0 | 0.25, 0.5 |"
    assert row in text
    assert "**parity** `{tokens: 1}`: out[0] is 1" in text
    assert "tokens 1..9 of 1..1024" in text


@pytest.mark.parametrize(
    ("tree", "said"),
    [("clean", "0123456789ab, "), ("changed", "with changes"), ("supplied", "(as supplied)"), (None, "not recorded")],
)
def test_the_table_says_whether_the_files_were_the_commits(tree, said):
    assert said in render_table([sample(tree=tree)])


def test_the_table_alone_needs_no_card(tmp_path):
    write_result(sample(), tmp_path)
    done = CliRunner().invoke(
        main, ["parity", "--results", str(tmp_path), "--table", str(tmp_path / "docs" / "page.md")]
    )
    assert done.exit_code == 0, done.output
    assert "moe/router_topk" in (tmp_path / "docs" / "page.md").read_text()


def test_without_a_card_nothing_is_claimed(monkeypatch, tmp_path):
    from specforge.backend.probe import Probe

    monkeypatch.setattr("specforge.parity.run.probe", lambda: Probe((), "no NVIDIA driver on this machine"))
    done = CliRunner().invoke(main, ["parity", "moe/router_topk", "--results", str(tmp_path)])
    assert done.exit_code == 4
    assert "no card to compare with: no NVIDIA driver" in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "name a KERNEL"),
        (["--case", "{tokens: 1}", "a/b", "c/d"], "--case is a row of one KERNEL"),
        (["moe/router_topk", "--examples", "0"], "--examples"),
    ],
)
def test_bad_command_lines(arguments, told):
    done = CliRunner().invoke(main, ["parity", *arguments])
    assert done.exit_code == 2
    assert told in done.output


def test_a_card_that_is_not_modelled():
    with pytest.raises(SpecForgeError, match=r"7\.5 add is not known here"):
        builds("7.5")
    assert builds("12.0")[1].emulator == ("-DSPECFORGE_PARITY=120",)

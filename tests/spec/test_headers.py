from __future__ import annotations

import pytest

from specforge.spec.headers import local_headers


@pytest.fixture
def folders(tmp_path):
    for name in ("kernel", "include"):
        (tmp_path / name).mkdir()
    (tmp_path / "include" / "a.cuh").write_text('#pragma once\n#include "sub/b.cuh"\n#include <cuda_bf16.h>\n')
    (tmp_path / "include" / "sub").mkdir()
    (tmp_path / "include" / "sub" / "b.cuh").write_text('#  include "c.cuh"\n#include "../a.cuh"\n')
    (tmp_path / "include" / "sub" / "c.cuh").write_text("// nothing\n")
    (tmp_path / "include" / "other.cuh").write_text("")
    return [tmp_path / "kernel", tmp_path / "include"]


def test_transitive_headers_and_nothing_else(folders):
    found = local_headers('#include "a.cuh"\n', folders)
    assert {key.rsplit("/", 1)[-1].split(":")[-1] for key in found} >= {"a.cuh", "b.cuh", "c.cuh"}
    assert not any("other" in key or "bf16" in key for key in found)


@pytest.mark.parametrize("name", ["a.cuh", "sub/b.cuh", "sub/c.cuh"])
def test_a_change_anywhere_changes_the_digests(folders, name):
    before = local_headers('#include "a.cuh"\n', folders)
    path = folders[1] / name
    path.write_text(path.read_text() + "int more;\n")
    assert local_headers('#include "a.cuh"\n', folders) != before


def test_a_change_elsewhere_does_not(folders):
    before = local_headers("#include <a.cuh>\n", folders)
    (folders[1] / "other.cuh").write_text("int more;\n")
    assert local_headers("#include <a.cuh>\n", folders) == before
    assert before


def test_a_header_that_comes_to_stand_before_another_changes_the_digests(folders):
    before = local_headers('#include "a.cuh"\n', folders)
    (folders[0] / "a.cuh").write_text("")
    assert local_headers('#include "a.cuh"\n', folders) != before


def test_an_include_by_macro_counts_every_header(folders):
    before = local_headers("#define H <other.cuh>\n#include H\n", folders)
    assert len(before) >= 4
    (folders[1] / "other.cuh").write_text("int more;\n")
    assert local_headers("#define H <other.cuh>\n#include H\n", folders) != before


def test_labels_do_not_depend_on_the_place(folders, tmp_path):
    found = local_headers('#include "a.cuh"\n', folders)
    assert not any(str(tmp_path) in key for key in found)


def test_a_text_without_includes_reads_nothing(folders):
    assert local_headers("int a; // #include is a word\n", folders) == {}

from __future__ import annotations

import concurrent.futures
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from cuda.bindings import nvrtc

from specforge.backend.emulator.compile import (
    HostCompileError,
    HostCompiler,
    HostCompilerMissing,
    compile_host,
    find_host_compiler,
)
from specforge.backend.emulator.module import EmulatedModule

INCLUDE = Path(__file__).parents[3] / "kernels" / "include"
SCALE = r"""
#include "specforge.cuh"
#line 41 "scale.cu.j2"
extern "C" __global__ void scale(float* x) { x[threadIdx.x] *= 2.0f; }
"""


@pytest.fixture
def compile_(compiler, cuda_include_dirs, cache_dir):
    def compile_(source, entries=("scale",), *, include_dirs=(INCLUDE,), cache=cache_dir):
        return compile_host(
            source,
            entries,
            include_dirs=include_dirs,
            cuda_include_dirs=cuda_include_dirs,
            cache_dir=cache,
            compiler=compiler,
        )

    return compile_


def test_the_same_content_is_compiled_once(compile_):
    first = compile_(SCALE)
    written = first.stat().st_mtime_ns
    assert compile_(SCALE) == first
    assert first.stat().st_mtime_ns == written
    assert compile_(SCALE + "// different\n") != first


def test_the_key_covers_headers_at_any_depth_entries_and_compiler(compile_, tmp_path, compiler, cuda_include_dirs):
    (tmp_path / "outer.cuh").write_text('#  include "inner.cuh"\n')
    inner = tmp_path / "inner.cuh"
    source = '#include "outer.cuh"\n' + SCALE
    keys = set()
    for text in ("// one", "// two", "#include <cuda_fp8.h>\n"):
        inner.write_text(text)
        keys.add(compile_(source, include_dirs=[tmp_path, INCLUDE]))
    keys.add(compile_(source, (), include_dirs=[tmp_path, INCLUDE]))
    renamed = HostCompiler(path=compiler.path, version=compiler.version + " patched", kind=compiler.kind)
    other = tmp_path / "cache"
    folders = [tmp_path, INCLUDE]
    with_other_version = compile_host(
        source, (), include_dirs=folders, cuda_include_dirs=cuda_include_dirs, cache_dir=other, compiler=renamed
    )
    assert len({path.name for path in [*keys, with_other_version]}) == 5


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x[0] = undeclared;", "undeclared"),
        ("x[0] = __cosf_or_not(1.0f);", "__cosf_or_not"),
        ("x[0] = __fadd_rz(x[0], 1.0f);", "__fadd_rz"),
        ("__pipeline_commit();", "__pipeline_commit"),
        ('asm volatile("bar.sync 0;");', "bar.sync"),
    ],
)
def test_an_error_names_the_line_of_the_template(compile_, body, message):
    with pytest.raises(HostCompileError) as error:
        compile_(SCALE + 'extern "C" __global__ void wrong(float* x) {\n' + body + "\n}\n", ("scale", "wrong"))
    assert message in error.value.log
    if "asm" not in body:
        assert "scale.cu.j2:43" in error.value.log


@pytest.mark.parametrize("declaration", ["__managed__ float m;", "__cluster_dims__(2, 1, 1) __global__ void f() {}"])
def test_what_is_not_emulated_does_not_compile(compile_, declaration):
    with pytest.raises(HostCompileError, match=r"scale\.cu\.j2:42"):
        compile_(SCALE + declaration + "\n")


def test_shared_memory_of_the_launch_only_comes_through_the_macro(compile_):
    with pytest.raises(HostCompileError, match="raw"):
        compile_(SCALE + "__device__ float first() { extern __shared__ float raw[]; return raw[0]; }")


def test_an_entry_that_does_not_exist_is_an_error(compile_):
    with pytest.raises(HostCompileError, match="absent"):
        compile_(SCALE, ["scale", "absent"])


def test_an_error_leaves_nothing_in_the_cache(compile_, cache_dir, tmp_path):
    compile_(SCALE)
    for prefix in cache_dir.glob("prefix-*"):  # a cache of its own, as other processes work in the shared one
        (tmp_path / prefix.name).symlink_to(prefix)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(HostCompileError):
        compile_(SCALE + "oops\n", cache=tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def _compile_and_run(job: tuple[int, HostCompiler, list[Path], Path]) -> tuple[str, float]:
    number, compiler, cuda, cache = job
    source = SCALE.replace("2.0f", f"{number % 2 + 2}.0f")
    library = compile_host(
        source, ["scale"], include_dirs=[INCLUDE], cuda_include_dirs=cuda, cache_dir=cache, compiler=compiler
    )
    x = np.ones(1, np.float32)
    EmulatedModule(library).launch("scale", (1, 1, 1), (1, 1, 1), 0, [int(x.ctypes.data)])
    return library.name, float(x[0])


def test_processes_that_build_at_once_share_one_cache(compiler, cuda_include_dirs, tmp_path):
    jobs = [(number, compiler, cuda_include_dirs, tmp_path) for number in range(6)]
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=_spawn()) as pool:
        results = list(pool.map(_compile_and_run, jobs))
    assert [value for _, value in results] == [2.0, 3.0] * 3
    names = {name for name, _ in results}
    assert len(names) == 2
    left = {entry.name for entry in tmp_path.iterdir() if not entry.name.startswith("prefix-")}
    assert left == names


def _spawn():
    import multiprocessing

    return multiprocessing.get_context("spawn")


def test_a_missing_compiler_says_how_to_install_one(tmp_path, monkeypatch):
    with pytest.raises(HostCompilerMissing, match=r"`no-such-compiler` is not on the PATH.*apt install g\+\+"):
        find_host_compiler("no-such-compiler")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostCompilerMissing, match=r"none of g\+\+, clang\+\+, c\+\+"):
        find_host_compiler()
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(HostCompilerMissing, match="-dumpmachine` failed"):
        find_host_compiler()


def test_the_compiler_is_found_and_described(compiler):
    assert os.access(compiler.path, os.X_OK)
    assert compiler.kind in compiler.path or compiler.kind == "gcc"
    assert any(character.isdigit() for character in compiler.version)


def test_cuda_headers_that_are_absent_are_named(compiler, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cuda_bf16\.h .*nvidia-cuda-runtime"):
        compile_host(
            SCALE, [], include_dirs=[INCLUDE], cuda_include_dirs=[tmp_path], cache_dir=tmp_path, compiler=compiler
        )


def test_the_header_compiles_for_a_card_too(cuda_include_dirs):
    source = r"""
    #include "specforge.cuh"
    extern "C" __global__ void f(float* x) {
      DYNAMIC_SHARED(float2, pairs);
      pairs[threadIdx.x] = make_float2(x[threadIdx.x], threadIdx.x ? -INFINITY : NAN);
      __syncthreads();
      x[threadIdx.x] = pairs[0].x + __bfloat162float(__float2bfloat16(1.0f)) + __half2float(__float2half(1.0f));
    }
    """
    error, program = nvrtc.nvrtcCreateProgram(source.encode(), b"f.cu", 0, [], [])
    assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS
    options = [f"-I{folder}".encode() for folder in (INCLUDE, *cuda_include_dirs)] + [b"-arch=sm_120", b"-std=c++17"]
    (error,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    log = bytearray(nvrtc.nvrtcGetProgramLogSize(program)[1])  # no bytes: NVRTC writes into it
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(program)
    assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS, log.decode()


def test_a_damaged_precompiled_header_costs_time_only(compile_, tmp_path):
    compile_(SCALE, cache=tmp_path)
    (prefix,) = tmp_path.glob("prefix-*")
    (compiled,) = (path for path in prefix.iterdir() if path.suffix in (".gch", ".pch"))
    compiled.write_bytes(b"not a precompiled header")
    assert compile_(SCALE + "// again\n", cache=tmp_path).is_file()

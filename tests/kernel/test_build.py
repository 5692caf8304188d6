from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import specforge
from specforge.diagnostics import SpecForgeError
from specforge.kernel.build import Job, build_all, build_cubin
from specforge.kernel.cache import Cache
from specforge.kernel.nvrtc import cheap_identity, compile_source, load_toolchain
from specforge.kernel.render import render
from specforge.roots import shipped
from specforge.spec.interface import find_kernel, list_kernels

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(specforge.__file__).parents[1])}
BINDINGS = {"factor": 2, "dtype": "f32", "threads": 32}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def build(kernel, cache, arch="sm_90", **bindings):
    return build_cubin(render(kernel, {**BINDINGS, **bindings}), kernel, arch, cache)


def diagnose(kernel, cache, arch="sm_90"):
    with pytest.raises(SpecForgeError) as caught:
        build(kernel, cache, arch)
    return caught.value.diagnostics


def test_a_binary_says_what_it_is(make_kernel, cache):
    kernel = make_kernel()
    binary = build(kernel, cache)
    assert binary.cubin.read_bytes()[:4] == b"\x7fELF"
    assert binary.source.read_text() == render(kernel, BINDINGS).text
    assert (binary.arch, binary.cached) == ("sm_90", False)
    assert binary.compiler == "NVRTC {}.{}".format(*load_toolchain().version)
    assert set(binary.resources) == {"multiply", "narrow"}
    taken = binary.resources["multiply"]
    assert 4 < taken.registers < 64
    assert (taken.spill_bytes, taken.stack_bytes, taken.static_shared_bytes, taken.max_threads) == (0, 0, 0, 32)
    assert 0 < binary.cubin_bytes < binary.cubin.stat().st_size


@pytest.mark.parametrize("arch", ["sm_89", "sm_90a", "sm_110", "sm_110a", "sm_120", "sm_120f", "sm_121", "sm_121f"])
def test_every_named_architecture_compiles(make_kernel, cache, arch):
    assert build(make_kernel(), cache, arch).arch == arch


def test_an_architecture_that_the_compiler_lacks_is_said(make_kernel, cache):
    (found,) = diagnose(make_kernel(), cache, "sm_77")
    assert found.code == "SF701"
    assert "sm_90" in found.hint


def test_the_second_build_is_cached_and_equal(make_kernel, cache):
    kernel = make_kernel()
    first, second = build(kernel, cache), build(kernel, cache)
    assert second.cached
    assert [getattr(first, name) == getattr(second, name) for name in first.__slots__] == [
        name != "cached" for name in first.__slots__
    ]


def test_whatever_the_result_depends_on_makes_another_entry(make_kernel, cache, texts, tmp_path):
    template = '#include "extra.cuh"\n' + texts["template"]
    kernel = make_kernel(template=template, files={"extra.cuh": "#define EXTRA 1\n"})
    keys = [
        build(kernel, cache).cubin.parent,
        build(kernel, cache, "sm_89").cubin.parent,
        build(kernel, cache, threads=64).cubin.parent,
    ]
    (kernel.folder / "extra.cuh").write_text("#define EXTRA 2\n")
    keys.append(build(kernel, cache).cubin.parent)
    assert len(set(keys)) == 4


def test_the_same_kernel_elsewhere_is_the_same_entry(make_kernel, cache, tmp_path):
    first, second = (build(make_kernel(root=tmp_path / name), cache) for name in ("here", "there"))
    assert second.cached
    assert first.cubin == second.cubin


@pytest.mark.parametrize("name", ["kernel.cubin", "source.cu", "log.txt", "meta.json"])
def test_a_damaged_entry_is_rebuilt(make_kernel, cache, name):
    kernel = make_kernel()
    first = build(kernel, cache)
    path = first.cubin.parent / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    again = build(kernel, cache)
    assert not again.cached
    assert path.read_bytes() == whole
    assert again.cubin_sha256 == first.cubin_sha256


def test_errors_point_into_the_template(make_kernel, cache, texts):
    template = (
        texts["template"]
        .replace("y[i] = T(partial[i]);", "y[i] = T(partial[j]);")
        .replace("int i = blockIdx", "int i = oops + blockIdx", 1)
    )
    kernel = make_kernel(template=template)
    first, second = diagnose(kernel, cache)
    assert {first.code, second.code} == {"SF506"}
    for found, line, word in ((first, 14, "oops"), (second, 20, "j]")):
        assert (found.position.file, found.position.line) == (kernel.template, line)
        assert template.split("\n")[line - 1][found.position.column - 1 :].startswith(word)
        assert "undefined" in found.message
    assert not cache.folder.exists()


def test_an_error_behind_a_template_expression_keeps_its_word(make_kernel, cache, texts):
    template = texts["template"].replace("int i = blockIdx", "int i = {{ factor * 1000 }} + oops + blockIdx", 1)
    (found,) = diagnose(make_kernel(template=template), cache)
    assert template.split("\n")[found.position.line - 1][found.position.column - 1 :].startswith("oops")


def test_errors_in_headers_and_included_templates_point_there(make_kernel, cache, texts):
    template = '#include "extra.cuh"\n{% include "part.j2" %}\n' + texts["template"]
    files = {
        "extra.cuh": "\n\n__device__ int a = nothing;\n",
        "part.j2": "// {{ factor }}\n  __device__ int b = never;\n",
    }
    header, part = diagnose(make_kernel(template=template, files=files), cache)
    assert (header.position.file.name, header.position.line, header.position.column) == ("extra.cuh", 3, 20)
    assert (part.position.file.name, part.position.line, part.position.column) == ("part.j2", 2, 22)


def test_a_missing_header_is_an_error_at_its_line(make_kernel, cache, texts):
    (found,) = diagnose(make_kernel(template=texts["template"] + '#include "absent.cuh"\n'), cache)
    assert found.code == "SF506"
    assert "absent.cuh" in found.message
    assert found.position.line == texts["template"].count("\n") + 1


def test_the_working_folder_is_no_include_folder(make_kernel, cache, texts, tmp_path, monkeypatch):
    (tmp_path / "stray.cuh").write_text("")
    monkeypatch.chdir(tmp_path)
    (found,) = diagnose(make_kernel(template=texts["template"] + '#include "stray.cuh"\n'), cache)
    assert "stray.cuh" in found.message


def test_headers_include_their_neighbours(make_kernel, cache, texts):
    files = {"sub/a.cuh": '#include "b.cuh"\n', "sub/b.cuh": "#define B 1\n"}
    template = texts["template"] + '#include "sub/a.cuh"\n#if B != 1\n#error no\n#endif\n'
    assert build(make_kernel(template=template, files=files), cache).cubin.is_file()


def test_what_ptxas_refuses_points_at_the_entry(make_kernel, cache, texts):
    template = texts["template"].replace(
        "int i = blockIdx",
        "__shared__ float big[20000]; big[threadIdx.x] = 1; __syncthreads(); partial[0] = big[3];\n  int i = blockIdx",
        1,
    )
    kernel = make_kernel(template=template)
    (found,) = diagnose(kernel, cache)
    assert (found.code, found.position.file, found.position.line) == ("SF506", kernel.template, 12)
    assert "shared data" in found.message


def test_a_flood_of_errors_is_cut(make_kernel, cache, texts):
    template = texts["template"] + "".join(f"int a{number} = b{number};\n" for number in range(60))
    assert len(diagnose(make_kernel(template=template), cache)) == 20


def test_warnings_stay_in_the_log(make_kernel, cache, texts):
    binary = build(make_kernel(template=texts["template"].replace("int i = ", "int unused; int i = ", 1)), cache)
    assert 'kernel.cu.j2(14): warning #177-D: variable "unused"' in binary.log.read_text()


def jobs_of(kernel, *names):
    return [
        Job(render(kernel, {**BINDINGS, "dtype": dtype, "threads": threads}), kernel, "sm_90")
        for dtype, threads in names
    ]


def test_many_keep_their_order_and_their_errors(make_kernel, cache, texts):
    kernel = make_kernel(template=texts["template"] + "{% if threads == 64 %}\nbroken\n{% endif %}\n")
    jobs = jobs_of(kernel, ("f32", 32), ("f16", 64), ("bf16", 128), ("f32", 32))
    seen = []
    results = build_all(jobs, cache, threads=2, progress=lambda done, total: seen.append((done, total)))
    assert [isinstance(result, SpecForgeError) for result in results] == [False, True, False, False]
    assert [results[index].source_sha256 for index in (0, 2, 3)] == [jobs[index].rendered.sha256 for index in (0, 2, 3)]
    assert results[0] is results[3]
    assert sorted(seen) == seen
    assert seen[-1] == (4, 4)
    assert len(seen) == 3
    assert build_all([], cache) == []


def test_builders_of_the_same_thing_agree(make_kernel, cache):
    kernel = make_kernel()
    (job,) = jobs_of(kernel, ("f32", 32))
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(build_cubin(job.rendered, kernel, "sm_90", cache)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({result.cubin for result in results}) == 1
    assert len(results) == 4
    assert len(os.listdir(cache.folder)) == 1


def test_a_fault_of_our_own_is_raised_and_not_kept_as_a_result(make_kernel, cache):
    kernel = make_kernel()
    jobs = jobs_of(kernel, ("f32", 32), ("f32", 64))

    def explode(done, total):
        raise RuntimeError("progress")

    with pytest.raises(RuntimeError, match="progress"):
        build_all(jobs, cache, threads=1, progress=explode)


def test_an_interrupt_leaves_whole_entries_only(make_kernel, tmp_path):
    kernel = make_kernel()
    code = f"""
        from pathlib import Path
        from specforge.kernel.build import Job, build_all
        from specforge.kernel.cache import Cache
        from specforge.kernel.render import render
        from specforge.spec.interface import find_kernel
        kernel = find_kernel("math/scale", (Path({str(kernel.folder.parents[2])!r}),))
        jobs = [Job(render(kernel, dict(factor=f, dtype=d, threads=t)), kernel, arch)
                for f in (2, 3) for d in ("f32", "f16", "bf16") for t in (32, 64, 128)
                for arch in ("sm_90", "sm_89", "sm_120")]
        try:
            build_all(jobs, Cache(Path("cache")), threads=2, progress=lambda done, total: print(done, flush=True))
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0].split()
    assert rest[-1] == "interrupted"
    assert len(rest) < 54
    cache = Cache(tmp_path / "cache")
    names = os.listdir(cache.folder)
    assert names
    assert all(cache.find(name) is not None for name in names)


@pytest.mark.skipif(
    cheap_identity() is None, reason="the compiler comes from an installed toolkit, which has to be asked"
)
def test_a_warm_hit_is_quick_and_loads_no_cuda(make_kernel, tmp_path):
    kernel = make_kernel()
    build(kernel, Cache(tmp_path / "cache"))
    code = f"""
        import sys, time
        from pathlib import Path
        from specforge.kernel.build import build_cubin
        from specforge.kernel.cache import Cache
        from specforge.kernel.render import render
        from specforge.spec.interface import find_kernel
        kernel = find_kernel("math/scale", (Path({str(kernel.folder.parents[2])!r}), Path({str(shipped())!r})))
        rendered = render(kernel, {BINDINGS!r})
        times = []
        for _ in range(20):
            start = time.perf_counter()
            assert build_cubin(rendered, kernel, "sm_90", Cache(Path("cache"))).cached
            times.append(time.perf_counter() - start)
        print(sorted(times)[10], any(name.split(".")[0] == "cuda" for name in sys.modules))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, loaded = done.stdout.split()
    assert float(seconds) < 0.005
    assert loaded == "False"


@pytest.mark.parametrize("missing", ["cuda.bindings", "nvidia"])
def test_a_missing_compiler_has_a_way_out(tmp_path, missing):
    code = f"""
        import sys
        from pathlib import Path
        from specforge.diagnostics import SpecForgeError
        from specforge.kernel import nvrtc
        missing = {missing!r}
        if missing == "nvidia":
            from cuda import pathfinder
            def nowhere(name):
                return None
            pathfinder.find_nvidia_header_directory = nowhere
            nvrtc._toolkit_includes = lambda: []
        else:
            sys.modules[missing] = None
        try:
            nvrtc.load_toolchain()
        except SpecForgeError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "SF701" in done.stdout
    assert "pip install" in done.stdout


@pytest.mark.parametrize("identity", list_kernels((shipped(),)))
def test_shipped_kernels_compile_without_spills(identity, cache):
    kernel = find_kernel(identity, (shipped(),))
    chosen = {
        name: (kernel.file.parameters.get(name) or kernel.file.tunables[name]).domain.listed[-1]
        for name in kernel.compile_names()
    }
    start = time.monotonic()
    binary = build_cubin(render(kernel, chosen), kernel, "sm_120", cache)
    assert time.monotonic() - start < 30
    assert {launch.entry for launch in kernel.file.launches} <= set(binary.resources)
    assert all(taken.registers > 0 for taken in binary.resources.values())


def test_a_log_without_an_entrys_registers_is_an_error(make_kernel, cache, monkeypatch):
    """What NVRTC takes from a cache of its own has none."""
    assert "--no-cache" in build(make_kernel(), cache).flags
    monkeypatch.setattr(
        "specforge.kernel.build.compile_source",
        lambda *given, **named: replace(compile_source(*given, **named), log=""),
    )
    (found,) = diagnose(make_kernel(), cache, "sm_89")
    assert found.code == "SF701"
    assert "reports no registers of multiply, narrow for sm_89" in found.message

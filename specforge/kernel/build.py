"""Rendered source -> cubin with its resources, through the cache; many at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from specforge.diagnostics import Position, SpecForgeError, fail, shorten
from specforge.kernel.cache import Cache, Entry, key_of
from specforge.kernel.nvrtc import FLAGS, cheap_identity, compile_source, compiler_name, load_toolchain
from specforge.kernel.render import Rendered
from specforge.kernel.resources import EntryResources, parse_resources
from specforge.spec.headers import local_headers
from specforge.spec.interface import Kernel

_CUBIN, _SOURCE, _LOG = "kernel.cubin", "source.cu", "log.txt"


@dataclass(frozen=True, slots=True)
class Binary:
    """A compiled kernel. `cubin_bytes` is its size without debug sections; `log` holds the compiler's warnings."""

    cubin: Path
    cubin_sha256: str
    source: Path
    source_sha256: str
    log: Path
    arch: str
    flags: tuple[str, ...]
    compiler: str
    resources: dict[str, EntryResources]
    cubin_bytes: int
    cached: bool


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to build."""

    rendered: Rendered
    kernel: Kernel
    arch: str
    flags: tuple[str, ...] = ()
    """Flags of the compiler beside the usual ones."""


def build_cubin(rendered: Rendered, kernel: Kernel, arch: str, cache: Cache, extra: tuple[str, ...] = ()) -> Binary:
    """Compile for one architecture or take the result of an earlier compilation of exactly this; `extra` flags come
    after the usual ones.

    Raises SF506 for every compile error, at the template's line, and SF701 where the compiler is missing. An earlier
    result is found without loading CUDA's libraries when the compiler comes from a wheel.
    """
    parts = {
        "format": 1,
        "source": rendered.sha256,
        "headers": local_headers(rendered.text, _folders(kernel)),
        "flags": _flags(arch, extra),
    }
    wheel = cheap_identity()
    if wheel and (found := cache.find(_key(parts, wheel))):
        return _binary(found, cached=True)
    job, toolchain = Job(rendered, kernel, arch, extra), load_toolchain()
    if wheel and toolchain.is_wheel(wheel):
        return _binary(_compile(job, cache, _key(parts, wheel)), cached=False)
    key = _key(parts, toolchain.identity)
    if found := cache.find(key):
        return _binary(found, cached=True)
    return _binary(_compile(job, cache, key), cached=False)


def _key(parts: dict[str, object], compiler: str) -> str:
    return key_of({**parts, "compiler": compiler})


def _folders(kernel: Kernel) -> tuple[Path, ...]:
    return (kernel.folder, *kernel.include_dirs)


def _flags(arch: str, extra: tuple[str, ...]) -> tuple[str, ...]:
    return (f"--gpu-architecture={arch}", *FLAGS, *extra)


def _compile(job: Job, cache: Cache, key: str) -> Entry:
    from specforge.kernel.cubin import launch_bounds, loadable_bytes
    from specforge.kernel.messages import compile_errors

    rendered, arch = job.rendered, job.arch
    result = compile_source(rendered.text, rendered.template, arch, _folders(job.kernel), job.flags)
    if result.cubin is None:
        raise SpecForgeError(*compile_errors(result.log, rendered, arch))
    resources = parse_resources(result.log, launch_bounds(result.cubin))
    lacking = sorted({launch.entry for launch in job.kernel.file.launches} - resources.keys())
    if lacking:
        said = f"{compiler_name()} reports no registers of {', '.join(lacking)} for {arch}"
        raise fail("SF701", said, Position(rendered.template), hint=f"its log: {shorten(result.log, 300)}")
    facts = {
        "arch": arch,
        "flags": _flags(arch, job.flags),
        "compiler": compiler_name(),
        "source_sha256": rendered.sha256,
        "cubin_bytes": loadable_bytes(result.cubin),
        "resources": {entry: asdict(taken) for entry, taken in resources.items()},
    }
    files = {_CUBIN: result.cubin, _SOURCE: rendered.text.encode(), _LOG: result.log.encode()}
    return cache.publish(key, files, facts)


def _binary(entry: Entry, *, cached: bool) -> Binary:
    facts = entry.facts
    return Binary(
        cubin=entry.folder / _CUBIN,
        cubin_sha256=entry.digests[_CUBIN],
        source=entry.folder / _SOURCE,
        source_sha256=facts["source_sha256"],
        log=entry.folder / _LOG,
        arch=facts["arch"],
        flags=tuple(facts["flags"]),
        compiler=facts["compiler"],
        resources={name: EntryResources(**taken) for name, taken in facts["resources"].items()},
        cubin_bytes=facts["cubin_bytes"],
        cached=cached,
    )


def build_all(
    jobs: Sequence[Job], cache: Cache, *, threads: int | None = None, progress: Callable[[int, int], None] | None = None
) -> list[Binary | SpecForgeError]:
    """Build every job on `threads` threads; results keep the jobs' order, a job's errors stand in its place.

    Equal jobs are built once. `progress(done, total)` is called in this thread. Ctrl-C drops what has not started,
    waits for the compilations that run, and is raised again; the cache holds whole entries only.
    """
    owners: dict[tuple[object, ...], int] = {}
    places = [
        owners.setdefault((job.rendered.sha256, job.arch, job.flags, job.kernel.folder, job.kernel.include_dirs), index)
        for index, job in enumerate(jobs)
    ]
    results: dict[int, Binary | SpecForgeError] = {}
    with ThreadPoolExecutor(max_workers=threads or len(os.sched_getaffinity(0)), thread_name_prefix="build") as pool:
        futures = {
            pool.submit(build_cubin, job.rendered, job.kernel, job.arch, cache, job.flags): index
            for index in dict.fromkeys(places)
            for job in [jobs[index]]
        }
        try:
            for future in as_completed(futures):
                results[futures[future]] = _outcome(future)
                if progress:
                    progress(sum(place in results for place in places), len(jobs))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [results[place] for place in places]


def _outcome(future: Future[Binary]) -> Binary | SpecForgeError:
    try:
        return future.result()
    except SpecForgeError as error:
        return error

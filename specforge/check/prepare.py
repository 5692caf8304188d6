"""Render every variant, check it against its interface, and build it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from specforge.check.variants import Variant
from specforge.diagnostics import Diagnostic, SpecForgeError
from specforge.kernel.agreement import check_agreement
from specforge.kernel.build import Binary, Job, build_all
from specforge.kernel.cache import Cache
from specforge.kernel.render import Rendered, render
from specforge.settings import Settings
from specforge.spec.geometry import Plan

if TYPE_CHECKING:
    from specforge.backend.emulator.compiler import HostCompiler
    from specforge.backend.emulator.sanitize import Sanitize

Progress = Callable[[int, int | None], None]


def render_all(plans: Mapping[Variant, Plan]) -> dict[Variant, Rendered]:
    """Render each variant and check template, signature, launches and reference against each other."""
    rendered: dict[Variant, Rendered] = {}
    found: list[Diagnostic] = []
    for variant, plan in plans.items():
        try:
            rendered[variant] = render(variant.kernel, dict(variant.bindings))
            found += check_agreement(variant.kernel, rendered[variant], plan)
        except SpecForgeError as error:
            found += error.diagnostics
    if found:
        raise SpecForgeError(*dict.fromkeys(found))
    return rendered


def build_variants(
    rendered: Mapping[Variant, Rendered],
    architecture: str,
    settings: Settings,
    progress: Progress,
    *,
    flags: tuple[str, ...] = (),
) -> dict[Variant, Binary]:
    """Compile each variant for a card, with `flags` beside NVRTC's usual ones; compile errors are raised together."""
    jobs = [Job(text, variant.kernel, architecture, flags) for variant, text in rendered.items()]
    results = build_all(jobs, Cache(settings.state / "cache" / "cubin"), threads=settings.jobs, progress=progress)
    found = [
        diagnostic for result in results if isinstance(result, SpecForgeError) for diagnostic in result.diagnostics
    ]
    if found:
        raise SpecForgeError(*dict.fromkeys(found))
    return {
        variant: result
        for variant, result in zip(rendered, results, strict=True)
        if not isinstance(result, SpecForgeError)
    }


def build_hosts(
    rendered: Mapping[Variant, Rendered],
    settings: Settings,
    progress: Progress,
    *,
    options: tuple[str, ...] = (),
    sanitize: Sanitize = "off",
) -> dict[Variant, Path]:
    """Compile each variant for the emulator, on `settings.jobs` threads, to find what `sanitize` names.

    `options` go to the host compiler.
    """
    from concurrent.futures import ThreadPoolExecutor

    compiler = _host_compiler(settings)
    with ThreadPoolExecutor(settings.jobs) as pool:
        futures = [
            pool.submit(_build_host, variant, text, compiler, settings, options=options, sanitize=sanitize)
            for variant, text in rendered.items()
        ]
        try:
            libraries = []
            for number, future in enumerate(futures, start=1):
                libraries.append(future.result())
                progress(number, len(futures))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return dict(zip(rendered, libraries, strict=True))


def _host_compiler(settings: Settings) -> HostCompiler:
    from specforge.backend.emulator.compiler import HostCompilerMissing, find_host_compiler

    try:
        return find_host_compiler(settings.cxx)
    except HostCompilerMissing as error:
        raise SpecForgeError(Diagnostic("SF701", f"the CPU emulator needs a host C++ compiler: {error}")) from None


def _build_host(
    variant: Variant,
    rendered: Rendered,
    compiler: HostCompiler,
    settings: Settings,
    *,
    options: tuple[str, ...],
    sanitize: Sanitize,
) -> Path:
    from specforge.backend.emulator.compile import HostCompileError, HostCompilerMissing, compile_host
    from specforge.kernel.nvrtc import load_toolchain

    kernel = variant.kernel
    try:
        return compile_host(
            rendered.text,
            [launch.entry for launch in kernel.file.launches],
            include_dirs=(kernel.folder, *kernel.include_dirs),
            cuda_include_dirs=load_toolchain().include_dirs,
            cache_dir=settings.state / "cache" / "host",
            compiler=compiler,
            options=options,
            sanitize=sanitize,
        )
    except HostCompilerMissing as error:
        raise SpecForgeError(Diagnostic("SF701", f"the CPU emulator cannot sanitize: {error}")) from None
    except HostCompileError as error:
        hint = "if NVRTC accepts it, it uses something that the emulator does not offer (README, last section)"
        raise SpecForgeError(
            Diagnostic(
                "SF506", f"{kernel.identity} does not compile for the emulator:\n{error.log.strip()[:4000]}", hint=hint
            )
        ) from None


def distinct(variants: Iterable[Variant]) -> list[Variant]:
    """Each variant once, in order."""
    return list(dict.fromkeys(variants))

"""What a run of `specforge check` was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from specforge.diagnostics import fail, suggest
from specforge.spec.load import Benchmark, Spec
from specforge.spec.metrics import STAGES, Stage

DEFAULT_EXAMPLES = 200
DEFAULT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of `check`, parsed. `arguments` is what was typed, for the record."""

    until: Stage = "judge"
    only: str | None = None
    backend: str = "auto"
    """`auto`, `emulator`, or `cuda:N`."""
    case: str | None = None
    """One example to run instead of fuzzing, as a YAML row."""
    seed: int = 0
    examples: int = DEFAULT_EXAMPLES
    seconds: float = DEFAULT_SECONDS
    """Wall budget of verifying one kernel."""
    record: Path | None = None
    publish: bool = False
    arguments: tuple[str, ...] = ()

    def reaches(self, stage: Stage) -> bool:
        """Whether this run goes as far as `stage`."""
        return STAGES.index(stage) <= STAGES.index(self.until)


def check_case(options: Options) -> None:
    """Refuse `--case` where the run ends before anything is executed."""
    if options.case is not None and not options.reaches("verify"):
        raise fail(
            "SF801", "--case runs an example, and this run ends before `verify`", value=f"--until {options.until}"
        )


def select(spec: Spec, only: str | None) -> tuple[Benchmark, ...]:
    """Benchmarks whose own name, kernel's name or kernel's identity matches the glob; empty where none does."""
    if only is None:
        return spec.benchmarks
    return tuple(
        benchmark for benchmark in spec.benchmarks if any(fnmatchcase(name, only) for name in _names(benchmark))
    )


def check_only(specs: tuple[Spec, ...], only: str | None) -> str | None:
    """A hint naming what `--only` could have meant, where it matches nothing in any spec."""
    if only is None or any(select(spec, only) for spec in specs):
        return None
    return suggest(only, {name for spec in specs for benchmark in spec.benchmarks for name in _names(benchmark)})


def _names(benchmark: Benchmark) -> list[str]:
    if benchmark.kernel is None:
        return [benchmark.name]
    return [benchmark.name, benchmark.kernel.identity, benchmark.kernel.folder.name]


def parse_backend(text: str) -> str:
    """Check the `--backend` argument; raises SF801."""
    if text in ("auto", "emulator") or (text.startswith("cuda:") and text[5:].isdecimal()):
        return text
    raise fail(
        "SF801", "--backend is auto, emulator or cuda:N", value=text, hint=suggest(text, ["auto", "emulator", "cuda:0"])
    )

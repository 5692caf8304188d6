"""What a run of `specforge check` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from specforge.backend.emulator.sanitize import Sanitize
from specforge.check.profile import PROFILES, Profile
from specforge.diagnostics import fail, suggest
from specforge.measure.compare import TOLERANCE
from specforge.spec.interface import Kernel
from specforge.spec.kernel import ProfileFigures, ProfileName
from specforge.spec.load import Benchmark, Spec
from specforge.spec.metrics import STAGES, Stage


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of `check`, parsed. `arguments` is what was typed, for the record."""

    until: Stage = "judge"
    only: str | None = None
    backend: str = "auto"
    """`auto`, `emulator`, or `cuda:N`."""
    sanitize: Sanitize = "shadow"
    """Which faults the emulator looks for."""
    case: str | None = None
    """One example to run instead of fuzzing, as a YAML row."""
    seed: int = 0
    profile: ProfileName = "ci"
    examples: int | None = None
    """Fuzzing examples of each kernel, where not those of the profile."""
    seconds: float | None = None
    """Wall budget of verifying one kernel, where not that of the profile."""
    held_out_seed: str | None = field(default=None, repr=False)
    """Secret that further examples are drawn with."""
    record: Path | None = None
    publish: bool = False
    peers: bool = False
    """Measure every peer of a kernel, not only those that targets name."""
    wait: float = 60.0
    """Seconds to wait for a card that others use."""
    against: Path | None = None
    """An earlier record to compare times with."""
    tolerance: float = TOLERANCE
    """The change of a time, as a share, that matters in that comparison."""
    lock_clocks: str | None = None
    """The SM clock to lock, megahertz or `base`; None: clocks as found."""
    processes: int | None = None
    """Fresh processes that measure each case, where not those of the spec's timing."""
    resume: bool = False
    """Go on with the run that was killed."""
    arguments: tuple[str, ...] = ()

    def reaches(self, stage: Stage) -> bool:
        """Whether this run goes as far as `stage`."""
        return STAGES.index(stage) <= STAGES.index(self.until)

    def profile_of(self, kernel: Kernel) -> Profile:
        """The profile with the kernel's own figures, and the command line's over these."""
        usual, own = PROFILES[self.profile], kernel.file.profiles.get(self.profile, ProfileFigures())
        return Profile(
            self.profile,
            self.examples or own.examples or usual.examples,
            self.seconds or own.seconds or usual.seconds,
            own.shrink_seconds or usual.shrink_seconds,
        )


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

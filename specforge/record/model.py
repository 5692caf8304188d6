"""The record: one run, complete, as JSON with a schema version of its own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from specforge.record.entry import Entry
from specforge.record.measured import MeasurementEntry, SessionEntry

RECORD_VERSION = 2
"""Raised when a reader of the previous version would misread a record; old readers stay."""

Scalar = bool | int | float | str


class InputFile(Entry):
    """One file that the run was made from."""

    role: Literal[
        "spec",
        "workload",
        "device",
        "model",
        "kernel",
        "template",
        "reference",
        "peers",
        "examples",
        "header",
        "tuning",
    ]
    path: str
    """Relative to the root it was found in; `shipped:` marks one that came with SpecForge."""
    sha256: str
    without_mutants_sha256: str | None = None
    """Of a kernel.yaml, over its data as JSON in the file's order, less `equivalent_mutants`; none in older records."""
    without_comments_sha256: str | None = None
    """Of a template or a header; none in older records."""


class Sources(Entry):
    """Which state of the sources ran."""

    commit: str | None
    dirty: bool | None
    """None: there was no git history to ask; `commit` was supplied, and the inputs' hashes can prove it."""
    tool_version: str
    tool_sha256: str
    """Over SpecForge's own Python and headers, by path and content."""


class Environment(Entry):
    """Where it ran."""

    backend: str
    """`emulator`, or `cuda:N` and the card's name; `none` where nothing was executed."""
    python: str
    platform: str
    compiler: str
    """NVRTC and its version."""
    host_compiler: str | None
    packages: dict[str, str]
    card: dict[str, Any] | None
    """What NVML says of the card: name, UUID, driver, VBIOS, ECC, MIG, power limit, clocks, other processes."""
    device_matches: bool
    """Whether the card that ran is the spec's own."""


class HeldOutSeed(Entry):
    """The secret that held-out inputs were drawn with, shown now that the verdict has fallen."""

    seed: str
    sha256: str


class TimingEntry(Entry):
    """How the cases of a benchmark were to be timed."""

    precision: float
    """Half the median's interval as a share of it."""
    processes: int
    seconds: float
    """Wall budget of one process for one mode of one case."""
    modes: list[str]
    peer_processes: int | None = None
    """Of the processes, at most so many had peers measured beside them; none in older records: all had."""


class Request(Entry):
    """What was asked for."""

    arguments: list[str]
    until: str
    only: str | None
    seed: int
    examples: int
    profile: str | None = None
    """Which of the profiles: `quick`, `ci` or `deep`."""
    held_out: HeldOutSeed | None = None
    """Where held-out inputs were drawn."""
    sanitize: Literal["off", "shadow", "address"] | None = None
    """Which faults the emulator looked for; none where it did not run, or in records from before it did."""
    timing: dict[str, TimingEntry] = Field(default={})
    """By benchmark; empty where nothing was to be timed."""


class EntryResources(Entry):
    """One entry of a binary, from ptxas."""

    registers: int
    spill_bytes: int
    stack_bytes: int
    static_shared_bytes: int


class BinaryEntry(Entry):
    """One compiled variant."""

    kernel: str
    bindings: dict[str, Scalar]
    arch: str
    compiler: str
    flags: list[str]
    source_sha256: str
    cubin_sha256: str
    cubin_bytes: int
    entries: dict[str, EntryResources]


class OutputErrorEntry(Entry):
    """How far one output was from the reference, at its worst element."""

    output: str
    ratio: float | Literal["inf"]
    """Error over tolerance; above 1 is wrong. Of what a whole number is rounded from: beyond half of one."""
    index: list[int]
    got: float | str
    want: float | str
    allowed: float
    wrong_rows: int
    total_rows: int


class EffortEntry(Entry):
    """What verifying one kernel was allowed: its profile with what kernel.yaml and the command line say."""

    examples: int
    seconds: float
    shrink_seconds: float


class HeldOutEntry(Entry):
    """What held-out inputs showed; a failure among them is the kernel's failure."""

    examples: int
    dropped: int
    """Drawn examples that were left out: a committed one has the case, or the ordinary search had the values."""
    seconds: float
    out_of_time: bool
    worst_ratio: float | Literal["inf"]
    failed: bool


class WaiverEntry(Entry):
    """A known wrong result that kernel.yaml waives, and what examples showed of it."""

    file: str
    line: int
    when: str
    reason: str
    until: str
    output: str | None
    verdict: Literal["used", "unneeded", "untried", "expired"]
    inside: int
    """Examples executed where it applies."""
    failed: int
    worst_ratio: float | Literal["inf"]
    worst_row: str | None
    sentence: str


class FuzzEntry(Entry):
    """What fuzzing one kernel showed."""

    kernel: str
    backend: str
    examples: int
    variants: int
    seconds: float
    out_of_time: bool
    covered: dict[str, str]
    worst_ratio: float | Literal["inf"]
    worst_row: str | None
    failure: str | None
    """One sentence; None where nothing failed."""
    failure_kind: str | None
    failure_row: str | None
    """The smallest failing case as a YAML row."""
    replay: str | None
    """A command that runs it again."""
    repeated: int | None = None
    """Examples that were run again, under another schedule and with fresh values at the same addresses."""
    effort: EffortEntry | None = None
    held_out: HeldOutEntry | None = None
    waivers: list[WaiverEntry] = Field(default=[])
    searched_for: str | None = None
    """The spec in whose turn this search was made, where several were checked at once."""


class MetricEntry(Entry):
    """A value in base units, with its interval where it was sampled."""

    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    doubt: str | None = None
    """Why the interval is wider than was asked for."""


class PeerEntry(Entry):
    """Another implementation of a case's operation, measured in the same run; never what is judged."""

    versions: dict[str, str]
    """By distribution."""
    tolerance_times: float
    """Its errors were allowed so many times the kernel's tolerance."""
    reason: str | None
    """Why more than once."""
    absent: str | None
    """Why it has no times."""
    worst_ratio: float | Literal["inf"]
    """Largest error over that wider tolerance, in any process."""
    times: dict[str, MetricEntry]
    """By mode: seconds per launch group's worth of work."""
    rounds: list[dict[str, Any]]
    """All samples of each process in order and what they were taken under."""


class CaseEntry(Entry):
    """One case and everything learned about it."""

    id: str
    benchmark: str
    kernel: str | None
    parameters: dict[str, Scalar]
    tunables: dict[str, Scalar]
    binary: int | None
    """Index into `binaries`, of the spec's own architecture."""
    executed_binary: int | None
    """Index of the binary that ran, where one ran on a card."""
    verified: bool
    wrong: str | None
    implausible: str | None
    fault: str | None
    trouble: str | None
    metrics: dict[str, MetricEntry]
    missing: dict[str, str]
    errors: list[OutputErrorEntry]
    measurement: MeasurementEntry | None
    """All samples in order and what they were taken under."""
    waived: str | None = None
    """Why wrong values of this case were accepted."""
    peers: dict[str, PeerEntry] = Field(default={})
    """By name, where any were measured."""


class TargetEntry(Entry):
    """A target as it was judged."""

    id: str
    benchmark: str
    metric: str
    unit: str
    comparison: Literal["at_most", "at_least", "equals"]
    bound: float
    when: str | None
    level: Literal["required", "warn", "record"]
    baseline: float | None
    baseline_source: str | None
    known_miss: str | None
    known_miss_until: str | None
    cases: list[str]
    file: str
    line: int
    column: int
    stage: str
    """The step that decides its metric."""
    peer: str | None = None
    """What a speedup is taken over."""


class JudgementEntry(Entry):
    """A verdict: one target in one case."""

    target: str
    case: str
    verdict: str
    value: float | None
    margin: float | None
    reason: str
    infrastructure: bool


class BenchmarkEntry(Entry):
    """A benchmark as it was run."""

    name: str
    kernel: str | None
    cases: int
    targeted: int
    excluded: dict[str, str]
    """Case id -> reason."""
    parts: list[str]
    """Parts of a decode step; empty for a kernel's benchmark."""
    covered_parts: list[str]


class ChangeEntry(Entry):
    """One case in one mode, now against an earlier record. Times are seconds per launch group."""

    case: str
    mode: str
    before: float
    after: float
    ratio: float
    """After over before; above 1 is slower."""
    low: float
    high: float
    """The ratio's interval of 95 %."""
    verdict: Literal["faster", "slower", "same", "undecided"]
    processes: list[int]
    """How many measured it before and after."""


class AgainstEntry(Entry):
    """The comparison with an earlier record that was asked for with `--against`."""

    path: str
    digest: str
    created: str
    commit: str | None
    tolerance: float
    """The change, as a share, that matters."""
    cells: list[ChangeEntry]
    left_out: dict[str, str]
    """Case id -> why it was not compared."""
    warnings: list[str]


class Record(Entry):
    """One run of `specforge check` on one spec."""

    record_version: Literal[2]
    digest: str
    """SHA-256 over this record's canonical JSON with this field empty."""
    created: str
    """UTC, ISO 8601."""
    spec: str
    spec_path: str
    device: str
    device_name: str | None = None
    """What people call the device, such as `NVIDIA GeForce RTX 5090`."""
    architecture: str
    request: Request
    sources: Sources
    environment: Environment
    inputs: list[InputFile]
    trusted: list[str]
    """Host code that had a say: the references and the peers."""
    benchmarks: list[BenchmarkEntry]
    binaries: list[BinaryEntry]
    fuzz: list[FuzzEntry]
    cases: list[CaseEntry]
    targets: list[TargetEntry]
    judgements: list[JudgementEntry]
    status: int
    seconds: float
    session: SessionEntry | None = None
    """Where anything was measured."""
    resumed: list[str] = Field(default=[])
    """When a killed run was taken up again, UTC: the rounds from before are in this record as they were measured."""
    against: AgainstEntry | None = None

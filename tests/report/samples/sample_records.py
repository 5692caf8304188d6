"""Sample records: real specs, real judging, evidence made up so that every verdict and exit status occurs.

Loaded by the conftest of tests/report and of tests/record.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import date
from pathlib import Path

from specforge.check.judged import judgement_entry, target_entry
from specforge.judge.verdict import Evidence, Value, judge, status_of
from specforge.record.model import (
    BenchmarkEntry,
    BinaryEntry,
    CaseEntry,
    EntryResources,
    Environment,
    FuzzEntry,
    InputFile,
    MetricEntry,
    OutputErrorEntry,
    Record,
    Request,
    Sources,
)
from specforge.record.store import seal
from specforge.spec.geometry import is_specialised
from specforge.spec.load import Spec, load_spec
from specforge.spec.metrics import METRICS, Stage

ROOT = Path(__file__).parents[3]
SAMPLE = "tests/report/samples/every_verdict.yaml"
TODAY = date(2026, 11, 21)
NO_CARD = "no card was used: the emulator measures nothing"
NO_STEP = "2 of the step's 4 parts have no kernel yet"
SHA = "0123456789abcdef" * 4
ROW = "{batch: 1, q_heads: 16, kv_heads: 2, head_dim: 64, context: 17, dtype: bf16, seed: 7}"
GOOD = {"registers": 56.0, "spill_bytes": 0.0, "stack_bytes": 0.0, "occupancy": 0.75, "error_ratio": 0.41}


def spec_at(path: str) -> Spec:
    """A spec by its path from the repository's top, so that positions are the same everywhere."""
    with contextlib.chdir(ROOT):
        return load_spec(Path(path))


def record_of(
    spec: Spec,
    evidence: dict[str, Evidence],
    *,
    until: Stage = "judge",
    backend: str = "emulator",
    fuzz: tuple[FuzzEntry, ...] = (),
    only: str | None = None,
    benchmarks: tuple[str, ...] | None = None,
) -> Record:
    """Judge the evidence and write everything down, as a run would."""
    chosen = [item for item in spec.benchmarks if benchmarks is None or item.name in benchmarks]
    targets = [target for item in chosen for target in item.targets]
    judgements = judge(targets, evidence, until=until, today=TODAY)
    cases = [case for item in chosen for case in item.cases]
    undecided = any(entry.examples == 0 for entry in fuzz)
    status = status_of(judgements, evidence.values(), selected=bool(cases), undecided=undecided)
    if any(entry.failure for entry in fuzz):
        status = type(status).WRONG
    record = Record(
        record_version=2,
        digest="",
        created="2026-11-21T21:33:41Z",
        spec=spec.name,
        spec_path=str(spec.path),
        device=spec.device.file.device,
        device_name=spec.device.file.name,
        architecture=spec.device.architecture,
        request=Request(arguments=["check", str(spec.path)], until=until, only=only, seed=7, examples=200),
        sources=Sources(commit="4f2c" * 10, dirty=False, tool_version="0.1.0", tool_sha256=SHA),
        environment=Environment(
            backend=backend,
            python="3.11.9",
            platform="Linux x86_64",
            compiler="NVRTC 13.0",
            host_compiler="g++ 12.2",
            packages={"numpy": "2.4.0"},
            card=None if backend in ("emulator", "none") else {"name": backend.partition(" ")[2], "uuid": "GPU-0"},
            device_matches="5090" in backend,
        ),
        inputs=[InputFile(role="spec", path=str(spec.path), sha256=spec.document.sha256)],
        trusted=["kernels/attention/flash_decode/reference.py"],
        benchmarks=[
            BenchmarkEntry(
                name=item.name,
                kernel=item.kernel.identity if item.kernel else None,
                cases=len(item.cases),
                targeted=item.targeted(),
                excluded={excluded.id: excluded.reason for excluded in item.excluded},
                parts=[part.name for part in item.parts],
                covered_parts=list(item.covered),
            )
            for item in chosen
        ],
        binaries=[_binary()],
        fuzz=list(fuzz),
        cases=[
            _case(
                case.id,
                case.benchmark,
                case.kernel.identity if case.kernel else None,
                dict(case.parameters),
                evidence.get(case.id),
            )
            for case in cases
        ],
        targets=[target_entry(target) for target in targets],
        judgements=[judgement_entry(item) for item in judgements],
        status=int(status),
        seconds=61.5,
    )
    return seal(record)


def _binary() -> BinaryEntry:
    resources = {"partial": EntryResources(registers=56, spill_bytes=0, stack_bytes=0, static_shared_bytes=0)}
    return BinaryEntry(
        kernel="attention/flash_decode",
        bindings={"head_dim": 128, "dtype": "bf16"},
        arch="sm_120",
        compiler="NVRTC 13.0",
        flags=["--std=c++17"],
        source_sha256=SHA,
        cubin_sha256=SHA,
        cubin_bytes=20480,
        entries=resources,
    )


def _case(
    identity: str,
    benchmark: str,
    kernel: str | None,
    parameters: dict[str, bool | int | float | str],
    known: Evidence | None,
) -> CaseEntry:
    known = known or Evidence(identity)
    errors = [
        OutputErrorEntry(
            output="out", ratio=0.41, index=[0, 3, 17], got=0.5, want=0.501, allowed=0.0024, wrong_rows=0, total_rows=16
        )
    ]
    return CaseEntry(
        id=identity,
        benchmark=benchmark,
        kernel=kernel,
        parameters=parameters,
        tunables={},
        binary=0 if kernel else None,
        executed_binary=None,
        verified=known.verified,
        wrong=known.wrong,
        implausible=known.implausible,
        fault=known.fault,
        trouble=known.trouble,
        metrics={
            name: MetricEntry(value=value.value, unit=METRICS[name].unit, low=value.low, high=value.high)
            for name, value in known.values.items()
        },
        missing=dict(known.missing),
        errors=errors if kernel and known.verified else [],
        measurement=None,
    )


def fuzzed(kernel: str, **changes: object) -> FuzzEntry:
    """A clean fuzz result, or one with changes."""
    covered = {
        "batch": "1..64 of 1..64",
        "context": "1..9216 of 1..262144",
        "head_dim": "all of 64, 128, 256, 512",
        "dtype": "all of bf16, f16",
    }
    if kernel == "moe/router_topk":
        covered = {"tokens": "1..1024 of 1..1024", "experts": "all of 128, 256"}
    entry = FuzzEntry(
        kernel=kernel,
        backend="emulator",
        examples=200,
        variants=12,
        seconds=21.4,
        out_of_time=False,
        covered=covered,
        worst_ratio=0.43,
        worst_row=ROW,
        failure=None,
        failure_kind=None,
        failure_row=None,
        replay=None,
    )
    return entry.model_copy(update=changes)


CLEAN = (fuzzed("attention/flash_decode"), fuzzed("moe/router_topk", worst_ratio=0.08, seconds=4.2))


def clean_evidence(spec: Spec) -> dict[str, Evidence]:
    """What a run on a laptop learns: verified on the emulator, nothing measured."""
    found = {}
    for item in spec.benchmarks:
        for case in item.cases:
            if case.kernel is None:
                found[case.id] = Evidence(case.id, missing={"*": NO_STEP})
            else:
                values = {name: Value(value) for name, value in GOOD.items()}
                fast = is_specialised(case.kernel, case.parameters)
                values |= {} if fast is None else {"specialised": Value(float(fast))}
                found[case.id] = Evidence(case.id, verified=True, values=values, missing={"*": NO_CARD})
    return found


def every_verdict() -> Record:
    """All ten verdicts at once, on the card itself."""
    spec = spec_at(SAMPLE)
    found = clean_evidence(spec)
    names = {case.id: case for item in spec.benchmarks for case in item.cases}
    slow = "attention[batch=1,context=32768]"
    for identity, case in names.items():
        if case.benchmark == "attention":
            values = dict(found[identity].values) | {
                "latency": Value(12.5e-6, 12.4e-6, 12.7e-6)
                if case.parameters["context"] == 2048
                else Value(80e-6, 79e-6, 81e-6),
                "bandwidth": Value(1.2e12, 1.1e12, 1.3e12),
                "peak_bandwidth_share": Value(0.612, 0.605, 0.618) if identity == slow else Value(0.74, 0.735, 0.745),
                "occupancy": Value(0.4167),
            }
            found[identity] = Evidence(identity, verified=True, values=values)
    attention4 = "attention[batch=4,context=2048]"
    found[attention4] = Evidence(
        attention4,
        verified=True,
        values=found[attention4].values,
        implausible="moved 16.8 MB in 4.1 us: 4.1 TB/s, more than the card's 1.792 TB/s of memory bandwidth",
    )
    routing = "routing[tokens={}]".format
    base = found[routing(1)].values
    found[routing(1)] = Evidence(routing(1), verified=True, values={**base, "latency": Value(4.98e-6, 4.9e-6, 5.1e-6)})
    found[routing(8)] = Evidence(
        routing(8), fault="illegal access: read of 4 bytes at 0x7f3c00, beyond the end of `logits`", values=base
    )
    found[routing(64)] = Evidence(routing(64), trouble="the worker was ended by signal 9", values=base, verified=True)
    lone = "untargeted[tokens=1024]"
    found[lone] = Evidence(lone, wrong="`ids` is wrong in 3 of 1,024 rows: at [17, 0] it is 4, not 3", values=base)
    return record_of(spec, found, backend="cuda:0 NVIDIA GeForce RTX 5090", fuzz=CLEAN)


def wrong() -> Record:
    """Fuzzing on the emulator found a wrong result: status 3."""
    spec = spec_at(SAMPLE)
    found = clean_evidence(spec)
    sentence = "`out` is wrong in 2 of 16 rows: at [0, 3, 17] it is nan, not 0.5012 within 0.0024"
    for item in spec.benchmarks:
        for case in item.cases:
            if item.name == "attention":
                found[case.id] = Evidence(case.id, wrong=sentence, values=found[case.id].values)
    failed = fuzzed(
        "attention/flash_decode",
        examples=37,
        seconds=6.1,
        worst_ratio="inf",
        failure=sentence,
        failure_kind="wrong",
        failure_row=ROW,
        replay=f"specforge check {SAMPLE} --only attention/flash_decode --case '{ROW}'",
    )
    return record_of(spec, found, fuzz=(failed, CLEAN[1]))


def undecided() -> Record:
    """Everything that needs no card is proven, the rest stays open: status 4."""
    spec = spec_at(SAMPLE)
    return record_of(spec, clean_evidence(spec), fuzz=CLEAN)


def verified() -> Record:
    """The same, asked only as far as `verify`: status 0."""
    spec = spec_at(SAMPLE)
    return record_of(spec, clean_evidence(spec), until="verify", fuzz=CLEAN)


def missed() -> Record:
    """A required static target is missed: status 1."""
    spec = spec_at(SAMPLE)
    found = clean_evidence(spec)
    worse = "attention[batch=1,context=131072]"
    found[worse] = Evidence(
        worse, verified=True, values={**found[worse].values, "spill_bytes": Value(48.0)}, missing=found[worse].missing
    )
    return record_of(spec, found, until="verify", fuzz=CLEAN)


def out_of_time() -> Record:
    """Fuzzing was cut short: said, and status 0, for it proves what it ran."""
    spec = spec_at(SAMPLE)
    cut = fuzzed("attention/flash_decode", examples=61, seconds=60.0, out_of_time=True)
    return record_of(spec, clean_evidence(spec), until="verify", fuzz=(cut, CLEAN[1]))


def idle() -> Record:
    """Fuzzing ran nothing at all: status 4 even with --until verify."""
    spec = spec_at(SAMPLE)
    nothing = fuzzed("attention/flash_decode", examples=0, variants=0, seconds=60.0, out_of_time=True, covered={})
    return record_of(spec, clean_evidence(spec), until="verify", fuzz=(nothing, CLEAN[1]))


def built() -> Record:
    """Compiled only: status 0, nothing executed."""
    spec = spec_at(SAMPLE)
    values = {name: Value(GOOD[name]) for name in ("registers", "spill_bytes", "occupancy")}
    found = {
        case.id: Evidence(case.id, values=values if case.kernel else {})
        for item in spec.benchmarks
        for case in item.cases
    }
    return record_of(spec, found, until="build", backend="none")


def empty() -> Record:
    """Nothing was selected: status 5."""
    return record_of(spec_at(SAMPLE), {}, backend="none", only="no_such_*", benchmarks=())


SAMPLES: dict[str, Callable[[], Record]] = {
    "every_verdict": every_verdict,
    "wrong": wrong,
    "undecided": undecided,
    "verified": verified,
    "missed": missed,
    "out_of_time": out_of_time,
    "idle": idle,
    "built": built,
    "empty": empty,
}
"""Name -> record; golden files are named after them."""

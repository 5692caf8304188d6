"""What things mean and where values come from: codes, metrics, verdicts, and anything inside a spec."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from specforge.diagnostics import CODES, fail, shorten, suggest
from specforge.expressions import Scalar
from specforge.judge.verdict import MEANINGS, STATUS_MEANINGS, Verdict
from specforge.report.tolerances import tolerance_lines
from specforge.roots import search_roots, shipped
from specforge.spec.document import Document
from specforge.spec.geometry import Plan, plan, resolve_tunables
from specforge.spec.interface import find_kernel
from specforge.spec.load import Benchmark, Spec
from specforge.spec.metrics import METRICS
from specforge.spec.sweep import Case
from specforge.spec.target import Target
from specforge.units import format_quantity


def explain_word(word: str) -> str:
    """A diagnostic code, a metric, a verdict, or `status`; raises SF801 with the nearest name."""
    if word.upper() in CODES:
        return f"{word.upper()}: {CODES[word.upper()]}\n"
    if word in METRICS:
        metric = METRICS[word]
        unit = "a plain number" if metric.unit == "1" else metric.unit
        facts = f"unit: {unit}; {metric.better} is better; scope: {metric.scope}; decided by: {metric.stage}"
        return f"{metric.name}: {metric.summary}\n  {facts}\n"
    if word in tuple(Verdict):
        return f"{word}: {MEANINGS[Verdict(word)]}\n"
    if word == "status":
        lines = [f"  {status.value}  {meaning}" for status, meaning in STATUS_MEANINGS.items()]
        return "Exit status; where several apply, the first in this order wins:\n" + "\n".join(lines) + "\n"
    hint = suggest(word, [*METRICS, *Verdict, *CODES, "status"])
    raise fail("SF801", f"nothing here is called {shorten(word)!r}", value=word, hint=hint)


def explain_in(spec: Spec, what: str | None) -> str:
    """Something of a spec: a benchmark, case, target by id or number, `model.*` or `device.*`; None: an overview."""
    if what is None:
        return "\n".join(_overview(spec)) + "\n"
    if what.startswith(("model.", "device.")):
        return "\n".join(_fact(spec, what)) + "\n"
    targets = [target for benchmark in spec.benchmarks for target in benchmark.targets]
    for benchmark in spec.benchmarks:
        if what == benchmark.name:
            return "\n".join(_benchmark(spec, benchmark)) + "\n"
        for case in benchmark.cases:
            if what == case.id:
                return "\n".join(_case(spec, benchmark, case)) + "\n"
    for number, target in enumerate(targets, start=1):
        if what in (target.id, f"target {number}", f"#{number}"):
            return "\n".join(_target(target)) + "\n"
    known = [
        *(benchmark.name for benchmark in spec.benchmarks),
        *(case.id for benchmark in spec.benchmarks for case in benchmark.cases),
        *spec.names(),
    ]
    raise fail("SF801", f"{spec.path} has nothing called {shorten(what)!r}", value=what, hint=suggest(what, known))


def explain_kernel(identity: str, row: str | None, start: Path) -> str:
    """A kernel's tolerances at a row of parameters as `--case` takes it; without one, at the last edges of its domains.

    Defaults of tunables are those of the RTX 5090. Raises SF401 with the nearest name, and the row's own faults.
    """
    from specforge.spec.facts import load_device
    from specforge.verify.covering import cover
    from specforge.verify.row import parse_row

    kernel = find_kernel(identity, search_roots(start / "kernel"))
    device = load_device(shipped() / "specs" / "devices" / "rtx5090.yaml").names
    if row is not None:
        example = parse_row(row, kernel)
        parameters, tunables, seed = example.parameters, example.tunables, example.seed
    else:
        launch = {
            name: parameter.edges[-1] if parameter.edges else parameter.domain.edges()[0]
            for name, parameter in kernel.file.parameters.items()
        }
        choice = cover(kernel, [], 0)[0]
        parameters = {name: choice.get(name, value) for name, value in launch.items()}
        tunables, seed = {name: choice[name] for name in kernel.file.tunables if name in choice}, 0
    shape = plan(kernel, parameters, resolve_tunables(kernel, parameters, device) | tunables)
    bound = ", ".join(f"{name}={value}" for name, value in {**shape.parameters, **shape.tunables}.items())
    return (
        "\n".join(
            [f"{kernel.identity} ({kernel.document.path})", f"  at {bound}", *tolerance_lines(kernel, shape, seed)]
        )
        + "\n"
    )


def _overview(spec: Spec) -> Iterator[str]:
    yield f"{spec.name} ({spec.path})"
    yield f"  device: {spec.device.file.name}, {spec.device.architecture} ({spec.device.document.path})"
    if spec.model:
        yield f"  model:  {spec.model.file.name} ({spec.model.document.path})"
    number = 0
    for benchmark in spec.benchmarks:
        kernel = benchmark.kernel.identity if benchmark.kernel else f"decode step of {len(benchmark.parts)} kernels"
        counts = f"{len(benchmark.cases)} cases, {benchmark.targeted()} targeted, {len(benchmark.excluded)} excluded"
        yield f"  {benchmark.name}: {kernel}; {counts}"
        for target in benchmark.targets:
            number += 1
            yield f"    #{number} {target.text}  [{len(target.cases)} cases; {target.level}; {target.position}]"
    yield "Ask further: a benchmark (it lists its cases), a case, '#1' for a target, model.NAME or device.NAME."


def _fact(spec: Spec, name: str) -> Iterator[str]:
    names = spec.names()
    if name not in names:
        raise fail("SF801", f"no value is called {shorten(name)!r}", value=name, hint=suggest(name, names))
    kind, _, rest = name.partition(".")
    if kind == "device":
        fact = getattr(spec.device.file.facts, rest)
        document, location = spec.device.document, ("facts", rest, "value")
        yield f"{name} = {_written(document, location)}"
        yield f"  from {document.at(location)}"
        yield f"  certainty {fact.certainty}; source: {spec.device.file.sources[fact.source]}"
        if fact.note:
            yield f"  note: {fact.note}"
        return
    assert spec.model is not None
    document, file = spec.model.document, spec.model.file
    if rest in file.derived:
        derived = file.derived[rest]
        yield f"{name} = {_number(names[name], derived.unit)}   ({names[name]})"
        yield f"  {derived.summary}"
        yield f"  from {document.at(('derived', rest, 'value'))}: {derived.value}"
        for used in derived.value.names():
            yield f"    {used} = {names['model.' + used]}"
        return
    group, _, key = rest.partition(".")
    yield f"{name} = {names[name]}"
    yield f"  from {document.at(('shapes', group, key))}"
    shape = file.shapes[group]
    yield f"  certainty {shape['certainty']}; source: {file.sources[str(shape['source'])]}"


def _written(document: Document, location: tuple[str, ...]) -> object:
    node: object = document.data
    for part in location:
        node = node[part]  # type: ignore[index]  # the location was validated with the document
    return node


def _number(value: Scalar, unit: str) -> str:
    return format_quantity(float(value), unit) if not isinstance(value, str) else value


def _benchmark(spec: Spec, benchmark: Benchmark) -> Iterator[str]:
    yield f"{benchmark.name}, from {benchmark.document.at(benchmark.location, key=True)}"
    if benchmark.kernel:
        yield f"  kernel {benchmark.kernel.identity} ({benchmark.kernel.document.path})"
        yield f"  timing: {_timing(benchmark)}"
        for case in benchmark.cases:
            yield f"    {case.id}"
    for excluded in benchmark.excluded:
        yield f"    {excluded.id} excluded: {excluded.reason}"
    for target in benchmark.targets:
        yield f"  {target.text}  [{len(target.cases)} cases; {target.position}]"
    if benchmark.parts:
        for case in benchmark.cases:
            yield from _division(spec, benchmark, case)


def _timing(benchmark: Benchmark) -> str:
    assert benchmark.kernel is not None
    timing = benchmark.timing
    modes = timing.modes_of(chained=bool(benchmark.kernel.file.chain))
    share, seconds = format_quantity(timing.precision, "%"), format_quantity(timing.seconds, "s")
    processes = "1 process" if timing.processes == 1 else f"{timing.processes} processes"
    if timing.peer_rounds < timing.processes:
        processes += f" (peers beside {timing.peer_rounds})"
    return f"to {share}, in {processes} of at most {seconds} for each of: {', '.join(modes)}"


def _division(spec: Spec, benchmark: Benchmark, case: Case) -> Iterator[str]:
    """How one token's least time divides among the kernels of the step: bytes over the datasheet's bandwidth."""
    from tabulate import tabulate

    names = {**spec.names(), **case.parameters}
    bandwidth = float(spec.device.names["device.memory_bandwidth"])
    sizes = [
        (part, part.launches.integer(names) if part.launches else 0, part.bytes.number(names))
        for part in benchmark.parts
    ]
    covered = benchmark.covered
    sizes.sort(key=lambda item: -item[2])
    total = sum(size for _, _, size in sizes)

    def row(name: str, launches: int, size: float, owner: str) -> tuple[str, int, str, str, str, str]:
        share = f"{100 * size / total:.1f} %" if total else ""
        return name, launches, format_quantity(size, "B"), format_quantity(size / bandwidth, "s"), share, owner

    rows = [
        row(part.name, launches, size, ", ".join(covered.get(part.name, ())) or "not covered yet")
        for part, launches, size in sizes
    ]
    rows.append(row("whole step", sum(launches for _, launches, _ in sizes), total, ""))
    limit = f"at most {bandwidth / total:.0f} tok/s from bytes alone" if total else "no bytes move"
    coverage = f"{len(covered)} of {len(benchmark.parts)} kernels covered"
    yield ""
    yield f"{case.id}: {limit} at {format_quantity(bandwidth, 'B/s')}; {coverage}"
    headers = ("part", "launches", "bytes", "least time", "share", "benchmark")
    yield str(
        tabulate(
            rows, headers=headers, tablefmt="simple", colalign=("left", "right", "right", "right", "right", "left")
        )
    )


def _case(spec: Spec, benchmark: Benchmark, case: Case) -> Iterator[str]:
    yield case.id
    for name, value in case.parameters.items():
        yield f"  {name} = {value}   from {case.origins[name]}"
    if case.kernel is None:
        yield from _division(spec, benchmark, case)
        return
    for name, value in case.tunables.items():
        where = case.kernel.document.at(("tunables", name, "default"))
        default = f"{where}: {case.kernel.file.tunables[name].default}"
        tuned = case.origins.get(name)
        yield f"  {name} = {value}   tun{f'ed, from {tuned}' if tuned else f'able, from {default}'}"
    concrete = plan(case.kernel, case.parameters, case.tunables)
    yield from _plan(spec, concrete)
    yield from tolerance_lines(case.kernel, concrete)
    for target in benchmark.targets:
        if case.id in target.cases:
            yield f"  target {target.text}   from {target.position}"


def _plan(spec: Spec, concrete: Plan) -> Iterator[str]:
    for buffer in concrete.buffers:
        size = format_quantity(buffer.nbytes, "B")
        yield f"  {buffer.role} {buffer.name}: {buffer.dtype} {list(buffer.shape)}, {size}, {buffer.residency}"
    for launch in concrete.launches:
        shared = f"{launch.shared_bytes} B dynamic shared memory"
        yield f"  launch {launch.entry}: grid {launch.grid}, block {launch.block}, {shared}"
    bandwidth, rate = float(spec.device.names["device.memory_bandwidth"]), float(spec.device.names["device.bf16_rate"])
    floor = max(concrete.bytes / bandwidth, concrete.flops / rate)
    work = f"{format_quantity(concrete.bytes, 'B')}, {concrete.flops:.4g} floating-point operations"
    yield f"  work: {work}; roofline on {spec.device.file.name}: {format_quantity(floor, 's')}"


def _target(target: Target) -> Iterator[str]:
    yield f"{target.id}   from {target.position}"
    yield f"  {target.metric.summary} ({target.metric.better} is better; decided by `{target.metric.stage}`)"
    yield f"  level {target.level}; holds for {len(target.cases)} cases:"
    yield from (f"    {case}" for case in target.cases)
    if target.baseline:
        yield f"  baseline {format_quantity(target.baseline[0], target.metric.unit)}: {target.baseline[1]}"
    if target.known_miss:
        yield f"  known miss until {target.known_miss[1]}: {target.known_miss[0]}"

"""The fault corpus: small kernels that are wrong in one way each, and their twins, which are right.

A folder is an interface: `kernel.yaml`, `reference.py`, and one template for each fault. The template holds fault and
twin: `{{ ... if faulty else ... }}`. Its first line says what a report must say:

    // finds: race; "tile["        the kind (several, with | between, where the schedule decides), then what is said
    ...  // <- here                a line that the report must name
    ...  // <- or here             lines of which the report must name one at least

Lines below it say what is wrong. The last one, `// card:`, says why compute-sanitizer or a plain run on a card says
something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from specforge.check.options import Options
from specforge.check.prepare import build_hosts, render_all
from specforge.check.variants import Variant
from specforge.settings import Settings
from specforge.spec.interface import Kernel, load_kernel
from specforge.verify.example import Example, ExampleResult, plan_example

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
_FINDS = re.compile(r'// finds: (?P<kinds>[\w|-]+)(?P<texts>(?:; "[^"]*")*)')


@dataclass(frozen=True)
class Fault:
    """A template of the corpus. `lines` must all be named by a report, of `either` one at least."""

    interface: str
    name: str
    summary: str
    kinds: tuple[str, ...]
    texts: tuple[str, ...]
    lines: tuple[int, ...]
    either: tuple[int, ...]
    card: str

    def __str__(self) -> str:
        return f"{self.interface}/{self.name}"

    @property
    def template(self) -> Path:
        """The file."""
        return FOLDER / self.interface / f"{self.name}.cu.j2"


def read_fault(template: Path) -> Fault:
    """What a template says of itself; raises ValueError where its first line is none."""
    text = template.read_text(encoding="utf-8")
    first, *rest = text.splitlines()
    finds = _FINDS.fullmatch(first)
    if finds is None:
        raise ValueError(f"{template}:1: {first!r} does not say what is found")
    comments = [line[3:] for line in rest[: next(i for i, line in enumerate(rest) if not line.startswith("//"))]]
    return Fault(
        interface=template.parent.name,
        name=template.name.removesuffix(".cu.j2"),
        summary=" ".join(comments),
        kinds=tuple(finds["kinds"].split("|")),
        texts=tuple(re.findall(r'"([^"]+)"', finds["texts"])),
        lines=_marked(text, "// <- here"),
        either=_marked(text, "// <- or here"),
        card="".join(re.findall(r"^// card: (.+)", text, re.MULTILINE)),
    )


def _marked(text: str, mark: str) -> tuple[int, ...]:
    return tuple(number for number, line in enumerate(text.splitlines(), start=1) if line.rstrip().endswith(mark))


FAULTS = tuple(read_fault(template) for template in sorted(FOLDER.glob("*/*.cu.j2")))


def load(fault: Fault) -> Kernel:
    """The interface as a kernel with this fault's template."""
    kernel = load_kernel(FOLDER / fault.interface / "kernel.yaml", str(fault), (ROOT,))
    return replace(kernel, file=kernel.file.model_copy(update={"template": fault.template.name}))


def ends(kernel: Kernel, faulty: bool) -> tuple[Example, Example]:
    """The smallest case, and the one where all is at its largest."""
    domains = {name: parameter.domain for name, parameter in kernel.file.parameters.items() if name != "faulty"}
    least, most = ({name: domain.edges()[place] for name, domain in domains.items()} for place in (0, -1))
    return Example(least | {"faulty": faulty}), Example(most | {"faulty": faulty})


def build(kernel: Kernel, faulty: bool, settings: Settings) -> str:
    """Render, check and compile for the emulator, as `check` does; the library's path."""
    variant = Variant(kernel, (("faulty", faulty),))
    rendered = render_all({variant: plan_example(kernel, ends(kernel, faulty)[0], {})})
    built = build_hosts(rendered, settings, lambda _done, _total: None, sanitize=Options().sanitize)
    return str(built[variant])


def kind_of(result: ExampleResult) -> str:
    """What a result is, in the corpus' words: the fault's own kind, `guard`, `read-only`, `unwritten`, `wrong`."""
    said = result.failure or ""
    if result.kind == "fault":
        return said.split(":", 1)[0]
    if result.kind == "violation":
        return "read-only" if "input changed" in said else "guard"
    return "unwritten" if result.kind == "wrong" and "was never written" in said else result.kind


def complaints(fault: Fault, result: ExampleResult) -> list[str]:
    """What a report does not say that it must."""
    said = result.failure or ""
    found = [] if kind_of(result) in fault.kinds else [f"it says {kind_of(result)!r}, not {'|'.join(fault.kinds)!r}"]
    found += [f"it does not say {text!r}" for text in fault.texts if text not in said]
    named = {int(line) for line in re.findall(rf"\b{re.escape(fault.template.name)}:(\d+)", said)}
    named |= {int(line) for pair in re.findall(r"\blines (\d+) and (\d+) ", said) for line in pair}
    found += [f"it does not name line {line}" for line in fault.lines if line not in named]
    if fault.either and not named.intersection(fault.either):
        found.append(f"it names none of the lines {', '.join(map(str, fault.either))}")
    return found

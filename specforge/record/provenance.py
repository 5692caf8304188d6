"""Where a record comes from: the state of the sources, the tool, its packages, and every input by its hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from specforge import __version__
from specforge.diagnostics import Diagnostic, Position, SpecForgeError
from specforge.kernel.comments import said_sha256
from specforge.record.history import git_state
from specforge.record.model import InputFile, Record, Sources
from specforge.roots import home, include_dirs, shipped
from specforge.spec.document import Document, load_document
from specforge.spec.load import Spec
from specforge.spec.tuning import Tunings

Role = Literal[
    "spec", "workload", "device", "model", "kernel", "template", "reference", "peers", "examples", "header", "tuning"
]
PACKAGES = (
    "cuda-bindings",
    "cuda-core",
    "gguf",
    "hypothesis",
    "jinja2",
    "ml_dtypes",
    "numpy",
    "nvidia-cuda-cccl",
    "nvidia-cuda-crt",
    "nvidia-cuda-nvrtc",
    "nvidia-cuda-runtime",
    "nvidia-ml-py",
    "pydantic",
    "quantiphy",
    "ruamel.yaml",
)
"""Those that can change a result or how it is read."""

_MARK = "shipped:"
_TIMED: tuple[Role, ...] = ("device", "kernel", "template", "peers", "header", "tuning")


def sources(spec: Path, inputs: Iterable[Path], commit: str | None) -> Sources:
    """The state of the sources that a spec belongs to.

    Without git, or where no repository tracks the spec, `dirty` is None and `commit` the one that was supplied. A tree
    is dirty where a tracked file outside results/ was changed, or where an input is not tracked.
    """
    found, dirty = git_state(spec, inputs, results=(home(spec) / "results",))
    return Sources(commit=found or commit, dirty=dirty, tool_version=__version__, tool_sha256=tool_sha256())


def tool_sha256() -> str:
    """One hash over SpecForge's own Python and headers and the shipped device headers, by path and content."""
    package = Path(__file__).resolve().parent.parent
    own = [
        path for path in package.rglob("*") if path.suffix in (".py", ".h") and package / "shipped" not in path.parents
    ]
    files = {f"specforge/{path.relative_to(package).as_posix()}": path for path in own}
    include = shipped() / "kernels" / "include"
    files |= {f"include/{path.relative_to(include).as_posix()}": path for path in include.rglob("*") if path.is_file()}
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{_sha256(files[name])}\n".encode())
    return whole.hexdigest()


def package_versions() -> dict[str, str]:
    """Versions of the packages that matter; one that is not installed is left out."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def input_files(spec: Spec, *tunings: Tunings) -> list[InputFile]:
    """Every file that a spec was made from, by hash: documents, headers, and all that a kernel's folder gives to it.

    `tunings` are those of the card that runs, where it is not the spec's own.
    """
    found: dict[str, InputFile] = {}

    def add(role: Role, path: Path, sha256: str, **said: str | None) -> None:
        name = _name(path, spec)
        found.setdefault(name, InputFile(role=role, path=name, sha256=sha256, **said))

    def add_code(role: Role, path: Path) -> None:
        add(role, path, _sha256(path), without_comments_sha256=_without_comments_sha256(path))

    for document in spec.documents:
        add(_role(document.data), document.path, document.sha256)
    for path in sorted({benchmark.kernel.folder for benchmark in spec.benchmarks if benchmark.kernel}):
        kernel = next(item.kernel for item in spec.benchmarks if item.kernel and item.kernel.folder == path)
        document = kernel.document
        add("kernel", document.path, document.sha256, without_mutants_sha256=_without_mutants_sha256(document))
        add_code("template", kernel.template)
        add("reference", kernel.reference, _sha256(kernel.reference))
        if kernel.peers is not None:
            add("peers", kernel.peers, _sha256(kernel.peers))
        if kernel.examples.is_file():
            add("examples", kernel.examples, _sha256(kernel.examples))
        for header in sorted(file for file in path.rglob("*") if file.suffix in (".cuh", ".h")):
            add_code("header", header)  # of its own, beside the template
    for folder in include_dirs(spec.roots):
        for header in sorted(path for path in folder.rglob("*") if path.is_file()):
            add_code("header", header)
    for document in (document for tuning in (spec.tunings, *tunings) for document in tuning.used()):
        add("tuning", document.path, document.sha256)
    return list(found.values())


def _without_mutants_sha256(document: Document) -> str:
    """SHA-256 of what a kernel.yaml says, in its order, less `equivalent_mutants`; comments say nothing.

    Unlike `Kernel.said_sha256` it covers peers, which are measured, what is called fast, which is a metric, and the
    order of keys, in which values are drawn.
    """
    said = {key: value for key, value in document.data.items() if key != "equivalent_mutants"}
    return hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()


def _without_comments_sha256(path: Path) -> str | None:
    """SHA-256 of what a template or a header says to a compiler; None of what is no text."""
    try:
        return said_sha256(path)
    except UnicodeDecodeError:
        return None


def input_paths(spec: Spec, *tunings: Tunings) -> list[Path]:
    """The files behind `input_files` that belong to the spec's own repository rather than to SpecForge."""
    return [locate(entry.path, spec.path) for entry in input_files(spec, *tunings) if not entry.path.startswith(_MARK)]


def locate(name: str, spec: Path) -> Path:
    """Where the file stands that a record of this spec calls so."""
    if name.startswith(_MARK):
        return shipped() / name.removeprefix(_MARK)
    return home(spec) / name


def changed_inputs(record: Record, spec: Path) -> list[Diagnostic]:
    """SF603 for every input that is gone or differs from what the record was made from.

    Comments may differ, and `equivalent_mutants`, where the record holds a digest that leaves them out.
    """
    found = []
    for entry in _changed(record, spec):
        path = locate(entry.path, spec)
        what = "has changed" if path.is_file() else "is gone"
        found.append(Diagnostic("SF603", f"the record is stale: its {entry.role} {what}", Position(path)))
    return found


def changed_since(record: Record, spec: Path) -> list[str]:
    """Names of the inputs that times hang on, and are gone or other than when the record was made.

    A sweep or a target that was changed is none of them: a recorded case says its own parameters.
    """
    return [entry.path for entry in _changed(record, spec) if entry.role in _TIMED]


def _changed(record: Record, spec: Path) -> Iterator[InputFile]:
    for entry in record.inputs:
        path = locate(entry.path, spec)
        if not path.is_file() or (_sha256(path) != entry.sha256 and not _says_the_same(entry, path)):
            yield entry


def _says_the_same(entry: InputFile, path: Path) -> bool:
    """Whether a file that changed differs in nothing that the record depends on; not so where none can tell."""
    if entry.without_comments_sha256 is not None:
        return _without_comments_sha256(path) == entry.without_comments_sha256
    if entry.without_mutants_sha256 is None:
        return False
    try:
        return _without_mutants_sha256(load_document(path)) == entry.without_mutants_sha256
    except SpecForgeError:
        return False


def check_sources(state: Sources) -> list[Diagnostic]:
    """SF604 for everything about the sources that keeps what they made from being published."""
    found = []
    if state.dirty:
        message = "the sources are not committed: a stranger could not run them"
        found.append(Diagnostic("SF604", message, hint="commit or undo every change, then run again"))
    if state.commit is None:
        hint = "run inside a git repository that tracks the spec, or name the commit in SPECFORGE_COMMIT"
        found.append(Diagnostic("SF604", "the commit of the sources is unknown", hint=hint))
    return found


def check_publishable(record: Record) -> list[Diagnostic]:
    """SF604 for everything that keeps a record from being published."""
    found = check_sources(record.sources)
    if not record.binaries:
        hint = "run without `--until validate` or `--until render`"
        found.append(Diagnostic("SF604", "nothing was compiled: there is nothing to publish", hint=hint))
    for binary in record.binaries:
        if not binary.flags or not binary.compiler:
            message = f"the flags or the compiler of a binary of {binary.kernel} are unknown"
            found.append(Diagnostic("SF604", message, hint="make the record again"))
    return found


def _role(data: dict[str, object]) -> Role:
    """What kind of file it is; the key that names it says so (a spec names its workload too, a workload its model)."""
    order: Sequence[Role] = ("spec", "workload", "model", "device")
    return next(role for role in order if role in data)


def _name(path: Path, spec: Spec) -> str:
    resolved, above = path.resolve(), home(spec.path)
    if resolved.is_relative_to(above):
        return resolved.relative_to(above).as_posix()
    if resolved.is_relative_to(shipped()):
        return _MARK + resolved.relative_to(shipped()).as_posix()
    return Path(os.path.relpath(resolved, above)).as_posix()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

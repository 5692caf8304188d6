"""Files that name one another: finding the one that is meant, and telling its kind."""

from __future__ import annotations

from pathlib import Path

from specforge.diagnostics import Position, fail, shorten, suggest
from specforge.roots import is_file, is_folder, shipped, tidy
from specforge.spec.device import DeviceFile
from specforge.spec.document import Document, Location, load_document
from specforge.spec.fields import Section
from specforge.spec.kernel import KernelFile
from specforge.spec.model import ModelFile
from specforge.spec.tuning import TuningFile
from specforge.spec.workload import SpecFile, WorkloadFile

KINDS: dict[str, type[Section]] = {
    "spec": SpecFile,
    "workload": WorkloadFile,
    "device": DeviceFile,
    "model": ModelFile,
    "kernel": KernelFile,
    "tuning": TuningFile,
}
"""The key that names a file also says what kind of file it is."""


def resolve(text: str, document: Document, location: Location, kind: str) -> Path:
    """A named file: relative to the file that names it, else among the shipped specs; raises SF401, SF002, SF005."""
    position = document.at(location)
    own = document.path.parent / text
    candidates = [own, shipped() / "specs" / text.replace("../", "")]
    for path in candidates:
        if is_file(path):
            if path.resolve() == document.path.resolve():
                raise fail("SF005", f"the file names itself as its {kind}", position, value=text)
            tidied = tidy(path)
            expect_kind(load_document(tidied), kind, position)
            return tidied
    if is_folder(own):
        raise fail("SF002", f"a {kind} file is due, this is a folder", position, value=text)
    folder = own.parent if is_folder(own.parent) else candidates[1].parent
    known = [f"{Path(text).parent / path.name}" for path in sorted(folder.glob("*.yaml"))] if is_folder(folder) else []
    message = f"no {kind} file {shorten(text)!r}, neither beside {document.path} nor among the shipped ones"
    raise fail("SF401", message, position, value=text, hint=suggest(text, known))


def expect_kind(document: Document, kind: str, position: Position | None = None) -> None:
    """Refuse a file whose keys are those of another kind, at the place that names it; one mistyped key is no reason."""
    keys = set(document.data)
    scores = {name: (len(keys & set(model.model_fields)), name in keys) for name, model in KINDS.items()}
    best = max(scores.values())
    if scores[kind] == best:
        return
    found = next(name for name, score in scores.items() if score == best)
    if found not in keys:
        return
    hint = "specforge check takes specs: files with `spec:`" if kind == "spec" else None
    message = f"a {kind} file is due, {document.path} is a {found} file"
    raise fail("SF005", message, position or document.at((found,), key=True), value=found, hint=hint)

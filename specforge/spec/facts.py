"""Devices and models, loaded and checked: every name that expressions may use, evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from specforge.diagnostics import Diagnostic, SpecForgeError, suggest
from specforge.expressions import Expression, ExpressionError, Scalar
from specforge.spec.device import DeviceFile, Facts
from specforge.spec.document import Document, load_document
from specforge.spec.fields import validate
from specforge.spec.interface import expression_diagnostic
from specforge.spec.model import ModelFile


@dataclass(frozen=True, slots=True)
class Device:
    """A card's file; `names` holds `device.*` in base units."""

    document: Document
    file: DeviceFile
    names: dict[str, Scalar]

    @property
    def architecture(self) -> str:
        """The architecture that NVRTC compiles for, such as `sm_120`."""
        return str(self.file.facts.architecture.value)


@dataclass(frozen=True, slots=True)
class Model:
    """A language model's file; `names` holds `model.*`: shapes and derived sizes."""

    document: Document
    file: ModelFile
    names: dict[str, Scalar]


def load_device(path: Path) -> Device:
    """Load a device file; sources must exist and the file be named after its device."""
    document = load_document(path)
    file = validate(document, DeviceFile)
    found = []
    for key in Facts.model_fields:
        fact = getattr(file.facts, key)
        if fact is not None and fact.source not in file.sources:
            found.append(_unknown_source(document, ("facts", key, "source"), fact.source, file.sources))
    found += _misnamed(document, "device", file.device)
    if found:
        raise SpecForgeError(*found)
    return Device(document, file, file.names())


def load_model(path: Path) -> Model:
    """Load a model file and evaluate its derived sizes in order."""
    document = load_document(path)
    file = validate(document, ModelFile)
    found = _misnamed(document, "model", file.model)
    for group, values in file.shapes.items():
        source = values.get("source")
        if not isinstance(source, str) or source not in file.sources:
            found.append(_unknown_source(document, ("shapes", group, "source"), str(source), file.sources))
        if values.get("certainty") not in ("A", "B", "C"):
            found.append(
                Diagnostic(
                    "SF204",
                    "a group of shapes states its certainty: A, B or C",
                    document.at(("shapes", group, "certainty"), key=True),
                )
            )
    names = file.shape_names()
    for name, derived in file.derived.items():
        try:
            names[name] = derived.value.evaluate(names)
        except ExpressionError as error:
            hint = suggest(error.name, names) if error.name else None
            found.append(expression_diagnostic(error, document, ("derived", name, "value"), hint))
            names[name] = 1
    if found:
        raise SpecForgeError(*found)
    return Model(document, file, {f"model.{name}": value for name, value in names.items()})


def _unknown_source(document: Document, location: tuple[str, ...], source: str, sources: dict[str, str]) -> Diagnostic:
    return Diagnostic(
        "SF204", "not an id of this file's `sources`", document.at(location), source, suggest(source, sources)
    )


def _misnamed(document: Document, key: str, name: str) -> list[Diagnostic]:
    if document.path.stem == name:
        return []
    return [
        Diagnostic(
            "SF206", f"the {key} is named {name!r} but its file {document.path.stem!r}", document.at((key,)), name
        )
    ]


def evaluate(value: object, names: dict[str, Scalar]) -> Scalar:
    """A literal as it is, or an expression evaluated."""
    return value.evaluate(names) if isinstance(value, Expression) else value  # type: ignore[return-value]  # as Value says

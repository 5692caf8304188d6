"""ruamel.yaml's reader, made strict: no anchors, tags or old versions, bounded depth and size, every fault marked."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, StringMark
from ruamel.yaml.events import AliasEvent, ScalarEvent
from ruamel.yaml.parser import Parser
from ruamel.yaml.scanner import Scanner, ScannerError

MAX_NESTING = 40
MAX_NODES = 20_000
"""Keys and values together; ruamel reads some 8,000 a second."""


class Refused(Exception):
    """Something that YAML allows and SpecForge does not; `code` is a diagnostic code."""

    def __init__(
        self, code: str, message: str, mark: StringMark, value: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.mark = mark
        self.value = value
        self.hint = hint


class _Scanner(Scanner):
    def scan_flow_scalar_non_spaces(self, double: Any, start_mark: Any) -> Any:  # noqa: ANN401 - ruamel's signature
        """Mark an escape such as \\UFFFFFFFF, which ruamel hands to chr() unchecked."""
        try:
            return super().scan_flow_scalar_non_spaces(double, start_mark)
        except (ValueError, OverflowError):
            raise ScannerError(None, None, "found an escape beyond Unicode", self.reader.get_mark()) from None


class _Composer(Composer):
    def __init__(self, loader: Any = None) -> None:  # noqa: ANN401 - ruamel's signature
        super().__init__(loader)
        self._nodes = 0

    def compose_document(self) -> Any:  # noqa: ANN401 - ruamel's signature
        """Refuse a file that asks for another version of YAML, in which `no` would mean false."""
        event = self.parser.peek_event()
        if event.version not in (None, (1, 2)):
            version = ".".join(map(str, event.version))
            raise Refused(
                "SF101", "SpecForge reads YAML 1.2", event.start_mark, f"%YAML {version}", "remove the directive"
            )
        return super().compose_document()

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401 - ruamel's signature
        """Refuse a node before it is built, so that nothing can grow first."""
        event = self.parser.peek_event()
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Refused("SF004", f"more than {MAX_NODES:,} keys and values in one file", event.start_mark)
        if event.anchor is not None:
            sign = "*" if isinstance(event, AliasEvent) else "&"
            hint = "name a file, or write the value out"
            raise Refused(
                "SF105", "anchors and aliases are not used here", event.start_mark, f"{sign}{event.anchor}", hint
            )
        if event.tag is not None:
            raise Refused("SF105", "YAML tags are not used here", event.start_mark, str(event.tag))
        if parent is not None and index is None:
            _check_key(event)
        if self.depth >= MAX_NESTING:
            raise Refused("SF101", f"nested deeper than {MAX_NESTING}", event.start_mark)
        return super().compose_node(parent, index)


def _check_key(event: Any) -> None:  # noqa: ANN401 - an event of ruamel
    if not isinstance(event, ScalarEvent):
        message = "a key must be text, not a list or a mapping"
        hint = (
            "a value that starts with a brace or bracket is YAML's own; there is no {{ }}: write `=` and an expression"
        )
        raise Refused("SF203", message, event.start_mark, hint=hint)
    if event.value == "<<" and event.implicit[0]:
        hint = "write the keys out, or name a file"
        raise Refused("SF105", "merge keys are not used here", event.start_mark, "<<", hint)


class _Constructor(RoundTripConstructor):
    def construct_object(self, node: Any, deep: bool = False) -> Any:  # noqa: ANN401 - ruamel's signature
        """Give faults of ruamel's scalar readers (30 February, `0x`) the place of the scalar; a lone `=` is a text."""
        if node.tag == "tag:yaml.org,2002:value":
            return str(node.value)
        try:
            return super().construct_object(node, deep)
        except MarkedYAMLError:
            raise
        except (ValueError, LookupError, TypeError, ArithmeticError) as error:
            text = (
                str(error)
                if isinstance(error, ValueError) and len(str(error)) < 60
                else "not a number that can be read"
            )
            raise ConstructorError(None, None, text, node.start_mark) from None


def strict_yaml() -> YAML:
    """A fresh reader; it raises Refused beside ruamel's own errors.

    Values know their places, as in a round trip; comments are passed over, for nothing writes these files back.
    """
    yaml = YAML(typ="rt")
    yaml.Scanner = _Scanner
    yaml.Parser = Parser
    yaml.Composer = _Composer
    yaml.Constructor = _Constructor
    yaml.allow_duplicate_keys = False
    return yaml

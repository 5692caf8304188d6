"""The few facts read from a cubin itself, a 64-bit little-endian ELF file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_SECTION = struct.Struct("<IIQQQQIIQQ")
_NOBITS = 8
_INFO_PREFIX = ".nv.info."
_MAX_THREADS = b"\x04\x05\x0c\x00"
"""Head of the attribute that holds `__launch_bounds__`: its format, its code, and 12 bytes of x, y, z."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its name, whether it takes room in the file, and its bytes."""

    name: str
    content: bytes


def read_sections(cubin: bytes) -> list[Section]:
    """The sections that take room in the file; raises ValueError where it is no such ELF file."""
    if cubin[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    try:
        (table,) = struct.unpack_from("<Q", cubin, 40)
        size, count, names_index = struct.unpack_from("<HHH", cubin, 58)
        headers = [_SECTION.unpack_from(cubin, table + index * size) for index in range(count)]
        names = cubin[headers[names_index][4] :]
    except (struct.error, IndexError, OverflowError) as error:
        raise ValueError(f"a damaged ELF file: {error}") from None
    return [
        Section(names[header[0] : names.index(b"\0", header[0])].decode(), cubin[header[4] : header[4] + header[5]])
        for header in headers
        if header[1] not in (0, _NOBITS)
    ]


def loadable_bytes(cubin: bytes) -> int:
    """The file's size without the contents of debug sections (DWARF, lines, embedded PTX, their relocations)."""
    return len(cubin) - sum(len(section.content) for section in read_sections(cubin) if _is_debug(section.name))


def _is_debug(name: str) -> bool:
    return name.removeprefix(".rela").removeprefix(".rel").startswith((".debug_", ".nv_debug"))


def launch_bounds(cubin: bytes) -> dict[str, int]:
    """Most threads per block of each entry that declares `__launch_bounds__`."""
    return dict(_launch_bounds(cubin))


def _launch_bounds(cubin: bytes) -> Iterator[tuple[str, int]]:
    for section in read_sections(cubin):
        if section.name.startswith(_INFO_PREFIX):
            for head, value in _attributes(section.content):
                if head == _MAX_THREADS:
                    x, y, z = struct.unpack("<III", value)
                    yield section.name.removeprefix(_INFO_PREFIX), x * y * z


def _attributes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Attributes of an info section: four bytes of head, and a payload where the format byte (4) says so."""
    position = 0
    while position + 4 <= len(content):
        head = content[position : position + 4]
        length = struct.unpack_from("<H", head, 2)[0] if head[0] == 4 else 0
        yield head, content[position + 4 : position + 4 + length]
        position += 4 + length

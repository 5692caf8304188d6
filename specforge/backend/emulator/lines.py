"""What is where in a library: the line that an address was compiled from, the variable that holds it."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

from specforge.backend.emulator.headers import RUNTIME

_HEADER = (".h", ".hpp", ".cuh", ".cc")


def find_line(library: Path, address: int) -> str:
    """`kernel.cu.j2:41` for the call that returns to this address from the library's start, or why it is not known.

    A line of the kernel itself, with the helper from a header that it stands in, where it stands in one.
    """
    tool = shutil.which("addr2line") or shutil.which("llvm-addr2line")
    if tool is None:
        return "line unknown: addr2line is not on the PATH"
    command = [tool, "-i", "-f", "-C", "-e", str(library), hex(address - 1)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "line unknown: addr2line failed"
    lines = answer.splitlines()
    helper = ""
    for function, place in zip(lines[::2], lines[1::2], strict=False):
        path, _, number = place.partition(" ")[0].rpartition(":")
        if not number.isdecimal() or not int(number) or _is_runtime(path):
            continue
        if path.endswith(_HEADER):
            helper = helper or f", in {function.partition('(')[0]} ({Path(path).name}:{number})"
            continue
        return f"{os.path.normpath(path)}:{number}{helper}"
    return helper[2:] or "line unknown"


def _is_runtime(path: str) -> bool:
    return path.startswith("/usr/") or Path(path).parts[-4:-1] == RUNTIME.parts[-3:]


def find_variable(library: Path, address: int) -> str | None:
    """``byte 4 of `table` (64 bytes)``: the variable of the library that an address from its start lies in."""
    for name, value, size, thread_local in _symbols(library.read_bytes()):
        if not thread_local and value <= address < value + size and (plain := _plain(name)):
            return f"byte {address - value:,} of `{plain}` ({size:,} bytes)"
    return None


def shared_arrays(library: Path) -> list[tuple[str, int, int]]:
    """Name, offset in the static shared memory and bytes of each shared variable of the kernels.

    What the compiler put beside one that has a constructor, to know whether it ran, has no name.
    """
    found = (
        ("" if name.startswith("_ZGV") else _plain(name), value, size)
        for name, value, size, thread_local in _symbols(library.read_bytes())
        if thread_local and size
    )
    return sorted({(name, value, size) for name, value, size in found if name != "shared_anchor"}, key=lambda it: it[1])


def _symbols(data: bytes) -> list[tuple[str, int, int, bool]]:
    """Name, value, size and whether it is thread-local, of every object in an ELF file of 64 bits."""
    if data[:5] != b"\x7fELF\x02":
        return []
    order = "<" if data[5] == 1 else ">"
    (offset,) = struct.unpack_from(order + "Q", data, 40)
    size, count = struct.unpack_from(order + "HH", data, 58)
    sections = [struct.unpack_from(order + "IIQQQQIIQQ", data, offset + i * size) for i in range(count)]
    found = []
    for _, kind, _, _, start, length, link, _, _, entry in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        names = sections[link][4]
        for at in range(start, start + length, entry):
            name, info, _, _, value, extent = struct.unpack_from(order + "IBBHQQ", data, at)
            if info & 15 in (1, 6):  # STT_OBJECT, STT_TLS
                end = data.index(b"\0", names + name)
                found.append((data[names + name : end].decode(errors="replace"), value, extent, info & 15 == 6))
    return found


def _plain(symbol: str) -> str:
    """The last name in a mangled one: `tile` of `_ZZ4swapE4tile`."""
    symbol = symbol.partition(".")[0]  # a compiler's own numbering
    name, at = symbol, 0
    while symbol.startswith("_Z") and (match := re.compile(r"\d+").search(symbol, at)):
        start, length = match.end(), int(match.group())
        if start + length > len(symbol):
            break
        name, at = symbol[start : start + length], start + length
    return name

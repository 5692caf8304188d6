"""A compiled kernel source, ready to launch on the CPU."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

KINDS = ("", "launch", "deadlock", "shuffle", "barrier", "trap", "assert", "shared")

Triple = tuple[int, int, int]


class EmulationFault(Exception):
    """A launch that the emulator refused or stopped.

    `kind` is `launch` (refused before a thread ran), `deadlock`, `shuffle`, `barrier`, `trap`, `assert` or `shared`;
    `block` and `thread` say where, when it was in a thread.
    """

    def __init__(self, kind: str, message: str, entry: str, block: Triple | None, thread: Triple | None) -> None:
        where = "" if block is None else f" [block {block}" + ("]" if thread is None else f", thread {thread}]")
        super().__init__(f"{entry}: {kind}: {message}{where}")
        self.kind = kind
        self.message = message
        self.entry = entry
        self.block = block
        self.thread = thread


class _Launch(ctypes.Structure):
    """Mirrors `Launch` of runtime/emulator_scheduler.h."""

    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint64),
        ("schedule", ctypes.c_uint64),
        ("fault_block", ctypes.c_uint * 3),
        ("fault_thread", ctypes.c_uint * 3),
        ("message", ctypes.c_char * 4096),
    ]


class EmulatedModule:
    """The entries of one shared library made by `compile_host`.

    Launches of one library run one at a time. After a fault the module can be launched again. The library is code that
    may crash: load it in a process that may be lost. `close` gives back the memory of the threads' stacks.
    """

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self.path = library
        self._finalizer = weakref.finalize(self, self._library.specforge_emulator_release)

    def close(self) -> None:
        """Gives the stacks' memory back; a later launch maps it again."""
        self._library.specforge_emulator_release()

    def launch(
        self,
        entry: str,
        grid: Triple,
        block: Triple,
        shared_bytes: int,
        arguments: Sequence[ctypes._SimpleCData[Any] | int],
        *,
        schedule: int = 0,
    ) -> None:
        """Runs every thread of the grid to its end.

        An argument is a ctypes scalar, or an int for a pointer to host memory. `shared_bytes` is the dynamic shared
        memory of a block. `schedule` orders blocks, warps and lanes: 0 natural, 1 reversed, any other shuffled. Raises
        EmulationFault, TypeError for arguments that the entry does not take, and AttributeError for an entry that the
        library has not.
        """
        if shared_bytes < 0:
            raise EmulationFault("launch", f"dynamic shared memory is negative: {shared_bytes}", entry, None, None)
        values = [ctypes.c_void_p(value) if isinstance(value, int) else value for value in arguments]
        self._check_arguments(entry, values)
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        request = _Launch(_limited(grid), _limited(block), min(shared_bytes, 2**63), schedule & (2**64 - 1))
        run = getattr(self._library, f"specforge_emulator_run_{entry}")
        code = run(ctypes.byref(request), pointers)
        if code != 0:
            kind = KINDS[code]
            inside = kind != "launch"
            fault_block = (request.fault_block[0], request.fault_block[1], request.fault_block[2])
            fault_thread = (request.fault_thread[0], request.fault_thread[1], request.fault_thread[2])
            raise EmulationFault(
                kind,
                request.message.decode(errors="replace"),
                entry,
                fault_block if inside else None,
                fault_thread if inside and kind != "shared" else None,
            )

    def parameters(self, entry: str) -> list[tuple[str, int]]:
        """Kind and bytes of each parameter: `p` a pointer, `i` an integer, `f` floating point, `x` any other type."""
        describe = getattr(self._library, f"specforge_emulator_signature_{entry}")
        describe.restype = ctypes.c_char_p
        signature = describe().decode()
        count = len(signature) // 2
        return [(kind, ord(size) - ord("0")) for kind, size in zip(signature[:count], signature[count:], strict=True)]

    def _check_arguments(self, entry: str, values: Sequence[ctypes._SimpleCData[Any]]) -> None:
        parameters = self.parameters(entry)
        if len(values) != len(parameters):
            raise TypeError(f"{entry} takes {len(parameters)} arguments, not {len(values)}")
        for position, ((kind, size), value) in enumerate(zip(parameters, values, strict=True)):
            given = _kind(value)
            if (kind, size) != (given, ctypes.sizeof(value)):
                raise TypeError(
                    f"argument {position} of {entry} is {_NAMES[kind]} of {size} bytes, "
                    f"not {_NAMES[given]} of {ctypes.sizeof(value)}"
                )


_NAMES = {"p": "a pointer", "i": "an integer", "f": "a floating-point number", "x": "an object"}


def _kind(value: ctypes._SimpleCData[Any]) -> str:
    code = getattr(type(value), "_type_", "")
    if code in ("P", "z", "Z"):
        return "p"
    if code in ("f", "d"):
        return "f"
    return "i" if isinstance(code, str) and code and code in "?bBhHiIlLqQ" else "x"


def _limited(values: Triple) -> Triple:
    """Clamped to what an unsigned int holds; the runtime refuses values out of a launch's range."""
    x, y, z = (min(max(value, 0), 2**32 - 1) for value in values)
    return x, y, z

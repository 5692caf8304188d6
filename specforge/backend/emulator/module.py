"""A compiled kernel source, ready to launch on the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specforge.backend.emulator.lines import find_line, find_variable, shared_arrays

KINDS = (
    "", "launch", "deadlock", "shuffle", "barrier", "trap", "assert", "shared",
    "bounds", "read-only", "uninitialised", "race", "alignment", "overflow",
)  # fmt: skip

Triple = tuple[int, int, int]


class EmulationFault(Exception):
    """A launch that the emulator refused or stopped.

    `kind` is `launch` (refused before a thread ran), `deadlock`, `shuffle`, `barrier`, `trap`, `assert` or `shared`; of
    a sanitized library also `bounds` (an access outside of what it was given), `read-only` (a write to an input or a
    constant), `uninitialised` (a read of what nothing wrote), `race`, `alignment` or `overflow`. `block` and `thread`
    say where, when it was in a thread.
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
        ("dependent", ctypes.c_uint),
        ("fault_block", ctypes.c_uint * 3),
        ("fault_thread", ctypes.c_uint * 3),
        ("places", ctypes.c_uint32 * 2),
        ("variable", ctypes.c_uint64),
        ("message", ctypes.c_char * 4096),
        ("before", ctypes.c_void_p),
        ("run_before", ctypes.c_void_p),
        ("arguments_before", ctypes.c_void_p),
        ("started", ctypes.c_uint),
        ("fault_depth", ctypes.c_uint),
    ]


@dataclass(frozen=True, slots=True)
class Call:
    """A launch as `EmulatedModule.launch` takes it."""

    entry: str
    grid: Triple
    block: Triple
    shared_bytes: int
    arguments: Sequence[ctypes._SimpleCData[Any] | int]
    dependent: bool = False


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A checked launch, and what must live as long as it."""

    entry: str
    request: _Launch
    pointers: ctypes.Array[ctypes.c_void_p]
    values: Sequence[ctypes._SimpleCData[Any]]


class _Watched(ctypes.Structure):
    """Mirrors `Watched` of runtime/emulator_regions.h."""

    _fields_ = [
        ("address", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("before", ctypes.c_uint64),
        ("after", ctypes.c_uint64),
        ("element", ctypes.c_uint32),
        ("writable", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
    ]


class _SharedArray(ctypes.Structure):
    """Mirrors `SharedArray` of runtime/emulator_regions.h."""

    _fields_ = [("offset", ctypes.c_uint64), ("bytes", ctypes.c_uint64), ("name", ctypes.c_char_p)]


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory that a kernel may touch: where its data starts, its bytes, the guard bytes around, an element's bytes.

    What is `writable` holds nothing to be read before it was written, unless it is `given` too: that is updated in
    place. What is not writable holds an input.
    """

    name: str
    address: int
    nbytes: int
    element: int
    writable: bool
    before: int = 0
    after: int = 0
    given: bool = False

    @property
    def access(self) -> int:
        """As `Watched` of runtime/emulator_regions.h has it."""
        return 0 if not self.writable else 2 if self.given else 1


class EmulatedModule:
    """The entries of one shared library made by `compile_host`.

    Launches of one library run one at a time. After a fault the module can be launched again. The library is code that
    may crash: load it in a process that may be lost. `close` gives back the memory of the threads' stacks; a module
    that is merely dropped keeps it: another one of the same library may be at work, and shares what it watches.
    """

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self.path = library
        self._library.specforge_emulator_sanitize.restype = ctypes.c_char_p
        self.sanitize = self._library.specforge_emulator_sanitize().decode()
        """What the library was built to find: `off`, `shadow` or `address`."""
        self._watched: object = None
        self._arrays = self._place_arrays() if self.sanitize != "off" else None

    def close(self) -> None:
        """Gives the stacks' memory back; a later launch maps it again."""
        self._library.specforge_emulator_release()

    def _place_arrays(self) -> object:
        """Tells the library where its shared variables are; returns what it keeps the names in."""
        found = shared_arrays(self.path)
        arrays = (_SharedArray * len(found))(*(_SharedArray(at, size, name.encode()) for name, at, size in found))
        self._library.specforge_emulator_arrays(arrays, len(found))
        return arrays

    def watch(self, buffers: Sequence[Buffer]) -> None:
        """Before the launches of a case: all memory that they may touch; what was written there before does not count.

        Does nothing for a library that is not sanitized; one that is checks memory of the caller only after this.
        Raises MemoryError.
        """
        if self.sanitize == "off":
            return
        watched = (_Watched * len(buffers))(
            *(_Watched(b.address, b.nbytes, b.before, b.after, b.element, b.access, b.name.encode()) for b in buffers)
        )
        self._watched = watched  # the library keeps the names
        if not self._library.specforge_emulator_watch(watched, len(buffers)):
            raise MemoryError("no memory to keep track of what a kernel touches")

    def launch(
        self,
        entry: str,
        grid: Triple,
        block: Triple,
        shared_bytes: int,
        arguments: Sequence[ctypes._SimpleCData[Any] | int],
        *,
        schedule: int = 0,
        dependent: bool = False,
    ) -> None:
        """Runs every thread of the grid to its end.

        An argument is a ctypes scalar, or an int for a pointer to host memory. `shared_bytes` is the dynamic shared
        memory of a block. `schedule` orders blocks, warps and lanes: 0 natural, 1 reversed, any other shuffled. Threads
        of a `dependent` launch start without having seen what the launch before it did. Raises EmulationFault,
        TypeError for arguments that the entry does not take, and AttributeError for an entry that the library has not.
        """
        self._run(self._prepare(Call(entry, grid, block, shared_bytes, arguments, dependent), schedule), ())

    def launch_all(self, calls: Sequence[Call], *, schedule: int = 0) -> None:
        """Runs the launches of a case as a card may order them; see `launch`.

        A dependent launch starts before the one ahead of it and runs that when one of its threads first waits, or
        leaves it for after its end. A sanitized library runs all in order: it knows what a thread has not seen.
        """
        prepared = [self._prepare(call, schedule) for call in calls]
        start = 0
        for end in range(1, len(calls) + 1):
            if end < len(calls) and calls[end].dependent and self.sanitize != "shadow":
                self._link(prepared[end], prepared[end - 1])
                continue
            for place in reversed(range(start, end)):
                if not prepared[place].request.started:
                    self._run(prepared[place], [launch.entry for launch in prepared[start:place]])
            start = end

    def _link(self, later: _Prepared, earlier: _Prepared) -> None:
        run = getattr(self._library, f"specforge_emulator_run_{earlier.entry}")
        later.request.before = ctypes.addressof(earlier.request)
        later.request.run_before = ctypes.cast(run, ctypes.c_void_p).value
        later.request.arguments_before = ctypes.addressof(earlier.pointers)

    def _prepare(self, call: Call, schedule: int) -> _Prepared:
        if call.shared_bytes < 0:
            message = f"dynamic shared memory is negative: {call.shared_bytes}"
            raise EmulationFault("launch", message, call.entry, None, None)
        values = [ctypes.c_void_p(value) if isinstance(value, int) else value for value in call.arguments]
        self._check_arguments(call.entry, values)
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        sizes = min(call.shared_bytes, 2**63), schedule & (2**64 - 1)
        request = _Launch(_limited(call.grid), _limited(call.block), *sizes, call.dependent)
        return _Prepared(call.entry, request, pointers, values)

    def _run(self, prepared: _Prepared, before: Sequence[str]) -> None:
        """Runs one launch; `before` names those ahead of it that may run within it."""
        request = prepared.request
        run = getattr(self._library, f"specforge_emulator_run_{prepared.entry}")
        code = run(ctypes.byref(request), prepared.pointers)
        if code != 0:
            kind = KINDS[code]
            inside = kind != "launch"
            fault_block = (request.fault_block[0], request.fault_block[1], request.fault_block[2])
            fault_thread = (request.fault_thread[0], request.fault_thread[1], request.fault_thread[2])
            raise EmulationFault(
                kind,
                self._explain(request),
                [*before, prepared.entry][-1 - request.fault_depth],
                fault_block if inside else None,
                fault_thread if inside and kind != "shared" else None,
            )

    def _explain(self, request: _Launch) -> str:
        """The runtime's message, with lines and variables in place of addresses."""
        message: str = request.message.decode(errors="replace")
        for number, address in enumerate(request.places):
            sign = chr(1 + number)
            if sign in message:
                message = message.replace(sign, f"({find_line(self.path, address)})")
        if "\3" in message:
            message = message.replace("\3", find_variable(self.path, request.variable) or "a variable of the kernel")
        return message

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

"""Which faults a library is built to find, and the compiler's flags for each way of looking.

`shadow` finds all but what runs over the end of a local array through a pointer. `address` finds that, but neither
races nor reads of what nothing wrote. Both use the compiler's instrumentation with the runtime's own functions behind
it: no sanitizer library is needed.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from specforge.backend.emulator.compiler import HostCompiler

Sanitize = Literal["off", "shadow", "address"]
MODES: tuple[Sanitize, ...] = get_args(Sanitize)

# What C++ leaves undefined and a card need not do either; shifting a negative number to the left is well defined there.
_UNDEFINED = "-fsanitize=alignment,signed-integer-overflow,shift-exponent,bounds,integer-divide-by-zero"
_ALWAYS = ["-g1", "-gdwarf-4", _UNDEFINED, "-fno-sanitize-recover=all", "-fno-wrapv"]
# Optimisations that read memory which the source does not read then: such a read may be a race, or of nothing written.
_GCC = ["-fno-hoist-adjacent-loads", "-fno-tree-loop-if-convert", "-fno-tree-loop-im", "-fno-code-hoisting"]
# A copy of 16 bytes taken apart would be watched four times; what is passed by reference to a function that is not
# inlined has an address, and would be watched like memory.
_GCC += ["-fno-tree-sra", *(f"--param={name}=9000" for name in ("max-inline-insns-single", "large-function-growth"))]
_GCC += ["--param=large-stack-frame-growth=9000"]
_CLANG = ["-fno-sanitize=local-bounds"]  # those would stop the process

_OWN = {
    ("shadow", "gcc"): ["--param=tsan-distinguish-volatile=1", "--param=tsan-instrument-func-entry-exit=0"],
    ("shadow", "clang"): [
        part
        for option in ("distinguish-volatile", "instrument-read-before-write")
        for part in ("-mllvm", f"-tsan-{option}=1")
    ]
    + ["-mllvm", "-tsan-instrument-func-entry-exit=0"],
    ("address", "gcc"): [
        f"--param=asan-{option}=0" for option in ("instrumentation-with-call-threshold", "globals", "use-after-return")
    ],
    ("address", "clang"): [
        part
        for option in ("instrumentation-with-call-threshold", "globals")
        for part in ("-mllvm", f"-asan-{option}=0")
    ]
    + ["-fsanitize-address-use-after-return=never"],
}
_FILLS = {"gcc": 12, "clang": 8}  # the first versions that fill locals
_ROOM = 256  # bytes behind each shared array


def runtime_flags(mode: Sanitize) -> list[str]:
    """More flags for what knows of the sanitizer and is not watched by it."""
    known = {
        "off": [],
        "shadow": ["-DSPECFORGE_SHADOW=1"],
        "address": ["-DSPECFORGE_SHADOW=1", "-DSPECFORGE_ADDRESS=1"],
    }
    return known[mode]


def kernel_flags(mode: Sanitize, compiler: HostCompiler) -> list[str]:
    """More flags for the kernel itself."""
    if mode == "off":
        return []
    kind = compiler.kind
    instrument = "-fsanitize=thread" if mode == "shadow" else "-fsanitize=address"
    flags = [*runtime_flags(mode), instrument, *_ALWAYS, *(_GCC if kind == "gcc" else _CLANG), *_OWN[mode, kind]]
    major = re.search(r"\b(\d+)\.\d+", compiler.version)
    if major is not None and int(major[1]) >= _FILLS[kind]:
        flags.append("-ftrivial-auto-var-init=pattern")  # a local that nothing has set is not 0 by chance
    return flags


def watch_copies(assembly: str) -> str:
    """Copies that a compiler makes calls of go to the runtime, which checks them, and not to the C library."""
    return re.sub(r"\b(?:__asan_)?(mem(?:cpy|move|set))\b(?!:)", r"specforge_\1", assembly)


def separate_arrays(assembly: str) -> str:
    """Room behind each shared array, so that what runs over its end does not end up in the next."""
    return re.sub(
        r"(\.section\s+\.tbss.*?)(?=^\s*\.(?:section|text|data|bss|globl\s+\w+\s*$)|\Z)",
        lambda found: re.sub(r"^(\s*\.zero\s+\d+)", rf"\1\n\t.zero {_ROOM}", found[1], flags=re.MULTILINE),
        assembly,
        flags=re.MULTILINE | re.DOTALL,
    )

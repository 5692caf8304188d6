"""Which headers a kernel source includes, and a digest of what they say."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

RUNTIME = Path(__file__).parent / "runtime"
CUDA_HEADERS = (
    "cuda_bf16.h",
    "cuda_bf16.hpp",
    "cuda_fp16.h",
    "cuda_fp16.hpp",
    "cuda_runtime_api.h",
    "vector_functions.h",
    "vector_functions.hpp",
    "vector_types.h",
)

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', re.MULTILINE)


def included_files(source: bytes, include_dirs: Sequence[Path], cuda_include_dirs: Sequence[Path]) -> list[Path]:
    """Every file that the source may include, at any depth, in a stable order.

    Conditions are not evaluated, so a header under a false `#if` counts too. Headers found in `cuda_include_dirs` count
    but are not read further: CUDA_HEADERS stands for their version. Names found nowhere belong to the system.
    """
    found: dict[Path, None] = {}
    pending: list[tuple[bytes, Path | None]] = [(source, None)]
    while pending:
        text, folder = pending.pop()
        for quote, name in _INCLUDE.findall(text):
            beside = [folder] if quote == b'"' and folder is not None else []
            path = _resolve(name.decode(), [*beside, *include_dirs])
            if path is not None and path not in found:
                found[path] = None
                pending.append((path.read_bytes(), path.parent))
            elif path is None and (path := _resolve(name.decode(), cuda_include_dirs)) is not None:
                found[path] = None
    return sorted(found)


def _resolve(name: str, folders: Iterable[Path]) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def runtime_files() -> list[Path]:
    """The emulator's own C++ files."""
    return sorted(path for path in RUNTIME.iterdir() if path.suffix in (".h", ".cc"))


def cuda_files(cuda_include_dirs: Sequence[Path]) -> list[Path]:
    """The headers of NVIDIA's that the runtime builds on. Raises FileNotFoundError naming one that is missing."""
    paths: list[Path] = []
    for name in CUDA_HEADERS:
        path = _resolve(name, cuda_include_dirs)
        if path is None:
            searched = ", ".join(map(str, cuda_include_dirs)) or "no folder"
            raise FileNotFoundError(f"{name} is not in {searched}: install nvidia-cuda-runtime")
        paths.append(path)
    return paths


def digest(parts: Iterable[str | bytes | Path]) -> str:
    """Hex digest of the parts in order; a path stands for its name and its content."""
    total = hashlib.sha256()
    for part in parts:
        label, content = (part.name.encode(), part.read_bytes()) if isinstance(part, Path) else (b"", part)
        data = content.encode() if isinstance(content, str) else content
        total.update(b"%d %d " % (len(label), len(data)) + label)
        total.update(data)
    return total.hexdigest()

"""Taking what is built out of the llama-cpp-python source package, with a note of where it comes from.

python -m benchmarks.llama_cpp.source llama_cpp_python-VERSION.tar.gz FOLDER
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.llama_cpp.build import needed

NOTE = "SOURCE.json"


def take(package: Path, folder: Path) -> dict[str, str]:
    """Unpack the files that the build reads; returns what the note says: package, version, hash and commit."""
    with tempfile.TemporaryDirectory() as temporary, tarfile.open(package) as archive:
        whole = archive.next()
        if whole is None:
            raise ValueError(f"{package} is empty")
        top = whole.name.split("/")[0]
        tree = f"{top}/vendor/llama.cpp"
        wanted = (f"{tree}/ggml/", f"{tree}/tests/test-backend-ops.cpp", f"{tree}/LICENSE", f"{top}/CHANGELOG.md")
        members = [member for member in archive.getmembers() if member.name.startswith(wanted)]
        archive.extractall(temporary, members, filter="data")
        source = Path(temporary, tree)
        for path in [*needed(source), Path("ggml/CMakeLists.txt")]:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((source / path).read_bytes())
        note = {
            "package": top.rpartition("-")[0],
            "version": top.rpartition("-")[2],
            "sha256": hashlib.sha256(package.read_bytes()).hexdigest(),
            **identify(Path(temporary, top, "CHANGELOG.md").read_text(), (source / "ggml/CMakeLists.txt").read_text()),
        }
    (folder / NOTE).write_text(json.dumps(note, indent=1) + "\n")
    return note


def identify(changelog: str, cmake: str) -> dict[str, str]:
    """The commit of llama.cpp, which the package names first in its changelog, and ggml's version."""
    commit = re.search(r"llama\.cpp@([0-9a-f]{7,40})", changelog)
    parts = [re.search(rf"set\(GGML_VERSION_{part} (\d+)\)", cmake) for part in ("MAJOR", "MINOR", "PATCH")]
    version = ".".join(part[1] for part in parts if part)
    return {"commit": commit[1] if commit else "unknown", "ggml": version or "unknown"}


if __name__ == "__main__":
    print(json.dumps(take(Path(sys.argv[1]), Path(sys.argv[2])), indent=1))

"""Loading a peers.py where it runs."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from specforge.kernel.peers import Peer, load_peer

TEXT = """\
from specforge.kernel.peers import Peer


def make(tensors, parameters, stream):
    return lambda: 7


PEERS = {"plain": make, "wrapped": Peer(make, tolerance_times=4, reason="because", packages=("numpy",))}
"""


def load(path: Path, text: str, name: str) -> Peer:
    path.write_text(text)
    return load_peer(path, name, hashlib.sha256(text.encode()).hexdigest())


def test_both_forms(tmp_path):
    plain = load(tmp_path / "peers.py", TEXT, "plain")
    assert (plain.tolerance_times, plain.reason, plain.packages) == (1.0, None, ("torch",))
    assert plain.make({}, {}, None)() == 7
    wrapped = load(tmp_path / "peers.py", TEXT, "wrapped")
    assert (wrapped.tolerance_times, wrapped.reason, wrapped.packages) == (4, "because", ("numpy",))


def test_nothing_is_written_beside_it_and_its_source_can_be_found(tmp_path):
    import inspect

    peer = load(tmp_path / "peers.py", TEXT, "plain")
    assert [entry.name for entry in tmp_path.iterdir()] == ["peers.py"]
    assert "return lambda: 7" in inspect.getsource(peer.make)
    assert f"peers_{tmp_path.name}" in sys.modules


def test_another_file_than_the_recorded_one(tmp_path):
    (tmp_path / "peers.py").write_text(TEXT)
    with pytest.raises(ValueError, match="no longer the file"):
        load_peer(tmp_path / "peers.py", "plain", hashlib.sha256(b"").hexdigest())


def test_a_name_that_is_not_there(tmp_path):
    with pytest.raises(KeyError):
        load(tmp_path / "peers.py", TEXT, "other")

"""What is no readable file, or one beyond a limit, is refused at once and without hanging."""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from specforge.diagnostics import SpecForgeError
from specforge.spec.document import MAX_BYTES, load_document, read_text
from specforge.spec.strict import MAX_NESTING
from tests.spec.documents import place, read, refusal


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fail instead of hanging."""

    def stop(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"still reading after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_missing_file_names_its_neighbour(tmp_path):
    (tmp_path / "rtx5090.yaml").write_text("a: 1\n")
    finding = refusal(tmp_path / "rtx509.yaml")
    assert finding.code == "SF001"
    assert finding.hint == f"did you mean {tmp_path / 'rtx5090.yaml'}?"
    finding = refusal(tmp_path / "nowhere" / "x.yaml")
    assert finding.code == "SF001"
    assert "does not exist either" in str(finding.hint)


def test_a_folder(tmp_path):
    finding = refusal(tmp_path)
    assert (finding.code, place(finding)) == ("SF002", (1, 1))
    assert "inside it" in str(finding.hint)


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with within(5):
        assert refusal(tmp_path / "pipe.yaml").code == "SF002"


def test_a_socket_does_not_hang(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server, within(5):
        server.bind("socket.yaml")
        assert refusal(Path("socket.yaml")).code == "SF002"


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/dev/stdin"])
def test_a_device_does_not_hang(path):
    with within(5), pytest.raises(SpecForgeError) as caught:
        load_document(Path(path))
    assert caught.value.diagnostics[0].code in ("SF002", "SF106")  # standard input may be a file


def test_links_in_a_circle(tmp_path):
    (tmp_path / "a.yaml").symlink_to(tmp_path / "b.yaml")
    (tmp_path / "b.yaml").symlink_to(tmp_path / "a.yaml")
    assert refusal(tmp_path / "a.yaml").code == "SF001"


def test_a_name_too_long_or_with_nul(tmp_path):
    assert refusal(tmp_path / ("a" * 300)).code == "SF001"
    assert refusal(tmp_path / "a\0b").code == "SF001"


def test_a_file_below_a_file(file):
    file.write_text("a: 1\n")
    assert refusal(file / "b.yaml").code == "SF001"


def test_an_unreadable_file(file):
    file.write_text("a: 1\n")
    file.chmod(0)
    try:
        if os.access(file, os.R_OK):
            assert load_document(file).data == {"a": 1}  # root may read anything
        else:
            finding = refusal(file)
            assert (finding.code, place(finding)) == ("SF001", (1, 1))
            assert "denied" in finding.message
    finally:
        file.chmod(stat.S_IRUSR | stat.S_IWUSR)


def test_a_read_that_fails(file, monkeypatch):
    file.write_text("a: 1\n")

    def broken(self: Path, *_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", broken)
    finding = refusal(file)
    assert finding.code == "SF001"
    assert "Input/output error" in finding.message


def test_ten_megabytes_are_refused_at_once(file):
    start = time.perf_counter()
    finding = refusal(file, b"# filler\n" * (10 * 2**20 // 9))
    assert (finding.code, place(finding)) == ("SF004", (1, 1))
    assert time.perf_counter() - start < 0.5
    assert "10,485,7" in finding.message


def test_the_limit_of_size_itself_is_readable(file):
    assert read(file, "a: 1\n" + "#" * (MAX_BYTES - 5)).data == {"a": 1}
    assert refusal(file, "a: 1\n" + "#" * (MAX_BYTES - 4)).code == "SF004"


def test_the_limit_of_depth_itself_is_readable(file):
    fits = MAX_NESTING - 1
    assert read(file, "a: " + "[" * (fits - 1) + "]" * (fits - 1) + "\n").data["a"] is not None
    assert refusal(file, "a: " + "[" * (fits + 1) + "]" * (fits + 1) + "\n").code == "SF101"


def test_read_text_shares_the_checks(file):
    file.write_text("not: [yaml")
    assert read_text(file) == "not: [yaml"
    file.write_bytes(b"\xff")
    with pytest.raises(SpecForgeError, match="SF003"):
        read_text(file)

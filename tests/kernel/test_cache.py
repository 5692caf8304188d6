from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from specforge.diagnostics import SpecForgeError
from specforge.kernel.cache import Cache, key_of

FILES = {"kernel.cubin": b"\x7fELF" + bytes(range(256)), "log.txt": b""}


def contents(entry):
    return {path.name: path.read_bytes() for path in entry.folder.iterdir() if path.name != "meta.json"}


def test_what_was_published_is_found(tmp_path):
    cache = Cache(tmp_path / "deep" / "cache")
    assert cache.find("k") is None
    made = cache.publish("k", FILES, {"n": 1})
    found = cache.find("k")
    assert found == made
    assert contents(found) == FILES
    assert found.facts == {"n": 1}
    assert os.listdir(cache.folder) == ["k"]


def test_a_first_entry_stands(tmp_path):
    cache = Cache(tmp_path)
    cache.publish("k", FILES, {"by": "first"})
    assert cache.publish("k", FILES, {"by": "second"}).facts == {"by": "first"}


def damage_byte(folder):
    path = folder / "kernel.cubin"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def damage_fact(folder):
    path = folder / "meta.json"
    path.write_text(path.read_text().replace('"n": 1', '"n": 2'))


DAMAGES = {
    "a changed byte": damage_byte,
    "a shortened file": lambda folder: (folder / "kernel.cubin").write_bytes(b""),
    "a missing file": lambda folder: (folder / "log.txt").unlink(),
    "no meta": lambda folder: (folder / "meta.json").unlink(),
    "half a meta": lambda folder: (folder / "meta.json").write_bytes((folder / "meta.json").read_bytes()[:40]),
    "a changed fact": damage_fact,
    "meta of another shape": lambda folder: (folder / "meta.json").write_text("[1]"),
    "meta with odd values": lambda folder: (folder / "meta.json").write_text(
        json.dumps({"facts": 1, "files": 2, "sha256": 3})
    ),
    "binary meta": lambda folder: (folder / "meta.json").write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_entry_counts_as_absent_and_is_replaced(tmp_path, name):
    cache = Cache(tmp_path)
    DAMAGES[name](cache.publish("k", FILES, {"n": 1}).folder)
    assert cache.find("k") is None
    assert contents(cache.publish("k", FILES, {"n": 1})) == FILES
    assert cache.find("k") is not None
    assert os.listdir(tmp_path) == ["k"]


def test_a_file_in_the_place_of_an_entry_is_replaced(tmp_path):
    (tmp_path / "k").write_text("not a folder")
    cache = Cache(tmp_path)
    assert cache.find("k") is None
    assert contents(cache.publish("k", FILES, {})) == FILES


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecForgeError, match=r"SF701.*\n.*SPECFORGE_STATE"):
        Cache(tmp_path / "file" / "cache").publish("k", FILES, {})


def test_leftovers_of_killed_builders_go_after_a_day(tmp_path):
    cache = Cache(tmp_path)
    for name, age in (("old", 100_000), ("young", 10)):
        (tmp_path / f".new-{name}").mkdir()
        os.utime(tmp_path / f".new-{name}", (time.time() - age,) * 2)
    cache.publish("k", FILES, {})
    assert sorted(os.listdir(tmp_path)) == [".new-young", "k"]


def test_a_failed_write_leaves_nothing(tmp_path):
    cache = Cache(tmp_path)
    with pytest.raises(TypeError):
        cache.publish("k", {"a": b"x", "b": "not bytes"}, {})
    assert os.listdir(tmp_path) == []


def test_keys_follow_values_and_not_their_order():
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": "1"})


def hammer(folder, rounds, outcome):
    cache = Cache(folder)
    for number in range(rounds):
        key = f"k{number % 3}"
        entry = cache.publish(key, {"data": key.encode() * 5000}, {"key": key})
        if number % 5 == 0:
            (entry.folder / "data").write_bytes(b"damaged")
        found = cache.find(key)
        if found is not None and found.facts != {"key": key}:
            outcome.put(f"{key} holds {found.facts}")
    outcome.put("done")


def test_processes_that_publish_and_damage_the_same_keys_leave_whole_entries(tmp_path):
    context = multiprocessing.get_context("spawn")
    outcome = context.Queue()
    workers = [context.Process(target=hammer, args=(tmp_path, 40, outcome)) for _ in range(3)]
    for worker in workers:
        worker.start()
    said = [outcome.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert said == ["done"] * 3
    for key in ("k0", "k1", "k2"):
        entry = Cache(tmp_path).publish(key, {"data": key.encode() * 5000}, {"key": key})
        assert (entry.folder / "data").read_bytes() == key.encode() * 5000
    assert sorted(os.listdir(tmp_path)) == ["k0", "k1", "k2"]


def test_a_reader_never_sees_half_an_entry(tmp_path):
    stop = threading.Event()
    seen = []

    def read():
        while not stop.is_set():
            found = Cache(tmp_path).find("k")
            if found is not None:
                seen.append(found.facts)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        entry = Cache(tmp_path).publish("k", {"data": bytes(10_000)}, {"whole": True})
        if number % 2:
            (entry.folder / "data").unlink()
    stop.set()
    reader.join()
    assert seen
    assert all(facts == {"whole": True} for facts in seen)


class CacheMachine(RuleBasedStateMachine):
    """The cache against a dictionary: damage empties a place, publishing fills only what is empty."""

    def __init__(self):
        super().__init__()
        import tempfile

        self.scratch = tempfile.TemporaryDirectory()
        self.cache = Cache(os_path(self.scratch.name))
        self.model = {}

    keys = st.sampled_from(["a", "b"])

    @rule(key=keys, content=st.binary(max_size=8), fact=st.integers(0, 3))
    def publish(self, key, content, fact):
        self.model.setdefault(key, (content, fact))
        entry = self.cache.publish(key, {"data": content}, {"fact": fact})
        assert ((entry.folder / "data").read_bytes(), entry.facts["fact"]) == self.model[key]

    @rule(key=keys)
    def damage(self, key):
        if key in self.model:
            (self.cache.folder / key / "data").write_bytes(self.model.pop(key)[0] + b"!")

    @rule(key=keys)
    def remove(self, key):
        if key in self.model:
            (self.cache.folder / key / "meta.json").unlink()
            del self.model[key]

    @invariant()
    def agrees(self):
        for key in ("a", "b"):
            entry = self.cache.find(key)
            assert (entry is None) == (key not in self.model)
            if entry is not None:
                assert ((entry.folder / "data").read_bytes(), entry.facts["fact"]) == self.model[key]

    def teardown(self):
        self.scratch.cleanup()


def os_path(text):
    from pathlib import Path

    return Path(text)


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)

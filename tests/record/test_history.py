from __future__ import annotations

import subprocess

import pytest

from specforge.record.history import git_state

IDENTITY = (
    "-c",
    "user.name=a",
    "-c",
    "user.email=a@example.org",
    "-c",
    "commit.gpgsign=false",
    "-c",
    "init.defaultBranch=main",
)


def git(folder, *arguments):
    done = subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository with a committed spec and kernel."""
    top = tmp_path / "work"
    for name in ("specs/a.yaml", "kernels/k/kernel.yaml", "results/ledger.jsonl"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("x\n")
    git(top, "init", "-q")
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "one")
    return top


def state(top, *inputs):
    return git_state(top / "specs/a.yaml", [top / name for name in inputs], results=())


def test_a_clean_tree(repository):
    assert state(repository, "kernels/k/kernel.yaml") == (git(repository, "rev-parse", "HEAD"), False)


def test_a_changed_tracked_file_is_dirt(repository):
    (repository / "kernels/k/kernel.yaml").write_text("y\n")
    assert state(repository)[1] is True


def test_a_staged_change_is_dirt(repository):
    (repository / "kernels/k/kernel.yaml").write_text("y\n")
    git(repository, "add", "-A")
    assert state(repository)[1] is True


def test_an_untracked_input_is_dirt_and_an_untracked_other_file_is_not(repository):
    (repository / "kernels/k/other.h").write_text("")
    assert state(repository)[1] is False
    assert state(repository, "kernels/k/other.h")[1] is True


def test_published_results_are_no_dirt(repository):
    (repository / "results/ledger.jsonl").write_text("more\n")
    assert state(repository)[1] is False
    inner = repository / "sub" / "results"
    inner.mkdir(parents=True)
    (inner / "a.json").write_text("1")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "two")
    (inner / "a.json").write_text("2")
    assert git_state(repository / "specs/a.yaml", [], results=[inner])[1] is False
    assert git_state(repository / "specs/a.yaml", [], results=[])[1] is True


def test_no_history(tmp_path):
    (tmp_path / "a.yaml").write_text("")
    assert git_state(tmp_path / "a.yaml", [], results=[]) == (None, None)


def test_a_repository_without_a_commit_knows_nothing(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.yaml").write_text("")
    assert git_state(tmp_path / "a.yaml", [], results=[]) == (None, None)


def test_a_repository_above_that_does_not_hold_the_spec_is_ignored(repository):
    home = repository / "unrelated" / "project"
    home.mkdir(parents=True)
    (home / "a.yaml").write_text("")
    assert git_state(home / "a.yaml", [], results=[]) == (None, None)


def test_an_untracked_spec_beside_tracked_kernels_is_dirt(repository):
    (repository / "specs/new.yaml").write_text("")
    commit, dirty = git_state(repository / "specs/new.yaml", [repository / "kernels/k/kernel.yaml"], results=[])
    assert commit == git(repository, "rev-parse", "HEAD")
    assert dirty is True


def test_a_worktree_has_a_state_of_its_own(repository):
    other = repository.parent / "other"
    git(repository, "worktree", "add", "-q", str(other))
    (repository / "specs/a.yaml").write_text("changed")
    assert state(other) == (git(other, "rev-parse", "HEAD"), False)


def test_the_environment_cannot_name_another_repository(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    commit, dirty = state(repository)
    assert commit is not None
    assert dirty is False


def test_without_git_there_is_no_answer_and_no_error(repository, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert state(repository) == (None, None)


def test_odd_names_are_taken_literally(repository):
    odd = repository / "specs" / "a [1] ü*.yaml"
    odd.write_text("")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "odd")
    assert git_state(odd, [], results=[])[1] is False


def test_asking_leaves_the_repository_untouched(repository):
    before = (repository / ".git" / "index").stat().st_mtime_ns
    state(repository)
    assert (repository / ".git" / "index").stat().st_mtime_ns == before

"""Of which repository a report names the commit, and what must not change while a notebook runs."""

import json
import os
import re
import subprocess

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

import infolib
import workbook
from workbook import claims, provenance, store

NAME = "02_good"


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder):
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "a commit")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A workbook that is no checkout yet, whose code is what runs."""
    root = tmp_path / "outer" / "book"
    (root / "notebooks").mkdir(parents=True)
    (root / "data" / "claims").mkdir(parents=True)
    (root / "reports").mkdir()
    (root / "notebooks" / "profiles.toml").touch()
    (root / "data" / "claims" / f"{NAME}.toml").write_text("# fixed")
    for package in (infolib, workbook):
        monkeypatch.setattr(package, "__file__", str(root / package.__name__ / "__init__.py"))
    monkeypatch.setenv("INFOLIB_ROOT", str(root))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return root


def named():
    return {key: value for key, value in provenance.describe().items() if key in ("commit", "dirty", "no_commit")}


def none(why):
    return {"commit": None, "dirty": None, "no_commit": why}


def test_commit_is_that_of_the_checkout_whose_code_runs(root, monkeypatch):
    git(root, "init", "-q")
    assert named() == none("no checkout with a commit")
    head = commit(root)
    assert named() == {"commit": head, "dirty": False}
    assert f"({head[:9]})" in provenance.line()
    (root / "reports" / "README.md").touch()
    assert not named()["dirty"]
    (root / "notebooks" / "new.py").touch()
    assert named() == {"commit": head, "dirty": True}
    monkeypatch.setenv("GIT_DIR", str(root.parent / ".git"))  # as in a hook of another checkout
    assert named() == {"commit": head, "dirty": True}


def test_an_export_has_no_commit_also_inside_another_checkout(root):
    assert named() == none("no checkout with a commit")
    assert "(no commit)" in provenance.line()
    git(root.parent, "init", "-q")
    commit(root.parent)
    assert named() == none("the workbook is not a checkout: it is inside another one")


@pytest.mark.parametrize("package", [infolib, workbook])
def test_code_of_another_place_is_not_of_this_commit(root, monkeypatch, package):
    git(root, "init", "-q")
    commit(root)
    monkeypatch.setattr(package, "__file__", str(root / ".venv" / "lib" / package.__name__ / "__init__.py"))
    assert named() == none("the code that runs is not that of the workbook's checkout")


def test_what_git_refuses_has_no_commit_and_says_why(root, monkeypatch):
    git(root, "init", "-q")
    commit(root)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert named() == none("git refuses a folder of dubious ownership")
    monkeypatch.setenv("PATH", "")
    assert named() == none("git is not installed")


def test_commit_and_claims_are_those_before_the_first_cell(root):
    git(root, "init", "-q")
    (root / "data" / "claims" / f"{NAME}.csv").write_text("a number")
    head = commit(root)
    first = provenance.before(NAME)
    assert (first["commit"], first["dirty"], list(first["claims"])) == (head, False, [f"{NAME}.toml", f"{NAME}.csv"])
    assert provenance.after(NAME, first) == first
    (root / "reports" / "02.txt").touch()
    assert commit(root) != head  # of reports only: the code is still that of the first commit
    assert provenance.after(NAME, first) == first
    (root / "notebooks" / "new.py").touch()
    assert provenance.after(NAME, first) == first | {"dirty": True}
    commit(root)
    assert provenance.after(NAME, first) == first | {"dirty": True}


def test_claims_committed_meanwhile_are_not_certified_as_fixed_before(root):
    git(root, "init", "-q")
    commit(root)
    first = provenance.before(NAME)
    claims = root / "data" / "claims" / f"{NAME}.toml"
    for change in (lambda: claims.write_text("# after the fact"), claims.unlink):
        change()
        commit(root)
        with pytest.raises(ValueError, match=f"data/claims/{NAME}.toml changed while the notebook ran"):
            provenance.after(NAME, first)


def test_claims_are_compared_where_there_is_no_repository(root):
    first = provenance.before(NAME)
    assert provenance.after(NAME, first) == first
    assert first["commit"] is None
    (root / "data" / "claims" / f"{NAME}.csv").touch()
    with pytest.raises(ValueError, match=f"data/claims/{NAME}.csv changed"):
        provenance.after(NAME, first)


def test_processor_libraries_and_affinity_are_named(monkeypatch):
    found = provenance.describe()
    assert re.search("[A-Za-z]{3}", found["processor"])
    assert any(re.match(r"(openblas|mkl|blis|accelerate) ", name) for name in found["blas"])
    assert found["blas"][-1] in ("torch with MKL", "torch without MKL")
    usable, all_ = found["affinity"]
    assert 1 <= usable <= all_ == os.cpu_count()
    if hasattr(os, "sched_setaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 7})
        assert provenance.describe()["affinity"] == [3, os.cpu_count()]


def test_device_is_an_accelerator_only_if_it_gave_memory_to_a_tensor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for allocated, device in ((0, "cpu"), (512, "a GPU")):
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda allocated=allocated: allocated)
        assert provenance.describe()["device"] == device
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for allocated, device in ((0, "cpu"), (512, "mps")):
        monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda allocated=allocated: allocated)
        assert provenance.describe()["device"] == device


def test_shifted_seeds_are_told(monkeypatch):
    monkeypatch.delenv("INFOLIB_SEED_SHIFT", raising=False)
    assert provenance.describe()["seed_shift"] == 0
    assert provenance.line().endswith("profile")
    monkeypatch.setenv("INFOLIB_SEED_SHIFT", "200")
    assert provenance.describe()["seed_shift"] == 200
    assert provenance.line().endswith("profile, seeds from 200")


def test_a_report_tells_what_was_computed_and_what_was_read(tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("INFOLIB_REPORT", str(tmp_path))
    monkeypatch.delenv("INFOLIB_FRESH", raising=False)
    for computed, read in ((1, 0), (0, 1)):
        store.cached(torch_zero)
        provenance.save(results=pd.DataFrame(), book=claims.Book([]), figures={})
        cache = json.loads((tmp_path / "provenance.json").read_text())["cache"]
        assert (cache["computed"], cache["read"], cache["newest"] is not None) == (computed, read, bool(read))
        assert not (tmp_path / "cache.jsonl").exists()


def torch_zero():
    return {"a": torch.zeros(1)}


def test_a_figure_that_was_shown_keeps_its_layout_and_looks_as_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.setenv("INFOLIB_REPORT", str(tmp_path))
    drawn = {}
    for name in ("kept", "shown"):
        drawn[name], axes = plt.subplots(2, 2, layout="constrained", figsize=(5, 3), dpi=72)
        axes[0, 1].set_ylabel("a label that takes room")
    drawn["shown"].savefig(tmp_path / "inline.png", bbox_inches="tight")
    provenance.save(results=pd.DataFrame(), book=claims.Book([]), figures=drawn)
    kept, shown = (plt.imread(tmp_path / "figures" / f"{name}.png") for name in drawn)
    np.testing.assert_allclose(kept.shape, shown.shape, atol=8)  # letters are hinted for the screen, or for 150 dpi
    assert type(drawn["shown"].get_layout_engine()).__name__ == "PlaceHolderLayoutEngine"
    assert type(drawn["kept"].get_layout_engine()).__name__ == "ConstrainedLayoutEngine"

"""A notebook that is begun from the templates has the form of all others, runs, and judges its claim."""

import os
import shutil
import subprocess
import sys
import tomllib

import pytest

from workbook import new, root

PARTS = ("notebooks", "data", "workbook", "infolib", "tests", "README.md", "pyproject.toml", "CONTRIBUTING.md")
LEFT_OUT = shutil.ignore_patterns("cache", "__pycache__", ".*")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the workbook in which a notebook is begun and executed."""
    there = tmp_path_factory.mktemp("workbook")
    for part in PARTS:
        if (root() / part).is_dir():
            shutil.copytree(root() / part, there / part, ignore=LEFT_OUT)
        else:
            shutil.copy(root() / part, there / part)
    begun = run(there, "-m", "workbook", "new", "10_my_topic", "--title", "My topic")
    assert begun.returncode == 0, begun.stderr
    execute = ["-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", "notebooks/10_my_topic.ipynb"]
    done = run(there, *execute, "--ExecutePreprocessor.record_timing=False")
    assert done.returncode == 0, done.stderr[-3000:]
    return there


def run(there, *words):
    own = {"PYTHONPATH": str(there), "INFOLIB_ROOT": str(there), "INFOLIB_CACHE": str(there / "cache")}
    inherited = {name: value for name, value in os.environ.items() if name != "INFOLIB_DATA"}
    options = {"env": inherited | own | {"TQDM_DISABLE": "1"}, "capture_output": True, "text": True, "check": False}
    return subprocess.run([sys.executable, *words], cwd=there, **options)


def test_it_passes_the_tests_of_form_and_of_claims_and_its_examples_run(copy):
    tests = ["tests/test_notebooks.py", "tests/workbook/test_claims.py", "workbook/experiments/nb10_my_topic.py"]
    done = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", "10_my_topic or claim")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "failed" not in done.stdout


def test_its_code_is_as_ruff_would_have_it(copy):
    made = ["notebooks/10_my_topic.ipynb", "workbook/experiments/nb10_my_topic.py"]
    for words in (["check"], ["format", "--diff"]):
        done = run(copy, "-m", "ruff", *words, "--no-cache", *made)
        assert done.returncode == 0, done.stdout


def test_its_claim_is_judged_with_both_controls(copy):
    text = (copy / "notebooks" / "10_my_topic.ipynb").read_text()
    assert "✓ reproduced" in text
    assert "(10-hidden-class)" in text


@pytest.mark.parametrize("name", ["n_measured", "n_train"])
def test_more_images_than_there_are_are_refused_by_the_parameters_name(copy, name):
    done = run(copy, "-m", "workbook", "run", "10", "-p", f"{name}=1000000", "--name", "absurd")
    assert done.returncode == 1
    assert f"notebook 10_my_topic: {name}" in done.stderr


def test_its_profile_and_its_rows_are_there(copy):
    profiles = tomllib.loads((copy / "notebooks" / "profiles.toml").read_text())
    assert profiles["10_my_topic"]["paper"] == {"n_seeds": 10}
    assert "| 10 | My topic | ours | 0.5 | 2 |" in (copy / "README.md").read_text()
    assert "10-hidden-class,bits" in (copy / "data" / "claims" / "units.csv").read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("topic", "name must be two digits and words, such as 10_my_topic, got 'topic'"),
        ("10_My topic", "name must be two digits and words"),
        ("09_other", "name must have a free number, got 09_other: 09_grokking exists"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        new.begin(name)


def test_what_is_there_is_not_overwritten(copy):
    (copy / "notebooks" / "11_other.ipynb").unlink(missing_ok=True)
    before = (copy / "data" / "claims" / "10_my_topic.toml").read_text()
    (copy / "data" / "claims" / "11_other.toml").write_text(before)
    done = run(copy, "-m", "workbook", "new", "11_other")
    assert done.returncode == 1
    assert "data/claims/11_other.toml exists" in done.stderr
    assert not (copy / "notebooks" / "11_other.ipynb").exists()

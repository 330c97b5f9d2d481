import subprocess
import sys

import pytest
from click.testing import CliRunner

from workbook import provenance, reports, root
from workbook import run as runner
from workbook.__main__ import main


def call(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "99"], "unknown notebook '99'; allowed: 00_start_here"),
        (["run", "00", "--profile", "fast"], "unknown profile 'fast'; allowed: quick, paper"),
        (["run", "00", "-p", "sede=3"], "unknown parameter 'sede' of 00_start_here; allowed: "),
        (["run", "00", "-p", "dataset=[1]"], "parameter dataset of 00_start_here must be str, got [1] (list)"),
        (["run", "00", "-p", "dataset"], "-p takes NAME=YAML, got 'dataset'"),
        (["run", "00", "-p", "dataset=[1"], "-p dataset: '[1' is not YAML"),
        (["data", "--download", "imagenet"], "imagenet"),
    ],
)
def test_mistake_is_one_message_and_not_a_traceback(arguments, message):
    result = call(*arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_scoreboards_are_renewed_as_each_notebook_ends_and_a_broken_one_does_not_end_the_run(monkeypatch):
    renewed = []

    def index():
        renewed.append(len(renewed))
        if len(renewed) < 3:
            raise KeyError("a report that another run is writing")
        return root() / "reports" / "index.html"

    def run_two(names, *, report, **_):
        done = [runner.Run(name, 1.0) for name in names]
        for one in done:
            report(one)
        return done

    monkeypatch.setattr(reports, "index", index)
    monkeypatch.setattr(runner, "run", run_two)
    result = call("run", "00", "01")
    assert (result.exit_code, len(renewed)) == (0, 3)
    assert "✓ 00_start_here" in result.output


def test_list_shows_notebooks_with_their_parameters():
    result = call("list")
    assert result.exit_code == 0
    assert "00_start_here" in result.output
    assert "dataset = 'digits'" in result.output


def test_doctor_finds_this_environment_sound():
    result = call("doctor")
    assert result.exit_code == 0, result.output


def test_doctor_names_what_is_broken_and_how_to_mend_it(monkeypatch, tmp_path):
    monkeypatch.setenv("INFOLIB_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(provenance, "_version", lambda _: "0.0.1")
    result = call("doctor")
    assert result.exit_code == 1
    assert "✗ data: INFOLIB_DATA=" in result.output
    assert "✗ packages: out of bounds: click 0.0.1" in result.output
    assert "mend: set INFOLIB_DATA to a folder" in result.output


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import infolib, workbook.__main__", ["torch", "numpy", "papermill"]),
        (
            "from infolib import datasets, models, training, activations, claims, plotting, provenance",
            ["torchvision", "sklearn", "papermill", "nbformat"],
        ),
    ],
)
def test_imports_stay_light(statement, heavy):
    code = f"{statement}; import sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

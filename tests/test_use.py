"""The ways in which people use the workbook beside `infolib run`: papermill, nbval, a kernel, a copied notebook, make.

They work from the checkout's root and from any other folder, without INFOLIB_ROOT. Each runs in a process of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution

import nbformat
import pytest
import yaml
from click.testing import CliRunner
from jupyter_client.manager import start_new_kernel
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from workbook import MARK, root
from workbook import run as runner
from workbook.__main__ import main

START = "00_start_here"
SMALL_START = {"widths": [8], "n_steps": 10, "n_measured": 40, "n_seeds": 2}

# Notebook 04 has a parameter that is a list of dicts, and one that is a dict.
NEURONS = "04_neuron_importance"
ROWS, ENTRY = "networks", "protocol"
SMALL_NETWORK = {
    "data": "digits", "hidden": [12, 12], "activation": "relu", "lr": 1e-3, "epochs": 1, "n_networks": 2,
    "batch_size": 32,
}  # fmt: skip
SMALL_NEURONS = {
    ROWS: [
        SMALL_NETWORK | {"activation": "sigmoid"}, SMALL_NETWORK | {"activation": "sigmoid", "epochs": 0},
        SMALL_NETWORK,
    ],
    ENTRY: {"n_val": 60, "n_test": 60, "points": 4, "n_random": 1, "n_permutations": 2},
    "search": {"weight_decays": [0.0, 0.001], "epochs": [1], "n_networks": 2},
    "upto": 12,
    "n_top": 4,
}  # fmt: skip


def environment(**changes):
    return {name: value for name, value in os.environ.items() if name != "INFOLIB_ROOT"} | changes


def papermill(name, output, *options, cwd, **changes):
    """papermill's own command line; its outcome, with the message of the notebook's error in `stderr`."""
    notebook = os.path.relpath(runner.notebooks().get(name, name), cwd)
    command = [sys.executable, "-m", "papermill", notebook, str(output), "--no-progress-bar", *options]
    return subprocess.run(command, cwd=cwd, env=environment(**changes), capture_output=True, text=True, check=False)


def outputs(path):
    """What a notebook has printed, without the first line, which tells threads and versions."""
    cells = nbformat.read(path, as_version=4).cells
    return [o.text for c in cells if c.cell_type == "code" for o in c.outputs if o.get("name") == "stdout"][1:]


def entries(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def upto_cases():
    """The first notebook, which ends with its first cases."""
    notebook = nbformat.read(runner.notebooks()[START], as_version=4)
    (last,) = [i for i, cell in enumerate(notebook.cells) if "store.tabulate(follow" in cell.source]
    del notebook.cells[last + 1 :]
    return notebook


def test_papermill_runs_a_notebook_from_the_root_and_from_another_folder_with_one_cache(tmp_path):
    cache, options = tmp_path / "kept", ["-p", "n_train", "60", "-y", yaml.safe_dump(SMALL_START)]
    here, there = tmp_path / "here.ipynb", tmp_path / "there.ipynb"
    done = papermill(START, here, *options, cwd=root(), INFOLIB_CACHE=str(cache))
    assert done.returncode == 0, done.stderr
    first = entries(cache)
    assert first
    (injected,) = [c for c in nbformat.read(here, as_version=4).cells if "injected-parameters" in c.metadata.tags]
    assert "widths = [8]" in injected.source
    assert "n_train = 60" in injected.source
    nbformat.write(upto_cases(), tmp_path / "cases.ipynb")
    done = papermill(tmp_path / "cases.ipynb", there, *options, cwd=tmp_path, INFOLIB_CACHE=str(cache))
    assert done.returncode == 0, done.stderr
    assert 0 < len(outputs(there)) < len(outputs(here))
    assert outputs(there) == outputs(here)[: len(outputs(there))]
    assert entries(cache) == first  # read, not computed


@pytest.fixture(scope="module")
def begin(tmp_path_factory):
    """The beginning of a notebook with parameters as papermill injects them, all in one kernel; the message, if any."""
    manager, client = start_new_kernel(cwd=tmp_path_factory.mktemp("elsewhere"), env=environment())

    def execute(name, values):
        notebook = parameterize_notebook(load_notebook_node(str(runner.notebooks()[name])), values)
        sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        (last,) = [i for i, source in enumerate(sources) if "records.prepared(" in source]
        assert client.execute_interactive("%reset -sf")["content"]["status"] == "ok"
        for source in sources[: last + 1]:
            said = client.execute_interactive(source, output_hook=lambda _: None)["content"]
            if said["status"] == "error":
                return f"{said['ename']}: {said['evalue']}"
        return None

    yield execute
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (START, {"widths": 8}, "widths must be list[int from 1 to 10000] of one layer or more, got 8 (int)"),
        (START, {"n_seeds": 1}, "n_seeds must be int from 2 to 1000000, as an interval takes two, got 1 (int)"),
        (NEURONS, {ENTRY: "449 449 15 3"}, f"{ENTRY} must be dict, got '449 449 15 3' (str)"),
        (NEURONS, {ROWS: "digits 100-100"}, f"{ROWS} must be list[dict], got 'digits 100-100' (str)"),
        (NEURONS, {ROWS: [SMALL_NETWORK, {"epoch": 3}]}, f"{ROWS}[1] has an unknown field 'epoch'"),
    ],
    ids=str,
)
def test_a_notebook_stops_at_the_set_up_cell_with_the_message_of_the_runner(begin, name, values, message):
    assert begin(name, {}) is None
    assert begin(name, values).startswith(f"ValueError: notebook {name}: {message}")
    ((key, value),) = values.items()
    refused = CliRunner().invoke(main, ["run", name, "-p", f"{key}={json.dumps(value)}"])
    assert f"Error: notebook {name}: {message}" in refused.output


def test_papermill_takes_dicts_for_a_list_of_records(tmp_path):
    done = papermill(NEURONS, tmp_path / "out.ipynb", "-y", yaml.safe_dump(SMALL_NEURONS), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_nbval_checks_a_notebook_from_another_folder(tmp_path):
    """In a checkout where the first notebook is small; from the root it checks them all when `make test` does."""
    book, elsewhere = tmp_path / "book", tmp_path / "elsewhere"
    for folder in (book / "notebooks", elsewhere):
        folder.mkdir(parents=True)
    shutil.copytree(root() / "data", book / "data", ignore=shutil.ignore_patterns("cache"))
    shutil.copy(root() / MARK, book / MARK)
    small = upto_cases()
    (place,) = [i for i, cell in enumerate(small.cells) if "parameters" in cell.metadata.get("tags", [])]
    values = "\n".join(f"{name} = {value!r}" for name, value in SMALL_START.items())
    small.cells.insert(place + 1, nbformat.v4.new_code_cell(values))
    for cell in small.cells:
        cell.metadata.pop("tags", None)  # the outputs that are kept are those of the notebook's own size
    nbformat.write(small, book / "notebooks" / f"{START}.ipynb")
    notebook = os.path.relpath(book / "notebooks" / f"{START}.ipynb", elsewhere)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env", notebook]
    kept = environment(INFOLIB_CACHE=str(tmp_path / "kept"))
    done = subprocess.run(command, cwd=elsewhere, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "kept").rglob("*.safetensors"))


@pytest.mark.parametrize("folder", ["notebooks", "data"])
def test_a_kernel_finds_the_workbook_from_a_folder_in_it(folder):
    manager, client = start_new_kernel(cwd=root() / folder, env=environment())
    said = []
    try:
        client.execute_interactive(
            "from workbook import root; print(root())", output_hook=lambda m: said.append(m["content"].get("text"))
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert f"{root()}\n" in said


@pytest.fixture
def copied(tmp_path):
    """A notebook outside any checkout, and the two packages installed without one."""
    site = tmp_path / "site"
    for package in ("infolib", "workbook"):
        shutil.copytree(root() / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copy(runner.notebooks()[START], folder / "copy.ipynb")
    return folder, site


def test_a_copied_notebook_says_what_to_set_and_runs_once_it_is_set(copied, tmp_path):
    folder, site = copied
    options = ["-y", yaml.safe_dump(SMALL_START)]
    call = {"cwd": folder, "PYTHONPATH": str(site)}
    (tmp_path / "out").mkdir()
    done = papermill(folder / "copy.ipynb", tmp_path / "out" / "copy.ipynb", *options, **call)
    assert done.returncode == 1
    message = "there is no workbook here: set INFOLIB_ROOT to the folder that holds notebooks/profiles.toml"
    assert f"ValueError: notebook {START}: {message}" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["copy.ipynb"]
    done = papermill(folder / "copy.ipynb", tmp_path / "out" / "copy.ipynb", *options, **call, INFOLIB_ROOT=str(root()))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["copy.ipynb"]


def test_infolib_is_the_command_line_of_the_workbook():
    (script,) = distribution("information-workbook-notebooks").entry_points.select(name="infolib")
    assert script.load() is main
    done = subprocess.run([sys.executable, "-m", "workbook", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: python -m workbook [OPTIONS] COMMAND")
    assert {line.split()[0] for line in done.stdout.split("Commands:\n")[1].splitlines()} == set(main.commands)


@pytest.mark.parametrize(
    ("options", "notebooks"),
    [([], "notebooks/[0-9]*.ipynb"), (["NB=04"], "notebooks/04*.ipynb"), (["NB="], "notebooks/[0-9]*.ipynb")],
)
def test_make_notebooks_executes_all_or_one_in_place(options, notebooks):
    inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "NB")}
    command = ["make", "--no-print-directory", "-n", "notebooks", *options]
    done = subprocess.run(command, cwd=root(), env=inherited, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.replace("\\\n", " ").splitlines() if "nbconvert" in line]
    flags = "--log-level=WARN --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False"
    assert line.split() == ["TQDM_DISABLE=1", ".venv/bin/jupyter", "nbconvert", *flags.split(), notebooks]

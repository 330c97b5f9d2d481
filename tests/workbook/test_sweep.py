import json
import os
import subprocess
import sys
import time

import nbformat
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from workbook import claims, progress, store, sweep
from workbook import run as runner
from workbook.__main__ import main


def call(*arguments):
    return CliRunner().invoke(main, arguments)


LEAVE = """
import json, os, pathlib
import pandas as pd
from workbook import claims
folder = pathlib.Path(os.environ["INFOLIB_REPORT"])
(folder / "figures").mkdir()
(folder / "figures" / "a.png").write_bytes(b"a picture")
(folder / "results.csv").write_text("n\\n")
row = dict.fromkeys(claims.COLUMNS, "") | {"claim": "02-a", "ours": n * rate, "low": n - 1, "high": n + 1, "n": 5}
pd.DataFrame([row]).to_csv(folder / "verdicts.csv", index=False)
(folder / "values.csv").write_text("claim\\n")
(folder / "provenance.json").write_text("{}")
if rate == 9:
    raise ValueError("nine")
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A workbook with one notebook, whose one claim's number is n * rate."""
    root = tmp_path / "book"
    (root / "notebooks").mkdir(parents=True)
    (root / "notebooks" / "profiles.toml").touch()
    monkeypatch.setenv("INFOLIB_ROOT", str(root))
    monkeypatch.delenv("INFOLIB_SEED_SHIFT", raising=False)
    cells = [nbformat.v4.new_markdown_cell("# Good"), nbformat.v4.new_code_cell(LEAVE)]
    parameters = "n: int = 3  # how many\nrate: float = 1.0  # how fast\nlayers: list[str] = ['a']  # which"
    cells.insert(1, nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, root / "notebooks" / "02_good.ipynb")
    return root


def test_a_sweep_leaves_a_report_for_each_case_and_one_table_and_goes_on(root, monkeypatch):
    grid = root / "speeds.yaml"
    grid.write_text("rate: [1e-1, 9]\nlayers: [[a]]\n")
    result = call("sweep", "02", "--grid", str(grid))
    assert result.exit_code == 1
    assert "1 of 2 cases failed, first: 02_good@sweep-" in result.output
    place = root / "reports" / "quick" / "sweeps" / "02_good@speeds"
    assert {path.name for path in place.iterdir()} == {"results.csv", "figure.png", "index.html"}
    table = pd.read_csv(place / "results.csv")
    found = table[["rate", "layers", "claim", "ours"]].to_numpy().tolist()
    assert found == [[0.1, "['a']", "02-a", pytest.approx(0.3)]]
    assert table["report"].str.fullmatch("02_good@sweep-[0-9a-f]{12}").all()
    ran = []

    def run(names, *, overrides, **_):
        ran.append(overrides["rate"])
        return [runner.Run(name, 1.0) for name in names]

    monkeypatch.setattr(runner, "run", run)
    assert call("sweep", "02", "--grid", str(grid)).exit_code == 0
    assert ran == [9]  # the other one has its report
    call("sweep", "02", "--grid", str(grid), "--fresh")
    assert ran == [9, 0.1, 9]


@pytest.fixture
def ran(root, monkeypatch):
    """The rates of the cases that are run; each leaves a report as a run does, without a number where the rate is 0."""
    rates = []

    def run(names, *, overrides, name, **_):
        rates.append(overrides["rate"])
        folder = root / "reports" / "quick" / f"{names[0]}@{name}"
        folder.mkdir(parents=True, exist_ok=True)
        row = dict.fromkeys(claims.COLUMNS, "") | {"claim": "02-a", "n": 5}
        row |= {"ours": overrides["rate"] or "", "low": 0, "high": 1}
        pd.DataFrame([row]).to_csv(folder / "verdicts.csv", index=False)
        record = {"parameters": overrides, "overridden": runner.overridden(names[0], "quick", overrides)}
        (folder / "provenance.json").write_text(json.dumps(record))
        return [runner.Run(one, 1.0) for one in names]

    monkeypatch.setattr(runner, "run", run)
    (root / "speeds.yaml").write_text("rate: [2.0]\n")
    return rates


def test_a_report_of_other_seeds_or_of_another_device_is_not_taken(root, ran, monkeypatch):
    again = ("sweep", "02", "--grid", str(root / "speeds.yaml"))
    for change in (
        lambda: None,
        lambda: monkeypatch.setenv("INFOLIB_SEED_SHIFT", "100"),
        lambda: monkeypatch.setattr(store, "device", lambda: torch.device("cuda", 0)),
        lambda: monkeypatch.delenv("INFOLIB_SEED_SHIFT"),
    ):
        change()
        ran.clear()
        assert [call(*again).exit_code, call(*again).exit_code, ran] == [0, 0, [2.0]]


def test_a_sweep_in_which_no_claim_has_a_number_has_a_table_and_no_figure(root, ran):
    written = {"results.csv", "index.html"}
    for rates, files in (("0.0", written), ("0.0, 2.0", written | {"figure.png"})):
        (root / "speeds.yaml").write_text(f"rate: [{rates}]\n")
        result = call("sweep", "02", "--grid", str(root / "speeds.yaml"))
        assert result.exit_code == 0, result.output
        place = root / "reports" / "quick" / "sweeps" / "02_good@speeds"
        assert {path.name for path in place.iterdir()} == files
        assert ("<img" in (place / "index.html").read_text()) is ("figure.png" in files)
    assert ran == [0.0, 2.0]


def test_a_report_cannot_have_the_name_of_one_of_a_sweep(ran):
    result = call("run", "02", "--name", "sweep-a")
    assert (result.exit_code, ran) == (1, [])
    assert "name must not begin with sweep-, as the reports of a sweep do, got 'sweep-a'" in result.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nn: [1]", "unknown parameter 'nn' of 02_good; allowed: n, rate, layers"),
        ("n: []", r"grid: n must be a list of at least one value, got []"),
        ("n: 3", "grid: n must be a list of at least one value, got 3"),
        ("- n", "grid must be a mapping of parameters to lists of values, got ['n']"),
        ("", "grid must be a mapping of parameters to lists of values, got None"),
        ("n: [1", "is not YAML"),
        ("n: [1, two]", "n must be int, got 'two'"),
        (f"n: {[*range(101)]}\nrate: {[*range(100)]}", "grid has 10100 cases, more than 10000: give --yes"),
    ],
)
def test_a_grid_that_will_not_do_is_one_message_before_anything_runs(root, monkeypatch, text, message):
    monkeypatch.setattr(runner, "run", lambda *_, **__: pytest.fail("a run"))
    (root / "grid.yaml").write_text(text)
    result = call("sweep", "02", "--grid", str(root / "grid.yaml"))
    assert result.exit_code == 1
    assert message in result.output


def test_more_cases_than_that_are_run_if_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(runner, "resolve", lambda *_: {})
    grid = {"n": [*range(101)], "rate": [*range(100)]}
    assert len(sweep.cases("02_good", grid, "quick", many=True)) == 10100


BROKEN = """
import os, signal
import pandas as pd
from workbook import progress, store
progress.EVERY = 0.0

def slow(a):
    if a == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return pd.DataFrame({"a": [a]})

store.tabulate(slow, [(a,) for a in range(5)])
"""


@pytest.mark.usefixtures("root")
def test_status_shows_what_runs_what_has_broken_off_and_nothing_else(tmp_path, monkeypatch):
    assert call("status").output.splitlines()[0] == "nothing runs"
    script = tmp_path / "broken.py"
    script.write_text(BROKEN)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "INFOLIB_RUN": "quick/02_good"}
    assert subprocess.run([sys.executable, script], env=environment, check=False).returncode == -9
    with progress.noted(store.folder(), "told", 8) as note:
        later = time.time() + 20
        monkeypatch.setattr(progress.time, "time", lambda: later)
        note(2)
        assert call("status").output.splitlines() == [
            "a notebook's told  running: 2 of 8 cases of told, about 1 min left",
            "quick/02_good  broken off: 2 of 5 cases of slow",
            "quick: no verdicts",
            "paper: no verdicts",
        ]
    progress.forget(store.folder(), "quick/02_good")
    assert progress.states(store.folder()) == []
    (store.folder() / "progress" / "quick.03.json").write_text("{")
    assert progress.states(store.folder()) == []


def test_a_run_that_ends_well_leaves_no_progress(root, monkeypatch):
    told = root / "told.json"
    code = f"import os\nopen({str(told)!r}, 'w').write(os.environ['INFOLIB_RUN'] + os.environ['INFOLIB_SCHEDULER'])"
    notebook = nbformat.read(root / "notebooks" / "02_good.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(code))
    nbformat.write(notebook, root / "notebooks" / "02_good.ipynb")
    monkeypatch.setenv("INFOLIB_SCHEDULER", "")
    monkeypatch.setenv("INFOLIB_RUN", "quick/02_good")
    with pytest.raises(KeyError), progress.noted(store.folder(), "told", 2):
        raise KeyError
    assert len(progress.states(store.folder())) == 1
    monkeypatch.delenv("INFOLIB_RUN")
    with pytest.raises(KeyboardInterrupt), progress.noted(store.folder(), "of a notebook that is open", 2):
        raise KeyboardInterrupt
    assert len(progress.states(store.folder())) == 1
    (done,) = runner.run()
    assert (done.error, told.read_text()) == (None, "quick/02_good")
    assert progress.states(store.folder()) == []


def test_a_run_refuses_a_scheduler_that_is_not_there_before_a_kernel_starts(monkeypatch):
    from workbook import cluster

    monkeypatch.setattr(cluster, "WAIT", 0.3)
    result = call("run", "00", "--scheduler", "tcp://127.0.0.1:9")
    assert result.exit_code == 1
    assert "scheduler must be local or an address such as tcp://host:8786" in result.output
    assert "got 'tcp://127.0.0.1:9'" in result.output

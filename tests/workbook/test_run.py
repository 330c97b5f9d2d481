import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from types import ModuleType

import nbformat
import psutil
import pytest

from workbook import run as runner

PARAMETERS = "n: int = 3  # how many\nlayers: list[str] = ['fc1']\nrate: float = 1"
LEAVE = """
import os, pathlib
folder = pathlib.Path(os.environ["INFOLIB_REPORT"])
(folder / "figures").mkdir()
(folder / "figures" / "a.png").write_bytes(b"a picture")
(folder / "results.csv").write_text(f"n\\n{n}\\n")
(folder / "verdicts.csv").write_text("claim\\n")
(folder / "provenance.json").write_text("{}")
"""
WAIT = "import os, pathlib, time\n(pathlib.Path(os.environ['INFOLIB_REPORT']) / 'begun').touch()\ntime.sleep(300)"


def add(root, name, *cells, parameters=PARAMETERS, tags=(), opening=""):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# Title of {name}\n\n{opening}")])
    if parameters is not None:
        notebook.cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    notebook.cells += [nbformat.v4.new_code_cell(cell, metadata={"tags": list(tags)}) for cell in cells]
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small workbook of its own with one good notebook."""
    root = tmp_path / "book"
    (root / "notebooks").mkdir(parents=True)
    (root / "notebooks" / "profiles.toml").touch()
    monkeypatch.setenv("INFOLIB_ROOT", str(root))
    add(root, "02_good", LEAVE)
    return root


def former_report(root, name, profile="quick"):
    folder = root / "reports" / profile / name
    folder.mkdir(parents=True)
    (folder / "results.csv").write_text("the former report")
    return folder / "results.csv"


def hidden(root):
    """What lies in the reports folder beside reports and the lock."""
    return [p.name for p in (root / "reports" / "quick").glob(".*") if p.name != ".lock"]


def test_run_leaves_a_whole_report_with_its_provenance(root):
    (done,) = runner.run(["02"], overrides={"n": 7})
    folder = root / "reports" / "quick" / "02_good"
    assert done.error is None
    assert (folder / "results.csv").read_text() == "n\n7\n"
    record = json.loads((folder / "provenance.json").read_text())
    assert record["parameters"] == {"n": 7}
    assert record["wall_seconds"] > 0
    assert hidden(root) == []


def test_a_report_names_no_path_of_this_machine(root):
    warn = "import sys; print(f'{pathlib.Path.cwd().parent}/.venv/lib/some.py:7: UserWarning: so', file=sys.stderr)"
    add(root, "03_warns", f"{LEAVE}\n{warn}")
    runner.run(["03"])
    text = (root / "reports" / "quick" / "03_warns" / "report.ipynb").read_text()
    assert str(root) not in text
    assert ".venv/lib/some.py:7: UserWarning" in text


def test_root_that_is_named_from_here_is_the_same_for_a_kernel(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    monkeypatch.setenv("INFOLIB_ROOT", "book")
    add(root, "02_good", f"{LEAVE}\n(folder / 'results.csv').write_text(os.environ['INFOLIB_ROOT'])")
    (done,) = runner.run()
    assert done.error is None
    assert (root / "reports" / "quick" / "02_good" / "results.csv").read_text() == str(root)


def test_profile_sets_parameters_and_its_own_folder(root):
    (root / "notebooks" / "profiles.toml").write_text("[02_good.paper]\nn = 11\n")
    runner.run(profile="paper")
    assert (root / "reports" / "paper" / "02_good" / "results.csv").read_text() == "n\n11\n"
    assert not (root / "reports" / "quick").exists()


@pytest.mark.parametrize(
    ("cells", "limit", "message"),
    [
        (["x = 1", "raise KeyError('mine')"], 5, r"KeyError: 'mine'"),
        (["import os; os._exit(9)"], 5, "[Kk]ernel died"),
        (["import time; time.sleep(300)"], 0.1, "03_bad passed its time limit of 0.1 minutes"),
        (["x = 1"], 5, "left no results.csv, verdicts.csv, provenance.json, figures/"),
    ],
    ids=["a cell raises", "the kernel dies", "past the time limit", "no deliverables"],
)
def test_failure_keeps_the_former_report_and_the_partial_notebook(root, cells, limit, message):
    add(root, "03_bad", *cells)
    former = former_report(root, "03_bad")
    (done,) = runner.run(["03"], time_limit=limit)
    assert re.search(message, done.error)
    assert former.read_text() == "the former report"
    assert (root / "reports" / "failed" / "03_bad.quick.ipynb").exists()
    assert hidden(root) == []
    assert psutil.Process().children(recursive=True) == []


def test_page_for_the_browser_has_the_notebooks_name(root):
    runner.run(["02"])
    page = (root / "reports" / "quick" / "02_good" / "report.html").read_text()
    assert "<title>02_good</title>" in page


def test_report_that_cannot_be_rendered_leaves_the_former_one(root, monkeypatch):
    def broken(*_):
        raise KeyError("template")

    former = former_report(root, "02_good")
    monkeypatch.setattr(runner.execution, "render", broken)
    (done,) = runner.run(["02"])
    assert "02_good could not be rendered for a browser: 'template'" in done.error
    assert former.read_text() == "the former report"
    assert hidden(root) == []


def test_failure_of_one_notebook_leaves_the_others_alone(root):
    add(root, "03_bad", "raise KeyError('mine')")
    bad, good = runner.run(["03", "02"], jobs=2)
    assert "KeyError: 'mine'" in bad.error
    assert good.error is None


def test_notebooks_that_read_reports_run_when_the_others_have_ended(root):
    here = f"seen = sorted(p.name for p in pathlib.Path({str(root / 'reports' / 'quick')!r}).glob('0*'))"
    shown = "(folder / 'results.csv').write_text(' '.join(seen))"
    add(root, "01_reads", f"{LEAVE}\n{here}\n{shown}", tags=["reads-reports"])
    add(root, "03_slow", f"import time; time.sleep(1)\n{LEAVE}")
    names = ["01_reads", "02_good", "03_slow"]
    assert runner.waves(names) == [["02_good", "03_slow"], ["01_reads"]]
    assert runner.waves(["01_reads"]) == [["01_reads"]]
    done = runner.run(jobs=3)
    assert [(run.name, run.error) for run in done] == [("02_good", None), ("03_slow", None), ("01_reads", None)]
    assert (root / "reports" / "quick" / "01_reads" / "results.csv").read_text() == "02_good 03_slow"


def test_what_takes_longest_by_profiles_toml_begins_first_and_the_results_keep_their_order(root):
    add(root, "01_short", LEAVE)
    add(root, "03_long", LEAVE)
    (root / "notebooks" / "profiles.toml").write_text(
        "[01_short]\nminutes = { quick = 0.5, paper = 90 }\n[03_long]\nminutes = { quick = 1, paper = 20 }\n"
    )
    assert [runner.minutes("01_short", profile) for profile in runner.PROFILES] == [0.5, 90]
    assert runner.minutes("02_good", "quick") == float("inf")  # it does not say: perhaps the longest of all
    ended = []
    done = [runner.run(profile=p, report=lambda run: ended.append(run.name)) for p in runner.PROFILES]
    assert ended == ["02_good", "03_long", "01_short", "02_good", "01_short", "03_long"]
    assert [[run.name for run in runs] for runs in done] == [["01_short", "02_good", "03_long"]] * 2


def test_threads_are_shared_among_the_notebooks_that_run_at_once(root, monkeypatch):
    monkeypatch.setattr(runner.os, "cpu_count", lambda: 6)
    threads = f"{LEAVE}\n(folder / 'results.csv').write_text(os.environ['OMP_NUM_THREADS'])"
    for name, tags in (("02_good", []), ("03_other", []), ("07_reads", ["reads-reports"])):
        add(root, name, threads, tags=tags)
    runner.run(jobs=3)
    given = {path.parent.name: path.read_text() for path in (root / "reports" / "quick").glob("*/results.csv")}
    assert given == {"02_good": "3", "03_other": "3", "07_reads": "6"}


def test_full_disk_keeps_the_former_report(root, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    former = former_report(root, "02_good")
    monkeypatch.setattr(runner.Path, "chmod", full)  # the last step before the report takes its place
    (done,) = runner.run()
    assert "No space left on device" in done.error
    assert former.read_text() == "the former report"
    assert hidden(root) == []


@pytest.fixture
def no_kernel(monkeypatch):
    monkeypatch.setattr(runner.psutil, "Popen", lambda *_, **__: pytest.fail("a kernel was started"))


@pytest.mark.usefixtures("root", "no_kernel")
def test_reports_folder_that_cannot_be_written_is_named_before_a_kernel_starts(monkeypatch):
    def refuse(**options):
        raise OSError(errno.EROFS, "Read-only file system", str(options["dir"]))

    monkeypatch.setattr(runner.tempfile, "TemporaryDirectory", refuse)
    (done,) = runner.run()
    assert re.fullmatch(r"02_good: .*Read-only file system: '.*/reports/quick'", done.error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["9"]}, "unknown notebook '9'; allowed: 02_good"),
        ({"profile": "fast"}, "unknown profile 'fast'; allowed: quick, paper"),
        ({"overrides": {"m": 1}}, "unknown parameter 'm' of 02_good; allowed: n, layers, rate"),
        ({"overrides": {"n": 1.5}}, r"notebook 02_good: n must be int, got 1.5 \(float\)"),
        ({"overrides": {"n": True}}, "notebook 02_good: n must be int, got True"),
        ({"overrides": {"layers": "fc1"}}, r"notebook 02_good: layers must be list\[str\], got 'fc1'"),
        ({"overrides": {"layers": [1]}}, r"must be list\[str\], got \[1\]"),
        ({"jobs": 0}, "jobs must be an integer of at least 1, got 0"),
        ({"time_limit": 0}, "time_limit must be positive, got 0"),
    ],
)
@pytest.mark.usefixtures("root", "no_kernel")
def test_bad_request_is_refused_before_a_kernel_starts(options, message):
    with pytest.raises(ValueError, match=message):
        runner.run(**options)


@pytest.mark.usefixtures("root")
def test_int_is_accepted_where_a_float_is_wanted():
    assert runner.resolve("02_good", "quick", {"rate": 2}) == {"rate": 2}


@dataclass(frozen=True)
class Network:
    width: int
    weight_decay: float = 0.0

    def __post_init__(self):
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}")


def check(parameters):
    if len(parameters["networks"]) > parameters["n"]:
        raise ValueError(f"networks must be at most n={parameters['n']}, got {len(parameters['networks'])}")


@pytest.fixture
def networks(root, monkeypatch):
    """A notebook with a list of records as a parameter, and its module."""
    module = ModuleType("workbook.experiments.nb05_nets")
    module.__spec__ = sys.__spec__
    module.RECORDS, module.check = {"networks": Network}, check
    monkeypatch.setitem(sys.modules, module.__name__, module)
    rows = 'networks: list[dict] = [\n    {"width": 6},\n    {"width": 3, "weight_decay": 1e-2},\n]  # networks'
    add(root, "05_nets", LEAVE, parameters=f"n: int = 3  # at most\n{rows}")
    (root / "notebooks" / "profiles.toml").write_text(
        "[05_nets.paper]\nnetworks = [{ width = 12 }, { width = 3, weight_decay = 1 }]\n"
    )


@pytest.mark.usefixtures("networks")
def test_what_is_injected_are_dicts_whose_records_can_be_built():
    assert runner.resolve("05_nets", "quick", {}) == {}
    assert runner.resolve("05_nets", "paper", {}) == {"networks": [{"width": 12}, {"width": 3, "weight_decay": 1}]}
    assert runner.resolve("05_nets", "paper", {"networks": []}) == {"networks": []}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"networks": [{"width": 6}, {"widht": 6}]},
            r"networks\[1\] has an unknown field 'widht'; did you mean 'width'\?",
        ),
        ({"networks": [{"weight_decay": 1.0}]}, r"networks\[0\] lacks the field 'width'"),
        ({"networks": [{"width": "6"}]}, r"networks\[0\].width must be int, got '6' \(str\)"),
        ({"networks": [{"width": 0}]}, r"networks\[0\]: width must be at least 1, got 0"),
        ({"networks": {"width": 6}}, r"networks must be list\[dict\], got \{'width': 6\} \(dict\)"),
        ({"networks": "6 4 none true"}, r"networks must be list\[dict\], got '6 4 none true' \(str\)"),
        ({"n": 1}, "networks must be at most n=1, got 2"),  # of the default networks
    ],
)
@pytest.mark.usefixtures("networks", "no_kernel")
def test_record_that_cannot_be_is_refused_before_a_kernel_starts(overrides, message):
    with pytest.raises(ValueError, match=f"notebook 05_nets: {message}"):
        runner.run(["05"], overrides=overrides)


@pytest.mark.usefixtures("networks", "no_kernel")
def test_every_notebook_is_checked_before_the_first_one_starts(root):
    (root / "notebooks" / "profiles.toml").write_text("[05_nets.paper]\nnetworks = [{ width = 1.5 }]\n")
    with pytest.raises(ValueError, match=r"notebook 05_nets: networks\[0\].width must be int, got 1.5"):
        runner.run(["02", "05"], profile="paper")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "notebook 03_bad has no cell tagged 'parameters'"),
        ("n = 3", "notebook 03_bad: parameter n must have a type made of int, float, str, bool, list, dict, got 3"),
        ("m: int = 2\nn: int = m * 2", "notebook 03_bad: parameter n must be `name: type = literal  # help`, got 'm"),
        ("n: Tensor = 3", "notebook 03_bad: parameter n must be `name: type = literal"),
        ("n: list[int = 3", "notebook 03_bad: parameter n must be `name: type = literal"),
        ("n: int = 'three'", "notebook 03_bad: parameter n must have a default that is int, got 'three'"),
        ('n: str = "#3"  # help', "notebook 03_bad: parameter n must be `name: type = literal"),
    ],
)
def test_parameters_cell_with_a_mistake_is_refused(root, source, message):
    add(root, "03_bad", parameters=source)
    with pytest.raises(ValueError, match=re.escape(message)):
        runner.run(["03"])


def test_line_that_papermill_passes_over_is_no_parameter_and_makes_no_noise(root, capfd):
    add(root, "03_odd", parameters="n: int = 3  # k=3\nm: float | None = None  # help\nk: int = 1  # help")
    command = [sys.executable, "-c", "from workbook import run; print(list(run.parameters('03')))"]
    done = subprocess.run(command, env=os.environ | {"INFOLIB_ROOT": str(root)}, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("['k']\n", "")
    with pytest.raises(ValueError, match="unknown parameter 'm' of 03_odd; allowed: k"):
        runner.resolve("03_odd", "quick", {"m": 1.0})
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("root")
def test_parameters_carry_type_default_and_help():
    n = runner.parameters("02")["n"]
    assert (n.type, n.default, n.help) == (int, 3, "how many")


ROWS = "a: list[list[int]] = [\n    [1, 2],  # first\n\n    # more\n    [3],\n]  # rows"
ENTRIES = "a: dict = {\n    'b': 1e-3,\n    'c': None, 'd': (1, True)}  # one"


@pytest.mark.parametrize(
    ("source", "kind", "default", "text"),
    [
        ("a: list[str] = [\n    'x', 'y',\n]  # the words  # fmt: skip", list[str], ["x", "y"], "the words"),
        ("a: list[str] = ['x']  # fmt: skip", list[str], ["x"], ""),
        (ROWS, list[list[int]], [[1, 2], [3]], "rows"),
        (ENTRIES, dict, {"b": 1e-3, "c": None, "d": (1, True)}, "one"),
        ("a: list[dict] = [{'b': [1]}]  # rows: a list, of dicts", list[dict], [{"b": [1]}], "rows: a list, of dicts"),
        ("a: dict[str, float] = {}  # none", dict[str, float], {}, "none"),
        ("a: float = -1e-12  # small", float, -1e-12, "small"),
        ("a: str = ''", str, "", ""),
    ],
)
def test_value_may_break_over_lines_with_its_help_behind_its_end(root, source, kind, default, text):
    add(root, "03_long", parameters=f"n: int = 1  # one\n{source}\nz: int = 2  # two")
    n, a, z = runner.parameters("03").values()
    assert (n.name, n.help, z.name, z.default) == ("n", "one", "z", 2)
    assert (a.type, a.default, a.help) == (kind, default, text)


# A job in the background of a shell is born deaf to Ctrl-C: the runner listens again.
RUNNER = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from workbook import run; run.run(jobs=2)"
)


def start_runner(root):
    """A run in a process of its own, at the moment when its notebooks 03 and 04 sleep in a cell."""
    add(root, "03_slow", WAIT)
    add(root, "04_slow", WAIT)
    (root / "notebooks" / "02_good.ipynb").unlink()
    process = psutil.Popen([sys.executable, "-c", RUNNER], env=os.environ | {"INFOLIB_ROOT": str(root)}, stderr=-3)
    until(lambda: len(list((root / "reports" / "quick").glob(".0*/begun"))) == 2)
    return process, process.children(recursive=True)


def until(condition, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_stopped_run_keeps_former_reports_ends_its_kernels_and_the_next_run_works(root, sent):
    former = former_report(root, "03_slow")
    process, below = start_runner(root)
    assert len(below) >= 4  # two runners with a kernel each
    process.send_signal(sent)
    assert process.wait(30) != 0
    until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in below))
    assert former.read_text() == "the former report"
    add(root, "03_slow", LEAVE)
    (done,) = runner.run(["03"])
    assert done.error is None
    assert hidden(root) == []


def test_swap_cut_between_its_renames_is_mended_by_the_next_run(root):
    former = former_report(root, "03_other")
    former.parent.rename(root / "reports" / "quick" / ".old.03_other")
    runner.run(["02"])
    assert former.read_text() == "the former report"


def test_many_runs_at_once_in_separate_processes_all_succeed(root):
    command = [sys.executable, "-c", "from workbook import run; print(run.run()[0].error)"]
    environment = os.environ | {"INFOLIB_ROOT": str(root)}
    runs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert [run.communicate()[0].strip() for run in runs] == ["None"] * 6
    assert (root / "reports" / "quick" / "02_good" / "results.csv").read_text() == "n\n3\n"
    assert hidden(root) == []

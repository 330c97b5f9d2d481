import contextlib
import errno
import hashlib
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
import torch

from workbook import folders, provenance, store
from workbook import run as runner

PARAMETERS = "n: int = 3  # how many\nlayers: list[str] = ['fc1']\nrate: float = 1"
LEAVE = """
import os, pathlib
folder = pathlib.Path(os.environ["INFOLIB_REPORT"])
(folder / "figures").mkdir()
(folder / "figures" / "a.png").write_bytes(b"a picture")
(folder / "results.csv").write_text(f"n\\n{n}\\n")
(folder / "verdicts.csv").write_text("claim\\n")
(folder / "values.csv").write_text("claim\\n")
(folder / "provenance.json").write_text("{}")
"""
NO_WORDS = (
    "import os; os.symlink('/missing/error.txt', os.environ['INFOLIB_REPORT'] + '/error.txt')"  # none can be kept
)
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
    monkeypatch.delenv("INFOLIB_SEED_SHIFT", raising=False)
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
    assert record["parameters"] == record["overridden"] == {"n": 7}
    assert record["wall_seconds"] > 0
    assert hidden(root) == []


def test_report_with_other_parameters_is_marked_and_one_with_the_profiles_own_is_not(root):
    folder = root / "reports" / "quick" / "02_good"
    runner.run(["02"], overrides={"n": 7, "rate": 1, "layers": ["<i>`"] * 20})
    assert list(json.loads((folder / "provenance.json").read_text())["overridden"]) == ["n", "layers"]
    head = nbformat.read(folder / "report.ipynb", as_version=4).cells[0].source
    assert head.startswith("> **Not the quick profile's own parameters:** `n = 7, layers = ['<i>'', '<i>'',")
    assert head.endswith(" …`")
    page = (folder / "report.html").read_text()
    assert "Not the quick profile's own parameters:" in page
    assert "<i>'" not in page.split("<body")[1]
    runner.run(["02"], overrides={"n": 3})
    assert json.loads((folder / "provenance.json").read_text())["overridden"] == {}
    assert nbformat.read(folder / "report.ipynb", as_version=4).cells[0].source.startswith("# Title of")


def test_report_with_a_name_has_a_place_of_its_own_beside_the_paper_report(root):
    paper = root / "reports" / "paper"
    (root / "notebooks" / "profiles.toml").write_text("[02_good.paper]\nn = 11\n")
    former = former_report(root, "02_good", "paper")
    (done,) = runner.run(["02"], profile="paper", name="v1.2-b_", overrides={"n": 7})
    assert (done.name, done.error) == ("02_good", None)
    assert (paper / "02_good@v1.2-b_" / "results.csv").read_text() == "n\n7\n"
    assert "<title>02_good@v1.2-b_</title>" in (paper / "02_good@v1.2-b_" / "report.html").read_text()
    assert former.read_text() == "the former report"
    runner.run(["02"], profile="paper", overrides={"n": 11})  # what the profile has anyway
    assert (paper / "02_good" / "results.csv").read_text() == "n\n11\n"


def test_report_with_shifted_seeds_is_marked_and_keeps_the_paper_report(root, monkeypatch):
    monkeypatch.setenv("INFOLIB_SEED_SHIFT", "100")
    tell = "from workbook import records\n(folder / 'results.csv').write_text(str(records.seeds(2)))"
    add(root, "02_good", f"{LEAVE}\n{tell}")
    runner.run(["02"], overrides={"n": 7})
    folder = root / "reports" / "quick" / "02_good"
    assert (folder / "results.csv").read_text() == "range(100, 102)"
    changed = json.loads((folder / "provenance.json").read_text())["overridden"]
    assert runner.described(changed) == "n = 7, seeds from 100"
    head = nbformat.read(folder / "report.ipynb", as_version=4).cells[0].source
    assert head == "> **Not the quick profile's own parameters:** `n = 7, seeds from 100`"
    with pytest.raises(ValueError, match="02_good with seeds from 100 would replace the report of the paper profile"):
        runner.run(["02"], profile="paper")


@pytest.mark.usefixtures("root", "no_kernel")
def test_bad_shift_of_the_seeds_is_refused_before_a_kernel_starts(monkeypatch):
    monkeypatch.setenv("INFOLIB_SEED_SHIFT", "-1")
    with pytest.raises(ValueError, match="INFOLIB_SEED_SHIFT must be an integer from 0 to 999999999, got '-1'"):
        runner.run()


@pytest.mark.usefixtures("no_kernel")
def test_a_device_is_refused_before_a_kernel_starts(root, monkeypatch):
    for device, message in (
        ("mps", "INFOLIB_DEVICE must have float64, which mps does not"),
        ("meta", "INFOLIB_DEVICE must be one that torch has here, got 'meta'"),
        ("gpu", "INFOLIB_DEVICE must be one that torch has here, got 'gpu'"),
    ):
        monkeypatch.setenv("INFOLIB_DEVICE", device)
        with pytest.raises(ValueError, match=message):
            runner.run()
    monkeypatch.setattr(store, "device", lambda: torch.device("cuda:0"))
    with pytest.raises(ValueError, match="must be cpu, for what 02_good makes is not moved, got 'cuda:0"):
        runner.run()
    (root / "notebooks" / "profiles.toml").write_text("[02_good]\ncards = true\n")
    with pytest.raises(ValueError, match="02_good with device = cuda:0 would replace the report of the paper profile"):
        runner.run(profile="paper")


def test_compute_seconds_are_those_without_a_cache(root):
    folder = root / "reports" / "quick" / "02_good"
    runner.run()
    assert json.loads((folder / "provenance.json").read_text())["compute_seconds"] is None  # it saved no journal
    for core, known in ((5000.0, True), (None, False)):
        text = json.dumps({"cache": {"core_seconds": core, "waited_seconds": 1000.0}})
        later = f"(folder / 'provenance.json').write_text({text!r})\n(folder / 'cache.jsonl').touch()"
        add(root, "02_good", f"{LEAVE}\n{later}")
        (done,) = runner.run()
        record = json.loads((folder / "provenance.json").read_text())
        assert record["compute_seconds"] == (pytest.approx(record["wall_seconds"] + 4000) if known else None)
        assert done.error is None
        assert not (folder / "cache.jsonl").exists()


def test_claims_that_change_while_a_notebook_runs_fail_it(root):
    claims = root / "data" / "claims"
    claims.mkdir(parents=True)
    (claims / "02_good.toml").write_text("# fixed before")
    (claims / "03_other.toml").write_text("# of another notebook")
    where = f"claims = pathlib.Path({str(claims)!r})"
    add(root, "02_good", f"{LEAVE}\n{where}\n(claims / '03_other.toml').write_text('# new')")
    (done,) = runner.run()
    folder = root / "reports" / "quick" / "02_good"
    assert done.error is None
    record = json.loads((folder / "provenance.json").read_text())
    assert record["claims"] == {"02_good.toml": hashlib.sha256(b"# fixed before").hexdigest()}
    former = (folder / "provenance.json").read_text()
    add(root, "02_good", f"{LEAVE}\n{where}\n(claims / '02_good.toml').write_text('# afterwards')")
    (done,) = runner.run()
    assert done.error.startswith("02_good: data/claims/02_good.toml changed while the notebook ran")
    assert (folder / "provenance.json").read_text() == former


def test_notebook_runs_in_this_interpreter_whatever_is_called_python3(root, monkeypatch, tmp_path):
    other = tmp_path / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    argv = ["/nonexistent/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (other / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    add(root, "02_good", f"{LEAVE}\nimport sys\n(folder / 'results.csv').write_text(sys.executable)")
    assert [done.error for done in runner.run()] == [None]
    assert (root / "reports" / "quick" / "02_good" / "results.csv").read_text() == sys.executable
    (check,) = [check for check in provenance.check_environment() if check.name == "Jupyter kernel"]
    assert not check.good
    assert re.fullmatch(r"the kernel python3 in .*/python3 is /nonexistent/python, not .*", check.found)


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


def test_a_run_from_a_notebook_in_jupyterlab_shows_no_sliders(root, monkeypatch):
    """Its kernels have the variable of the server's, by which `charts.explore` knows that somebody can move them."""
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/run.ipynb")
    add(root, "02_good", f"{LEAVE}\n(folder / 'results.csv').write_text('session ' + os.environ['JPY_SESSION_NAME'])")
    (done,) = runner.run()
    assert done.error is None
    assert (root / "reports" / "quick" / "02_good" / "results.csv").read_text() == "session "


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
        ([NO_WORDS, "raise OSError('full')"], 5, "OSError: full"),
        (["import time; time.sleep(300)"], 0.1, "03_bad passed its time limit of 0.1 minutes"),
        (["x = 1"], 5, "left no results.csv, verdicts.csv, values.csv, provenance.json, figures/"),
    ],
    ids=["a cell raises", "the kernel dies", "no room for words", "past the time limit", "no deliverables"],
)
def test_failure_keeps_the_former_report_and_the_partial_notebook(root, cells, limit, message):
    add(root, "03_bad", *cells)
    former, others = former_report(root, "03_bad"), psutil.Process().children(recursive=True)
    (done,) = runner.run(["03"], time_limit=limit)
    assert re.search(message, done.error)
    assert former.read_text() == "the former report"
    assert (root / "reports" / "failed" / "03_bad.quick.ipynb").exists()
    assert hidden(root) == []
    assert [child for child in psutil.Process().children(recursive=True) if child not in others] == []


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


def test_a_cell_that_reads_reports_waits_for_the_others_and_what_is_before_it_does_not(root):
    here = f"seen = lambda: sorted(p.name for p in pathlib.Path({str(root / 'reports' / 'quick')!r}).glob('0*'))"
    begun = root / "begun"
    wait = "before = seen()\nfrom workbook import reports; reports.await_others()"
    shown = "(folder / 'results.csv').write_text(' '.join([*before, '|', *seen()]))"
    add(root, "01_reads", f"{LEAVE}\n{here}\nopen({str(begun)!r}, 'w')\n{wait}\n{shown}", tags=["reads-reports"])
    slow = f"import os, time\nwhile not os.path.exists({str(begun)!r}): time.sleep(0.1)\ntime.sleep(1)"
    add(root, "03_slow", f"{slow}\n{LEAVE}")  # it ends only after the other one has begun
    assert runner.last(["01_reads", "02_good", "03_slow"]) == ["01_reads"]
    done = runner.run(jobs=3)
    assert [(run.name, run.error) for run in done] == [("02_good", None), ("03_slow", None), ("01_reads", None)]
    before, after = (root / "reports" / "quick" / "01_reads" / "results.csv").read_text().split("|")
    assert "03_slow" not in before
    assert after.split() == ["02_good", "03_slow"]


def test_notebooks_that_read_reports_begin_last_and_alone_wait_for_nothing(root):
    begun = f"open({str(root / 'order')!r}, 'a').write"
    add(root, "01_reads", f"{LEAVE}\nfrom workbook import reports; reports.await_others()\n{begun}('reads ')",
        tags=["reads-reports"])  # fmt: skip
    add(root, "03_other", f"{LEAVE}\n{begun}('other ')")
    assert [run.error for run in runner.run(["01", "03"])] == [None, None]
    assert [run.error for run in runner.run(["01"])] == [None]
    assert (root / "order").read_text() == "other reads reads "


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
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(runner.joblib, "cpu_count", lambda: 6)
    threads = f"{LEAVE}\n(folder / 'results.csv').write_text(os.environ['OMP_NUM_THREADS'])"
    for name, tags in (("02_good", []), ("03_other", []), ("07_reads", ["reads-reports"])):
        add(root, name, threads, tags=tags)
    runner.run(jobs=3)
    given = {path.parent.name: path.read_text() for path in (root / "reports" / "quick").glob("*/results.csv")}
    assert given == {"02_good": "2", "03_other": "2", "07_reads": "2"}


def test_the_threads_that_a_user_sets_and_the_processors_that_this_process_may_use_are_respected(root, monkeypatch):
    given = "import os, torch; threads = [os.environ['OMP_NUM_THREADS'], str(torch.get_num_threads())]"
    add(root, "02_good", f"{LEAVE}\n{given}\n(folder / 'results.csv').write_text(' '.join(threads))")
    found = root / "reports" / "quick" / "02_good" / "results.csv"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with monkeypatch.context() as many:
        many.setattr(runner.joblib, "cpu_count", lambda: 6)
        runner.run()
    assert found.read_text() == "1 1"
    found.unlink()
    monkeypatch.delenv("OMP_NUM_THREADS")
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        runner.run()
    finally:
        os.sched_setaffinity(0, allowed)
    assert found.read_text() == "1 1"


def test_full_disk_keeps_the_former_report(root, monkeypatch):
    rename = runner.Path.rename

    def full(path, target):  # once the former report has made way
        if path.name == "report":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    former = former_report(root, "02_good")
    monkeypatch.setattr(runner.Path, "rename", full)
    (done,) = runner.run()
    assert "No space left on device" in done.error
    assert former.read_text() == "the former report"
    assert hidden(root) == []


def test_a_link_in_the_place_of_a_report_is_replaced_and_what_it_leads_to_stays(root):
    elsewhere = root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").touch()
    place = root / "reports" / "quick" / "02_good"
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere)
    assert [done.error for done in runner.run()] == [None]
    assert not place.is_symlink()
    assert (place / "results.csv").exists()
    assert [path.name for path in elsewhere.iterdir()] == ["mine"]
    assert hidden(root) == []


@pytest.fixture
def no_kernel(monkeypatch):
    monkeypatch.setattr(runner.psutil, "Popen", lambda *_, **__: pytest.fail("a kernel was started"))


@pytest.mark.usefixtures("root", "no_kernel")
def test_reports_folder_that_cannot_be_written_is_named_before_a_kernel_starts(monkeypatch):
    made = folders.tempfile.mkdtemp

    def refuse(*places, **options):
        if places:  # a TemporaryDirectory, outside of reports
            return made(*places)
        raise OSError(errno.EROFS, "Read-only file system", str(options["dir"]))

    monkeypatch.setattr(folders.tempfile, "mkdtemp", refuse)
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
        ({"name": "../x"}, "name must be at most 40 letters, digits, dots, hyphens and underscores, a letter or"),
        ({"name": ".x"}, "a letter or a digit first, got '.x'"),
        ({"name": ""}, "name must be .* got ''"),
        ({"name": "x" * 41}, "name must be at most 40"),
        ({"profile": "paper", "overrides": {"n": 7}}, r"02_good with n = 7 would replace .* give the report a name"),
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
    module.RECORDS, module.RANGES, module.check = {"networks": Network}, {}, check
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
    until(lambda: len(list((root / "reports" / "quick").glob(".0*/report/begun"))) == 2)
    return process, process.children(recursive=True)


def until(condition, seconds=180, step=0.1):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(step)


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


# It forks a runner at each line: in a runner of its own each case would import torch first.
FORKS = """
import os, sys
from workbook import run
run.parameters("03")
for line in sys.stdin:
    runner = os.fork()
    if not runner:
        run.run(["03"])
    print(runner, flush=True)
    os.waitpid(runner, 0)
"""


@pytest.fixture(scope="module")
def forks(tmp_path_factory):
    """Starts a runner, and gives it with its child as soon as that appears; and the workbook's root."""
    root = tmp_path_factory.mktemp("forks") / "book"
    (root / "notebooks").mkdir(parents=True)
    (root / "notebooks" / "profiles.toml").touch()
    add(root, "03_slow", WAIT)
    environment = os.environ | {"INFOLIB_ROOT": str(root)}
    server = subprocess.Popen([sys.executable, "-c", FORKS], env=environment, text=True, stdin=-1, stdout=-1)

    def start():
        server.stdin.write("\n")
        server.stdin.flush()
        process = psutil.Process(int(server.stdout.readline()))
        until(lambda: started(process), step=0.005)
        return process, started(process)

    yield start, root
    server.stdin.close()
    server.wait(30)
    server.stdout.close()


def started(process):
    """The child of a runner that executes a notebook; git is another."""
    found = []
    for child in process.children():
        with contextlib.suppress(psutil.Error):
            found += [child] * ("workbook.child" in child.cmdline())
    return found


def below(root, children):
    """Those children of a runner, and all below them whoever they belong to now, that have not ended."""
    report, found = f"{root}/reports/quick/.03_slow.", []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = process in children or process.environ().get("INFOLIB_REPORT", "").startswith(report)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 1.0])
def test_child_whose_runner_is_gone_ends_within_two_seconds_at_any_moment(forks, sent, delay):
    start, root = forks
    process, children = start()
    time.sleep(delay)
    process.send_signal(sent)
    until(lambda: not below(root, children), seconds=2)
    (work,) = (root / "reports" / "quick").glob(".03_slow.*")
    assert not folders.sockets(work).exists()
    folders.sweep(work.parent)
    assert not work.exists()


@pytest.fixture
def ended(root):
    """What a run leaves whose process has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    folder = root / "reports" / "quick"
    folder.mkdir(parents=True)
    with folders.temporary(folder / "00_any") as work:
        owner = json.loads((work / "owner.json").read_text())
    return owner | {"pid": process.pid}


def leave(root, owner, name=".02_good.abcd1234"):
    """A temporary folder of a run, with its sockets."""
    work = root / "reports" / "quick" / name
    (work / "report").mkdir(parents=True)
    (work / "owner.json").write_text(owner if isinstance(owner, str) else json.dumps(owner))
    folders.sockets(work).mkdir(exist_ok=True)
    return work


def test_what_a_killed_run_leaves_is_swept_with_its_sockets_and_a_cut_swap_is_mended(root, ended):
    work = leave(root, ended)
    (work / "former").mkdir()
    (work / "former" / "results.csv").write_text("the former report")
    folders.sweep(work.parent)
    assert hidden(root) == []
    assert not folders.sockets(work).exists()
    assert (work.parent / "02_good" / "results.csv").read_text() == "the former report"
    again = leave(root, ended | {"pid": os.getpid(), "started": ended["started"] - 1000})  # its number was given again
    folders.sweep(again.parent)
    assert hidden(root) == []


@pytest.mark.parametrize(
    "changes",
    [{"machine": "another"}, {"namespace": "pid:[1]"}, {"pid": os.getpid()}, {"pid": "x"}, None, "[]", "{", "{}"],
    ids=["machine", "namespace", "this process", "no number", "no file", "a list", "half a file", "nothing in it"],
)
def test_what_is_not_known_to_be_of_an_ended_run_stays(root, ended, changes):
    work = leave(root, ended | changes if isinstance(changes, dict) else changes or "")
    if changes is None:
        (work / "owner.json").unlink()
    folders.sweep(work.parent)
    assert (work / "report").exists()
    assert folders.sockets(work).exists()
    folders.sockets(work).rmdir()


def test_files_and_links_of_others_neither_stop_a_run_nor_are_touched(root, ended):
    quick = root / "reports" / "quick"
    dead = leave(root, ended, name="elsewhere")
    (dead / "former").mkdir()
    (quick / ".08_x.ipynb.swp").write_text("an editor's")
    (quick / ".old.02_good").symlink_to(dead)
    (quick / ".02_good.link").symlink_to(dead)
    folders.sweep(quick)
    assert sorted(hidden(root)) == [".02_good.link", ".08_x.ipynb.swp", ".old.02_good"]
    assert sorted(path.name for path in dead.iterdir()) == ["former", "owner.json", "report"]
    folders.sockets(dead).rmdir()


def test_a_lock_that_is_held_is_waited_for_so_long_and_then_named(root, monkeypatch):
    (root / "reports").mkdir()
    hold = "import time; from workbook import folders\nwith folders.lock(): print('held', flush=True); time.sleep(60)"
    environment = os.environ | {"INFOLIB_ROOT": str(root)}
    with subprocess.Popen([sys.executable, "-c", hold], env=environment, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(folders, "WAIT", 0.2)
        message = rf"waited 0.2 s for .*/reports/.lock, which process {holder.pid} holds to put a report in place"
        try:
            with pytest.raises(OSError, match=message):
                runner.run()
        finally:
            holder.kill()
    with folders.lock():
        pass


def test_many_runs_at_once_in_separate_processes_all_succeed(root):
    command = [sys.executable, "-c", "from workbook import run; print(run.run()[0].error)"]
    environment = os.environ | {"INFOLIB_ROOT": str(root)}
    runs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [run.communicate()[0].strip() for run in runs] == ["None"] * 4
    assert (root / "reports" / "quick" / "02_good" / "results.csv").read_text() == "n\n3\n"
    assert hidden(root) == []

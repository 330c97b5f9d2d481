import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
from click.testing import CliRunner

import workbook
from workbook import datasets, provenance, reports, root
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
        (
            ["run", "00", "-p", "n_train=[1]"],
            "00_start_here: n_train must be int from 10 to 1000000, got [1] (list)",
        ),
        (["run", "00", "-p", "n_train"], "-p takes NAME=YAML, got 'n_train'"),
        (["run", "00", "-p", "n_train=[1"], "-p n_train: '[1' is not YAML"),
        (["data", "--download", "imagenet"], "imagenet"),
    ],
)
def test_mistake_is_one_message_and_not_a_traceback(arguments, message):
    result = call(*arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[{width: 6}]", [{"width": 6}]),
        ("[{lr: 1.5e-3, decay: 1e-2}, {hidden: [3]}]", [{"lr": 0.0015, "decay": 0.01}, {"hidden": [3]}]),
        ("{lr: -1E3, name: '1e-3'}", {"lr": -1000.0, "name": "1e-3"}),
        ("1e-3", 0.001),
        ("1e-3x", "1e-3x"),
        ("fc1", "fc1"),
        (" a=b", "a=b"),
    ],
)
def test_parameter_is_given_as_yaml_and_a_number_in_it_as_in_python(monkeypatch, text, value):
    given = {}

    def run(names, *, overrides, **_):
        given.update(overrides)
        return [runner.Run(name, 1.0) for name in names]

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(reports, "index", lambda _=None: root() / "reports" / "index.html")
    assert call("run", "00", "-p", f"networks={text}").exit_code == 0
    assert given == {"networks": value}


KINDS = {
    "rate": float, "n": int, "word": str, "flag": bool, "steps": list[int], "layers": list[str],
    "limits": dict[str, float], "rows": list[dict],
}  # fmt: skip


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("rate=1e-3", 1e-3), ("rate=1E2", 100.0), ("rate=-.5e+1", -5.0), ("rate=3", 3), ("rate='1e-3'", "1e-3"),
        ("rate=.inf", float("inf")), ("rate=1:30", "1:30"),
        ("n=1e2", 100), ("n=2.5e3", 2500), ("n=1e-1", 0.1), ("n=012345", 12345), ("n=0x10", 16), ("n=1_000", 1000),
        ("n=1:30", "1:30"), ("n=1e400", float("inf")), ("n=true", True), ("n=9007199254740993", 9007199254740993),
        ("n=", None), ("n=three", "three"),
        ("word=no", "no"), ("word=012345", "012345"), ("word=1e-3", "1e-3"), ("word=null", "null"), ("word=", ""),
        ("word='no'", "no"), ('word="a b"', "a b"), ("word=#3", "#3"), ("word= ~/nets ", "~/nets"), ("word=[a]", ["a"]),
        ("flag=no", False), ("flag=true", True),
        ("steps=[0, 1e2]", [0, 100]), ("steps=[010, 1.5]", [10, 1.5]), ("steps=[[1]]", [[1]]),
        ("layers=[no, 012, 'x', 1e3]", ["no", "012", "x", "1e3"]),
        ("limits={a: 1e-3, no: 2}", {"a": 1e-3, "no": 2}),
        ("rows=[{lr: 1e-3}]", [{"lr": 1e-3}]),
    ],
)  # fmt: skip
def test_word_of_yaml_is_read_as_what_the_parameter_holds(monkeypatch, pair, value):
    given = {}

    def run(names, *, overrides, **_):
        given.update(overrides)
        return [runner.Run(name, 1.0) for name in names]

    known = {name: runner.Parameter(name, kind, None, "") for name, kind in KINDS.items()}
    monkeypatch.setattr(runner, "parameters", lambda _: known)
    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(reports, "index", lambda _=None: root() / "reports" / "index.html")
    result = call("run", "00", "-p", pair)
    assert result.exit_code == 0, result.output
    assert given == {pair.split("=")[0]: value}
    assert type(given.popitem()[1]) is type(value)


def test_report_is_given_a_name_and_the_paper_profile_needs_one(monkeypatch):
    result = call("run", "00", "--profile", "paper", "-p", "n_train=1e3")
    assert (result.exit_code, result.output.count("\n")) == (1, 2)
    assert "00_start_here with n_train = 1000 would replace the report of the paper profile" in result.output
    assert "--name" in result.output
    assert "name must be at most 40 letters" in call("run", "00", "--name", "a/b").output
    given = {}

    def run(names, *, name, **_):
        given["name"] = name
        return [runner.Run(full, 1.0) for full in names]

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(reports, "index", lambda _=None: root() / "reports" / "index.html")
    assert call("run", "00", "--name", "mine").exit_code == 0
    assert given == {"name": "mine"}


def test_scoreboards_are_renewed_as_each_notebook_ends_and_a_broken_one_does_not_end_the_run(monkeypatch):
    renewed = []

    def index(_=None):
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
    assert "seeds" not in result.output
    result = call("run", "00", "01", "-p", "n_seeds=3")
    for name in ("00_start_here", "01_estimators"):
        assert f"{name} has 3 seeds, and a verdict takes 5: its findings will be undecided\n" in result.output


def test_list_shows_notebooks_with_their_parameters():
    result = call("list")
    assert result.exit_code == 0
    assert "00_start_here" in result.output
    assert "    n_train = 899  training images" in result.output


def test_a_reader_that_has_seen_enough_is_no_error():
    """As in `infolib list | head -1`."""
    with subprocess.Popen([sys.executable, "-m", "workbook", "list"], stdout=-1, stderr=-1, bufsize=0) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_list_shows_named_and_overridden_reports_as_such_and_passes_over_what_is_broken(monkeypatch, tmp_path):
    shutil.copytree(root() / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("0[1-9]*"))
    whole = root() / "reports" / "paper" / "00_start_here"
    for name in ("quick/00_start_here", "quick/00_start_here@mine", "paper/00_start_here"):
        shutil.copytree(whole, tmp_path / "reports" / name, ignore=shutil.ignore_patterns("*.png", "*.ipynb"))
    (tmp_path / "reports" / "paper" / "00_start_here" / "verdicts.csv").unlink()
    path = tmp_path / "reports" / "quick" / "00_start_here@mine" / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"overridden": {"n_train": 100}}))
    monkeypatch.setenv("INFOLIB_ROOT", str(tmp_path))
    result = call("list")
    assert result.exit_code == 0
    assert re.search(r"^    quick( by the former rule)?: \d+ ", result.output, re.M)
    assert re.search(r"^    quick@mine with n_train = 100( by the former rule)?: \d+ ", result.output, re.M)
    assert re.search("^reports/paper/00_start_here is not a whole report", result.output, re.M)
    assert "    paper" not in result.output


def test_doctor_finds_this_environment_sound():
    result = call("doctor")
    assert result.exit_code == 0, result.output
    names = re.findall("^✓ ([^:]+):", result.output, re.M)
    assert names == [
        "workbook",
        "Python",
        "packages",
        "torch and torchvision",
        "Jupyter kernel",
        "data",
        "reports",
        "disk",
    ]


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A working folder that is in no workbook, for a package that lies in none."""
    folder = tmp_path / "nowhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("INFOLIB_ROOT", raising=False)
    monkeypatch.delenv("INFOLIB_CACHE")
    monkeypatch.setattr(workbook, "__file__", str(tmp_path / "site-packages" / "workbook" / "__init__.py"))
    datasets.checksums.cache_clear()
    yield folder
    datasets.checksums.cache_clear()


def test_root_is_what_infolib_root_names_from_wherever_one_works(tmp_path, monkeypatch):
    make_root(tmp_path / "mine")
    monkeypatch.setenv("INFOLIB_ROOT", str(tmp_path / "mine"))
    assert root() == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFOLIB_ROOT", "mine")
    assert root() == tmp_path / "mine"


def make_root(folder):
    (folder / "notebooks").mkdir(parents=True)
    (folder / "notebooks" / "profiles.toml").touch()


@pytest.mark.parametrize("below", [".", "notebooks", "reports/quick/02_good", "data"])
def test_root_is_the_nearest_folder_upwards_with_profiles(tmp_path, monkeypatch, below):
    make_root(tmp_path / "outer")
    make_root(tmp_path / "outer" / "inner")
    (tmp_path / "outer" / "inner" / below).mkdir(parents=True, exist_ok=True)
    monkeypatch.delenv("INFOLIB_ROOT", raising=False)
    monkeypatch.chdir(tmp_path / "outer" / "inner" / below)
    assert root() == tmp_path / "outer" / "inner"
    monkeypatch.setenv("INFOLIB_ROOT", "")
    assert root() == tmp_path / "outer" / "inner"


def test_root_is_the_folder_of_the_package_when_nothing_else_is(nowhere, monkeypatch):
    make_root(nowhere.parent / "checkout")
    monkeypatch.setattr(workbook, "__file__", str(nowhere.parent / "checkout" / "workbook" / "__init__.py"))
    assert root() == nowhere.parent / "checkout"


@pytest.mark.parametrize(
    ("named", "found"),
    [(None, "there is no workbook here: set INFOLIB_ROOT to"), (".", "INFOLIB_ROOT=. is not a workbook: set it to")],
)
@pytest.mark.parametrize(
    "command",
    [["doctor"], ["list"], ["run"], ["run", "00", "--fresh"], ["index"], ["data"], ["data", "--download", "ib"]],
)
def test_without_a_workbook_one_message_says_what_to_set_and_nothing_is_written(
    nowhere, monkeypatch, command, named, found
):
    if named:
        monkeypatch.setenv("INFOLIB_ROOT", named)
    result = call(*command)
    assert result.exit_code == 1
    assert f"{found} the folder that holds notebooks/profiles.toml" in result.output
    assert len(result.output.splitlines()) == (2 if command == ["doctor"] else 1)
    assert list(nowhere.parent.rglob("*")) == [nowhere]


def test_doctor_without_a_workbook_looks_no_further(nowhere):
    assert nowhere
    assert call("doctor").output.splitlines() == [
        "✗ workbook: there is no workbook here: set INFOLIB_ROOT to the folder that holds notebooks/profiles.toml",
        "  mend: set INFOLIB_ROOT to the folder that holds notebooks/profiles.toml",
    ]


def test_doctor_names_what_is_broken_and_how_to_mend_it(monkeypatch, tmp_path):
    monkeypatch.setenv("INFOLIB_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(provenance, "version", lambda name: {"numpy": "0.0.1"}.get(name) or version(name))
    result = call("doctor")
    assert result.exit_code == 1
    assert "✗ data: INFOLIB_DATA=" in result.output
    assert "✗ packages: out of bounds: numpy 0.0.1\n" in result.output
    assert "mend: set INFOLIB_DATA to a folder" in result.output


@pytest.mark.parametrize("lacking", [*provenance.OURS, "torch", "click", "matplotlib"])
def test_doctor_names_a_package_of_the_library_or_the_workbook_that_is_missing(monkeypatch, lacking):
    def without(name):
        if name == lacking:
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(provenance, "version", without)
    result = call("doctor")
    assert result.exit_code == 1
    assert re.search(rf"^✗ packages: out of bounds: .*\b{lacking} missing", result.output, re.M)


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import infolib, workbook.__main__", ["torch", "numpy", "papermill"]),
        (
            "from infolib import activations, plotting; from workbook import claims, datasets, models, provenance",
            ["torchvision", "sklearn", "papermill", "nbformat"],
        ),
        (
            "from workbook import run, reports, store",
            ["torchvision", "sklearn", "papermill", "rfc3987_syntax.syntax_helpers", "distributed", "dask"],
        ),
        *(
            (
                f"from workbook.__main__ import main; main(['{command}'], standalone_mode=False)",
                ["torch", "scipy.stats"],
            )
            for command in ("list", "status")
        ),
    ],
)
def test_imports_stay_light(statement, heavy):
    code = f"{statement}; import sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

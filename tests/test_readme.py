"""What the README says: its example, its commands, its links, and its scoreboard."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
import urllib.request

import click
import pytest

from workbook import __main__, reports, root, rule, verify
from workbook import run as runner

TEXT = (root() / "README.md").read_text()
COMMANDS = re.findall(r"^([a-z][^#\n]*[^#\s])", "\n".join(re.findall(r"```bash\n(.*?)```", TEXT, re.S)), re.M)


def run(command):
    """A command of the README, in the workbook's folder, with the cache that a reader has."""
    environment = {name: value for name, value in os.environ.items() if name not in ("INFOLIB_CACHE", "MAKEFLAGS")}
    return subprocess.run(command.split(), cwd=root(), env=environment, capture_output=True, text=True, check=False)


def test_the_example_runs(capsys):
    """And its numbers are those that the text after it speaks of."""
    exec(re.search(r"```python\n(.*?)```", TEXT, re.S)[1], {})
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["layer", "I(X;T)", "I(X;T)", "chance", "I(T;Y)", "I(T;Y)", "chance"]
    about_x, by_chance, about_y, nothing = zip(*(map(float, row.split()[2:]) for row in rows), strict=True)
    assert (about_x[0], by_chance[0]) == (pytest.approx(3, abs=0.3), pytest.approx(1.7, abs=0.2))
    assert about_x[0] - by_chance[0] == pytest.approx(1.3, abs=0.2)
    assert about_x[-1] - by_chance[-1] == pytest.approx(0.6, abs=0.2)
    assert (about_y[-1], nothing[-1]) == (pytest.approx(1, abs=0.05), pytest.approx(0, abs=0.05))


def test_links_lead_somewhere():
    for path in re.findall(r"\]\((?!https?:)([^)]+)\)", TEXT):
        assert (root() / path).exists(), path


def test_each_command_is_executed_by_a_test_below_or_is_the_one_that_runs_this():
    tested = {"make reports", "make reports PROFILE=paper", "make lab", "make"}
    elsewhere = {"make test"} | {command for command in COMMANDS if command.startswith("pip ")}  # in test_wheel.py
    assert set(COMMANDS) - elsewhere <= tested
    assert len(elsewhere) == 3
    assert "\nmake test\n" in (root() / ".ci" / "run").read_text()


PAGES = ["README.md", "CONTRIBUTING.md", "data/README.md", "docs/cluster.md", "notebooks/README.md",
         "workshop/README.md"]  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_commands_on_a_page_are_ones_that_the_command_line_takes(path):
    """They are read as the command line would read them, and not executed: that is for the tests of each command."""
    text = (root() / path).read_text()
    found = re.findall(r"(?:`|^)(?:\.venv/bin/)?infolib ([^`#\n]+)", text, re.M)
    for command in found:
        *others, command = command.split(" | ")
        name, *words = shlex.split(command.replace(" --help", ""))
        assert {*others, name} <= set(__main__.main.commands), command
        of = __main__.main.commands[name]
        with click.Context(of) as context:
            left = of.make_parser(context).parse_args(words)[1]  # it refuses an option that there is not
        assert left == [], command


@pytest.mark.parametrize("path", PAGES)
def test_make_lists_the_targets_that_a_page_names(path):
    listed = run("make").stdout
    named = re.findall(r"(?:`|^)make ([a-z]+)", (root() / path).read_text(), re.M)
    assert {name for name in named if f"\n{name} " not in f"\n{listed}"} == set()


@pytest.mark.usefixtures("reporting")
def test_make_reports_executes_the_whole_workbook():
    done = run("make reports")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = reports.load("quick")
    assert list(found) == list(runner.notebooks())
    for name, report in found.items():
        assert [*verify.unlike_values(name, report)] == []
        told = report.verdicts.set_index("claim")["control"]
        assert told[told == "follows from the claim"].index.tolist() == [], name


def test_make_reports_of_the_paper_profile_would_run_every_notebook_with_parameters_that_fit():
    """It takes hours: make says what it would run, and the workbook that everything is in order."""
    (line,) = [line for line in run("make -n reports PROFILE=paper").stdout.splitlines() if "infolib run" in line]
    assert line.split()[1:] == ["run", "--profile", "paper", "--jobs", "2"]
    assert all(runner.resolve(name, "paper", {}) for name in runner.notebooks())


def test_make_lab_serves_the_notebooks(tmp_path):
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    settings = {"ServerApp": {"allow_root": True, "open_browser": False, "token": "", "port": port}}
    (tmp_path / "jupyter_server_config.json").write_text(json.dumps(settings))
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path)}
    lab = subprocess.Popen(["make", "lab"], cwd=root(), env=environment, start_new_session=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        assert "00_start_here.ipynb" in answer(f"http://localhost:{port}/api/contents/notebooks", seconds=60)
    finally:
        os.killpg(lab.pid, signal.SIGTERM)
        lab.wait()


def answer(address, seconds):
    for _ in range(4 * seconds):
        try:
            with urllib.request.urlopen(address) as page:
                return page.read().decode()
        except OSError:
            time.sleep(0.25)
    pytest.fail(f"no answer from {address} within {seconds} s")


def test_the_scoreboard_counts_what_the_reports_say():
    rows = {number: cells.split("|") for number, cells in re.findall(r"^\| (\d\d) \|(.*)\|$", TEXT, re.M)}
    found = reports.load("paper")
    assert set(rows) == {name[:2] for name in runner.notebooks()}
    for name in runner.notebooks():
        cells, report = [cell.strip() for cell in rows[name[:2]][-7:]], found[name]
        words = report.verdicts.drop_duplicates("claim")["word"].tolist()
        passed, failed = (words.count(word) for word in rule.CHECKED)
        checks = f"{passed}/{passed + failed}" if passed + failed else "–"
        assert cells == [*(str(words.count(word)) for word in rule.VERDICTS), checks], name

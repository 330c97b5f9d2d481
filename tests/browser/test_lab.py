"""Notebooks in a real JupyterLab: they run to the end, sliders move by keyboard, and nobody is asked for news.

Two notebooks run, 00 and 01, which take half a minute each; 01 has sliders. With BROWSER_ALL=1 all run.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from playwright.sync_api import expect

from workbook import exercises, root, run

NOTEBOOKS = list(run.notebooks()) if os.environ.get("BROWSER_ALL") else ["00_start_here", "01_estimators"]
SLIDERS = [name for name in NOTEBOOKS if "charts.explore(" in run.notebooks()[name].read_text()]
START, RUN = 120_000, 900_000  # milliseconds at most: until a kernel is there, and for all cells of a notebook

# The status indicator is idle before the kernel is connected, and what is run then never comes back.
READY = """() => {
    const session = window.jupyterapp?.shell.currentWidget?.sessionContext, kernel = session?.session?.kernel;
    return session?.isReady && kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""
RUN_ALL = """() => {
    window.ran = false;
    window.jupyterapp.commands.execute("notebook:run-all-cells").then(() => { window.ran = true; });
}"""
CELLS = "() => [...window.jupyterapp.shell.currentWidget.content.model.cells].map(cell => cell.toJSON())"
SOLVE = """sources => {
    for (const cell of window.jupyterapp.shell.currentWidget.content.model.cells)
        if (sources[cell.id]) cell.sharedModel.setSource(sources[cell.id]);
}"""
DEFAULTS = """async plugin => (await window.jupyterapp.serviceManager.settings.fetch(plugin)).schema.properties"""
SHOW = """async index => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = index;
    await notebook.scrollToItem(index, "start");
}"""

expect.set_options(timeout=START)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A root with a copy of the notebooks, those of the workshop, and an empty cache."""
    place = tmp_path_factory.mktemp("root")
    shutil.copytree(root() / "notebooks", place / "notebooks")
    for name in ("data", "reports"):
        (place / name).symlink_to(root() / name)
    exercises.build(place / "workshop")
    return place


@pytest.fixture(scope="module")
def lab(folder):
    """The address of a JupyterLab with the settings of `make lab`, whose own files are in the temporary folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(folder / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    own |= {"INFOLIB_ROOT": str(folder), "INFOLIB_CACHE": str(folder / "cache"), "TQDM_DISABLE": "1"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--port-retries=0",
               "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]  # fmt: skip
    command += ["--allow-root"] if os.getuid() == 0 else []
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen([*command, str(folder)], env=os.environ | settings() | own, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api", server, folder / "lab.log")
        yield f"http://127.0.0.1:{port}/lab/tree"
    finally:
        server.terminate()
        server.wait(timeout=60)


def settings():
    """What `make lab` sets in the environment."""
    database = subprocess.run(["make", "-pn", "lab"], cwd=root(), capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"^lab: (JUPYTER_\w+) := (.+)$", database, re.M))


def wait_for(address, server, log):
    """Until an address answers; fails with the server's log."""
    for _ in range(600):
        try:
            return urllib.request.urlopen(address, timeout=5)
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture
def open_notebook(browser, lab):
    """Open a notebook, with a kernel; whatever it asks of others, or the server for news, is a failure."""
    pages, asked = [], []

    def open_(path):
        pages.append(browser.new_page(viewport={"width": 1280, "height": 900}))
        pages[-1].on("request", lambda request: asked.append(request.url))
        pages[-1].goto(f"{lab}/{path}?reset")
        pages[-1].locator(".jp-NotebookPanel .jp-Cell").first.wait_for(timeout=START)
        pages[-1].wait_for_function(READY, timeout=START)
        return pages[-1]

    yield open_
    for page in pages:
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        page.close()
    here = lab.removesuffix("lab/tree")
    elsewhere = [url for url in asked if not url.startswith((here, here.replace("http", "ws"), "data:", "blob:"))]
    assert elsewhere + [url for url in asked if re.search("/lab/api/(news|update)", url)] == []


def executed(page):
    """The code cells of a notebook after Run All."""
    page.evaluate(RUN_ALL)
    page.wait_for_function("window.ran", timeout=RUN)
    page.wait_for_function(READY, timeout=START)
    return [cell for cell in page.evaluate(CELLS) if cell["cell_type"] == "code"]


def signs(code):
    """The first character of each line that the checks of exercises print."""
    outputs = [output for cell in code if "check" in cell["metadata"].get("tags", []) for output in cell["outputs"]]
    return set(re.findall("^.", "".join(part for output in outputs for part in output.get("text", "")), re.M))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_to_its_end_and_its_exercises_are_right(open_notebook, name):
    code = executed(open_notebook(f"notebooks/{name}.ipynb"))
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"] == []
    assert signs(code) == {"✓"}


def test_an_exercise_answers_a_student_before_and_after_it_is_solved(open_notebook, folder):
    page = open_notebook(f"workshop/student/{NOTEBOOKS[0]}.ipynb")
    assert signs(executed(page)) == {"…"}
    solved = nbformat.read(folder / f"workshop/solutions/{NOTEBOOKS[0]}.ipynb", as_version=4).cells
    page.evaluate(SOLVE, {cell.id: cell.source for cell in solved if "exercise" in cell.metadata.get("tags", [])})
    assert signs(executed(page)) == {"✓"}


def test_nobody_is_asked_for_news(open_notebook):
    page = open_notebook(f"notebooks/{SLIDERS[0]}.ipynb")
    defaults = page.evaluate(DEFAULTS, "@jupyterlab/apputils-extension:notification")
    assert [defaults[name]["default"] for name in ("fetchNews", "checkForUpdates")] == ["false", False]
    assert page.locator("text=official Jupyter news").count() == 0


def test_the_table_of_contents_leads_to_its_headings(open_notebook, folder):
    page = open_notebook(f"notebooks/{SLIDERS[0]}.ipynb")
    page.get_by_role("tab", name="Table of Contents").click()
    entries = page.locator("#table-of-contents .jp-tocItem-content")
    entries.first.wait_for(timeout=START)
    cells = nbformat.read(folder / f"notebooks/{SLIDERS[0]}.ipynb", as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    headings = re.findall(r"^#+ (.+)$", prose, re.M)
    assert [text.strip() for text in entries.all_inner_texts()] == headings
    entries.last.click()
    expect(page.locator(".jp-NotebookPanel h2", has_text=headings[-1])).to_be_in_viewport()


@pytest.mark.parametrize("name", SLIDERS)
def test_a_slider_moves_by_keyboard_and_the_picture_follows(open_notebook, name):
    page = open_notebook(f"notebooks/{name}.ipynb")
    executed(page)
    cells = page.evaluate(CELLS)
    (index,) = [i for i, cell in enumerate(cells) if "charts.explore(" in "".join(cell["source"])]
    page.evaluate(SHOW, index)
    shown = page.locator(".jp-CodeCell:has(.widget-slider)")
    said, picture = shown.locator(".widget-html-content"), shown.locator(".jupyter-widgets img")
    picture.wait_for(state="visible")
    words, source = said.inner_text(), picture.get_attribute("src")
    shown.locator(".noUi-handle").last.press("ArrowRight")
    expect(picture).not_to_have_attribute("src", source, timeout=START)
    expect(said).not_to_have_text(words)

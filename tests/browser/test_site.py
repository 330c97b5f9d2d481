"""The site in a real browser, from its files: it asks nobody for anything, fits a phone, and can be used by keyboard.

`make test-browser` runs it; the site is built first where there is none.
"""

import csv
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
from urllib.parse import unquote

import pytest
from axe_playwright_python.sync_playwright import Axe
from sphinx.util.inventory import InventoryFile

import infolib
from workbook import root

SITE = root() / "docs" / "build" / "html"
PAGES = ["README", "reports/README", "reports/paper/01_estimators/report", "docs/explore", "docs/glossary",
         "docs/api/infolib.estimators.renyi", "docs/api/infolib.measures.lenses", "docs/howto/network"]  # fmt: skip
CHECKED = ["README", "reports/paper/01_estimators/report", "docs/explore", "docs/api/infolib.estimators.renyi"]
THEME = {  # of the theme, or of a notebook's tables: what the page's author cannot change
    "summary-name", "label-content-name-mismatch", "empty-table-header", "heading-order", "region",
}  # fmt: skip


@pytest.fixture(scope="session")
def site():
    if not (SITE / "index.html").exists():
        subprocess.run(["make", "docs"], cwd=root(), check=True)
    return SITE


@pytest.fixture
def visit(browser, site):
    """Opens a page, at a width, and fails if anything but a file was asked for."""
    asked, open_pages = [], []

    def visit(name, width=1280, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        open_pages.append(page)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{(site / name).as_uri()}.html")
        return page

    yield visit
    for page in open_pages:
        page.close()
    assert [address for address in asked if not address.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_not_scroll_sideways(visit, name, width):
    page = visit(name, width)
    assert page.title()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", CHECKED)
def test_axe_finds_nothing_that_is_ours(visit, name, scheme):
    page = visit(name, scheme=scheme)
    assert page.locator("html").get_attribute("data-theme") == scheme
    found = {v["id"]: [n["html"] for n in v["nodes"]] for v in Axe().run(page).response["violations"]}
    shaded = 'class="data '  # cells that a notebook's table shades by value
    found["color-contrast"] = [html for html in found.get("color-contrast", []) if shaded not in html]
    assert {rule: nodes[:3] for rule, nodes in found.items() if nodes and rule not in THEME} == {}


def test_the_index_leads_to_the_readme(visit):
    page = visit("index")
    page.wait_for_url("**/README.html")
    assert "information workbook" in page.locator("article h1").inner_text()


def test_every_page_is_without_addresses_of_scripts_styles_and_images(site):
    outside = {}
    for path in site.rglob("*.html"):
        tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"(?:https?:)?//[^>]*>", path.read_text())
        if tags:
            outside[path.name] = tags
    assert outside == {}


def test_links_between_pages_lead_somewhere(site):
    missing = set()
    for path in (path for path in site.rglob("*.html") if "_static" not in path.parts):
        for link in re.findall(r'href="([^"#?]+)', path.read_text()):
            if not re.match(r"\w+:", link) and not (path.parent / unquote(link)).exists():
                missing.add((path.relative_to(site).as_posix(), link))
    assert missing == set()


def test_every_public_name_is_in_the_reference(site):
    objects = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    listed = {name for kind in objects.data.values() for name in kind}
    names = set()
    for found in pkgutil.walk_packages(infolib.__path__, "infolib."):
        if "._" not in found.name and not found.name.startswith("infolib.estimators._"):
            module = importlib.import_module(found.name)
            public = getattr(module, "__all__", [name for name in vars(module) if name[0] != "_"])
            values = ((name, getattr(module, name)) for name in public)
            names |= {f"{found.name}.{name}" for name, value in values
                      if (inspect.isfunction(value) or inspect.isclass(value))
                      and value.__module__.startswith(found.name)}  # fmt: skip
    assert len(names) > 150
    assert names - listed == set()


def test_each_claim_of_the_board_has_a_permalink(visit):
    reports = (root() / "reports" / "paper").glob("*/verdicts.csv")
    claims = {row["claim"] for path in reports for row in csv.DictReader(path.read_text().splitlines())}
    found = visit("reports/README").evaluate("[...document.querySelectorAll('[id^=\"paper-\"]')].map(e => e.id)")
    assert len(claims) > 100
    assert {f"paper-{name}" for name in claims} <= set(found)
    assert len(found) == len(set(found))


def test_figures_of_reports_have_a_text(visit):
    texts = visit("reports/paper/01_estimators/report").evaluate(
        "[...document.querySelectorAll('.cell_output img')].map(e => e.alt)")  # fmt: skip
    assert texts
    assert not [text for text in texts if len(text) < 20 or "/" in text[:12]]


def test_an_explorable_follows_the_keyboard_and_states_its_values(visit):
    page = visit("docs/explore")
    first = page.locator(".explorable").first
    data = json.loads(first.locator("script").inner_text())
    samples = next(i for i, control in enumerate(data["controls"]) if control["name"] == "n")
    slider = first.locator("input").nth(samples)
    said = first.locator("[aria-live]")
    before = said.inner_text()
    slider.focus()
    page.keyboard.press("End")
    assert str(data["controls"][samples]["values"][-1]) in said.inner_text() != before
    assert slider.get_attribute("aria-valuetext") == str(data["controls"][samples]["values"][-1])
    own = next(line for line in data["lines"] if line["name"] == "estimate")
    at = [
        len(control["values"]) - 1 if i == samples else control["start"] for i, control in enumerate(data["controls"])
    ]
    value = own["values"][at[0]][at[1]][data["x"]["start"]]
    assert f"estimate {round(value, 2):g}" in said.inner_text()
    assert page.locator(".explorable svg[role=img] path.line").count() > 8

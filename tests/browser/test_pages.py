"""The board and the pages of reports in a real browser: both colour schemes, the width of a desk and of a phone."""

import re
import shutil
from urllib.parse import unquote, urldefrag

import pytest
from axe_playwright_python.sync_playwright import Axe

from workbook import reports, root

SHOWN = ("00_start_here", "05_information_discarding", "08_your_model")  # findings alone, checks too, nothing judged
PAGES = ("index.html", "paper/05_information_discarding/report.html")
ROW = "paper-05-e2-depth"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The reports folder of a root with some of the committed reports, and their pages."""
    place = tmp_path_factory.mktemp("root")
    for name in ("notebooks", "data"):
        (place / name).symlink_to(root() / name)
    for name in SHOWN:
        shutil.copytree(root() / "reports/paper" / name, place / "reports/paper" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFOLIB_ROOT", str(place))
        return reports.index().parent


@pytest.fixture
def open_page(browser, folder):
    """Open a page by its name and its options; whatever it asks the network for, or complains about, is a failure."""
    opened, wrong = [], []

    def open_(name, *, width=1280, **options):
        opened.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        page = opened[-1].new_page()
        page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        name, hash_ = urldefrag(name)
        page.goto((folder / name).as_uri() + f"#{hash_}")
        return page

    yield open_
    for context in opened:
        context.close()
    assert wrong == []


def all_rows(page):
    return page.locator("tr[data-word]")


def visible(page, selector="tr[data-word]"):
    return page.locator(f"{selector}:visible").count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_everybody_can_read_it_and_it_fits(open_page, name, width, scheme):
    page = open_page(f"{name}#{ROW}", width=width, color_scheme=scheme)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_links_lead_somewhere(folder):
    texts = {path: path.read_text() for path in folder.rglob("*.html")}
    assert len(texts) == 1 + len(SHOWN)
    places = {path: {unquote(i) for i in re.findall(r' id="([^"]+)"', text)} for path, text in texts.items()}
    lost = []
    for path, text in texts.items():
        for link in re.findall(r'<a [^>]*href="([^"]+)"', text):
            name, place = urldefrag(link.replace("&amp;", "&").replace("&#39;", "'"))
            target = (path.parent / unquote(name)).resolve() if name else path
            there = target.exists() or name.startswith("http")
            if not there or (target in places and place and unquote(place) not in places[target]):
                lost.append((path.parent.name, link))
    assert lost == []


def test_a_filter_leaves_what_fits_and_hides_what_is_empty(open_page):
    page = open_page("index.html")
    rows, articles = visible(page), visible(page, "article")
    page.select_option("[name=word]", "blind")
    assert 0 < visible(page) == page.locator('tr[data-word="blind"]').count() < rows
    assert page.locator("output").inner_text() == f"{visible(page)} of {rows} claims"
    page.fill("[name=text]", "no claim has these words")
    assert visible(page) == 0
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.querySelectorAll('tr[data-word][hidden]').length === 0")
    assert (visible(page), visible(page, "article")) == (rows, articles)
    for name, value in (("notebook", "05"), ("paper", "1906.04109"), ("evidence", "figure")):
        page.select_option(f"[name={name}]", value)
        assert visible(page) == page.locator(f'tr[data-{name}="{value}"]:visible').count() > 0
    assert visible(page) < rows


def test_a_row_opens_by_keyboard_and_by_its_address(open_page):
    page = open_page("index.html")
    summary = page.locator(f'[id="{ROW}"] summary')
    summary.focus()
    page.keyboard.press("Enter")
    picture = page.locator(f'[id="{ROW}"] svg')
    assert picture.is_visible()
    assert "control on mnist: " in picture.get_attribute("aria-label")
    page = open_page(f"index.html#{ROW}")
    assert page.locator(f'[id="{ROW}"] dl').is_visible()
    top = page.locator(f'[id="{ROW}"]').bounding_box()["y"]
    assert page.locator("#filter").bounding_box()["height"] <= top + 1  # not below what stays at the top
    page.locator(f'[id="{ROW}"] >> text=Where it is judged').click()
    page.wait_for_url("**/report.html#05-e2-depth")
    page.locator('[id="05-e2-depth"]').click()
    page.wait_for_url(f"**/index.html#{ROW}")


def test_the_board_works_without_scripts(open_page):
    page = open_page("index.html", java_script_enabled=False)
    assert not page.locator("#filter").is_visible()
    assert visible(page) == all_rows(page).count() > 20
    page.locator(f'[id="{ROW}"] summary').click()
    assert page.locator(f'[id="{ROW}"] dl').is_visible()


def test_code_of_a_report_folds_at_once(open_page):
    page = open_page(PAGES[1])
    cells = visible(page, ".highlight")
    page.get_by_role("button", name="Hide code").click()
    assert visible(page, ".highlight") == 0 < cells
    page.get_by_role("button", name="Show code").click()
    assert visible(page, ".highlight") == cells
    assert page.locator("img").count() == page.locator("img[alt]:not([alt=''])").count() > 5

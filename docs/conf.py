"""The site: README, reports and board as committed, and the reference. Nothing is executed, nothing is fetched."""

import json
import re
from pathlib import Path

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [path.stem for path in sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))]
WORKSHOP = ROOT / "workshop" / "README.md"  # its page comes with it
REPORTED = {path.parent.name for path in ROOT.glob("reports/paper/*/report.ipynb")}

project = "The information workbook"
author = "The infolib authors"
root_doc = "README"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "data/claims/CHANGES.md",
                    "notebooks/README.md", "reports/README.md", "reports/benchmarks.md",
                    "reports/stability.md", "reports/reliability.md", "reports/paper/*/report.ipynb",
                    "workshop/README.md", "docs/**.md", "docs/**.rst", "docs/api/**",
                    *(f"notebooks/{name}.ipynb" for name in NOTEBOOKS if name not in REPORTED)]  # fmt: skip
exclude_patterns = ["docs/build", "docs/_*"]
templates_path = [str(ROOT / "docs" / "_templates")]  # autosummary looks from the source, html from this folder
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode", "sphinx.ext.napoleon",
              "sphinx_copybutton"]  # fmt: skip
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}  # autosummary writes the first
default_role = "py:obj"  # `name` in a docstring is a link where there is such a name, else code
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "attrs_inline"]
myst_heading_anchors = 3
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
highlight_language = "none"  # of what has no language: formulas in docstrings
python_use_unqualified_type_names = True
html_theme = "sphinx_book_theme"
html_title = project
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_extra_path = ["extra"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "redirect.html"}
html_theme_options = {"navigation_with_keys": False, "show_toc_level": 2, "home_page_in_toc": True,
                      "navbar_persistent": [], "use_download_button": False, "use_fullscreen_button": False,
                      "pygments_light_style": "a11y-light", "pygments_dark_style": "a11y-dark"}  # fmt: skip
html_math_renderer = "mathml"

SCRIPT = '\n<script src="../_static/explore.js"></script>\n'


def inline(self, node):
    """A formula in a line, as MathML."""
    self.body.append(convert(node.astext()))
    raise SkipNode


def block(self, node):
    """A formula of its own, as MathML; a keyboard can scroll it."""
    formula = convert(node.astext(), display="block")
    self.body.append(f'<div class="math" tabindex="0" role="group" aria-label="formula">{formula}</div>')
    raise SkipNode


def plain(_app, _what, _name, _obj, _options, lines):
    """Our docstrings are plain text: a formula is no markup, and an indented block below a paragraph is literal."""
    out, before, doctest, table = [], "", False, False
    for line in lines:
        doctest = line.lstrip().startswith((">>>", "...")) or (doctest and bool(line.strip()))
        begins = line.startswith("    ") and not before and not doctest
        table = bool(line.startswith("    ") and (table or begins)) or (table and not line)
        if begins and not (out and out[-2:] == ["::", ""]) and (len(out) < 2 or not out[-2].startswith("    ")):
            out += ["::", ""]
        if not doctest and not table:
            pieces = re.split(r"(`[^`]+`)", line)  # code stays as it is
            line = "".join(p if i % 2 else re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", p) for i, p in enumerate(pieces))
        out.append(line)
        before = line.strip()
    lines[:] = out


def adapt(app, docname, source):
    """Texts as they are in the repository, with links that lead to pages of the site."""
    text = source[0]
    if docname in map(page_of, NOTEBOOKS):
        text = completed(app, docname, text)
    elif not docname.startswith("docs/api/"):
        text = relinked(app, (ROOT / docname).parent, text)
    if docname == root_doc:
        contents = (ROOT / "docs" / "_contents.txt").read_text(encoding="utf-8")
        contents = contents.replace("NOTEBOOKS", "\n".join(map(entry, NOTEBOOKS)))
        text += "\n" + contents.replace("WORKSHOP\n", "workshop/README\n" if WORKSHOP.exists() else "")
    if docname == "docs/explore":
        text = re.sub(r"^EXPLORABLE:(\d\d)$", explorable, text, flags=re.M) + SCRIPT
    source[0] = text


def relinked(app, folder, text):
    """Links of a text of `folder`: to a notebook, its page; to what is no page, words. Sphinx warns of the rest."""

    def link(match):
        words, name, part = match[1], match[2], match[3] or ""
        path = (folder / name).resolve()
        if path.parent == ROOT / "notebooks" and path.stem in NOTEBOOKS:
            return f"[{words}](/{page_of(path.stem)}.ipynb{part})"
        if not path.is_relative_to(ROOT):
            return match[0]
        place = path.relative_to(ROOT)
        text = path.suffix in (".md", ".ipynb", ".rst") and place.with_suffix("").as_posix() not in app.env.found_docs
        if path.is_dir() or path.suffix in (".py", ".toml") or (text and (path.exists() or path == WORKSHOP)):
            return words
        return f"[{words}](/{place.as_posix()}{part})"

    return re.sub(r"\[([^\]\[]*)\]\((?!\w+:|#|/)([^)\s#]+)(#[^)\s]*)?\)", link, text)


def explorable(match):
    """The numbers of a chart, which explore.js draws."""
    numbers = (ROOT / "docs" / "explorables" / f"{match[1]}.json").read_text(encoding="utf-8").strip()
    return f'<div class="explorable"><script type="application/json">{numbers}</script></div>'


def page_of(name):
    """The page that shows the notebook `name`: its report, or the notebook where there is no report yet."""
    return f"reports/paper/{name}/report" if name in REPORTED else f"notebooks/{name}"


def entry(name):
    """A line of the contents: the number of a notebook and its title up to the colon."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    title = re.match(r"# ([^:\n]+)", "".join(cells[0]["source"]))[1]
    return f"{name[:2]} {title} <{page_of(name)}>"


def completed(app, docname, text):
    """A notebook's page: what it is and where to get it, below its title; and a text for each figure."""
    notebook = json.loads(text)
    name = next(name for name in NOTEBOOKS if page_of(name) == docname)
    what = "Report of the `paper` profile" if name in REPORTED else "Notebook with the results of the `quick` profile"
    links = f"{{download}}`download the notebook </notebooks/{name}.ipynb>` · [symbols and terms](/docs/glossary.md)"
    cell = {"cell_type": "markdown", "id": "site", "metadata": {}, "source": f"*{what}* · {links}"}
    notebook["cells"].insert(1, cell)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":  # a formula of its own is a paragraph
            cell["source"] = re.sub(r"\n*(\$\$[^$]+\$\$)\n*", r"\n\n\1\n\n", "".join(cell["source"]))
            cell["source"] = relinked(app, ROOT / "notebooks", cell["source"])
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            alt = cell["metadata"].get("alt", "figure, described in the text next to it")
            words = alt if isinstance(alt, str) else " Then: ".join(alt)  # of several pictures: the site has one text
            cell["metadata"]["mystnb"] = {"image": {"alt": words}}
    return json.dumps(notebook)


def repeated(_app, _what, _name, obj, _skip, _options):
    """The fields of a named tuple are described with it."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def slimmed(app, _error):
    """Maps of minified code are for the theme's authors; they are a sixth of the site."""
    for path in Path(app.outdir).rglob("*.map"):
        path.unlink()


def setup(app):
    """Formulas by latex2mathml, docstrings as plain text, links between pages."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("autodoc-process-docstring", plain, priority=1)
    app.connect("autodoc-skip-member", repeated)
    app.connect("source-read", adapt)
    app.connect("build-finished", slimmed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

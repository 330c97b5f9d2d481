"""Links that open the notebooks without installing anything here: Binder and Colab, from the repository's address.

`python -m workbook.elsewhere` writes them into notebooks/README.md. While `[project.urls]` in pyproject.toml has no
Repository there are none.
"""

import re
import tomllib
from urllib.parse import quote

import infolib
from workbook import root

FIRST = "notebooks/00_start_here.ipynb"
PLACE = re.compile(r"(?<=<!-- elsewhere -->\n).*?(?=<!-- end of elsewhere -->)", re.DOTALL)
TEXT = """\
[![Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/{name}/{tag}?urlpath={lab})
[![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{name}/blob/{tag}/{first})

Binder needs some minutes to start. In Colab run this cell first, in each notebook; it leaves the torch that is there:

```python
!git clone --quiet --depth 1 --branch {tag} {address} /content/workbook
import torch, torchvision
held = [f"{{package.__name__}}=={{package.__version__}}" for package in (torch, torchvision)]
with open("/content/held.txt", "w") as file:
    file.write("\\n".join(held))
%pip install --quiet --constraint /content/held.txt /content/workbook /content/workbook/workbook
%cd /content/workbook/notebooks
```
"""


def address() -> str:
    """Where the repository is.

    Returns
    -------
    str
        Of `[project.urls]` in pyproject.toml, Repository; empty if there is none.
    """
    project = tomllib.loads((root() / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository", "")


def links(address: str, *, version: str = infolib.__version__) -> str:
    """Badges for Binder and Colab, and the cell that Colab needs, at the tag of a release.

    Parameters
    ----------
    address : str
        Of a repository on GitHub; empty for none.
    version : str
        Of the release, whose tag is v and the version; a version of development has none, and takes main.

    Returns
    -------
    str
        In Markdown; empty without an address.

    Raises
    ------
    ValueError
        For an address of another form.

    Examples
    --------
    >>> links("https://github.com/someone/something", version="1.2.0").splitlines()[0][-75:-1]
    'gh/someone/something/v1.2.0?urlpath=lab/tree/notebooks/00_start_here.ipynb'
    """
    if not address:
        return ""
    if not (found := re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?", address)):
        raise ValueError(f"address must be https://github.com/owner/name, got {address!r}")
    tag = "main" if "dev" in version else f"v{version}"
    where = {"name": found[1], "address": f"https://github.com/{found[1]}", "first": FIRST}
    return TEXT.format(tag=tag, lab=quote(f"lab/tree/{FIRST}"), **where)


def write() -> None:
    """Put the links into notebooks/README.md, between their marks."""
    path = root() / "notebooks" / "README.md"
    path.write_text(PLACE.sub(lambda _: links(address()), path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write()

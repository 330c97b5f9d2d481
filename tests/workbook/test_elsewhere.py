"""What opens the notebooks elsewhere: links from the repository's address, and the files that Binder reads."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from workbook import elsewhere, root

ADDRESS = "https://github.com/someone/some.thing"


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A root with the files that have to do with the address."""
    for name in ("pyproject.toml", "notebooks/README.md", "notebooks/profiles.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(root() / name, tmp_path / name)
    monkeypatch.setenv("INFOLIB_ROOT", str(tmp_path))
    return tmp_path


def test_links_lead_to_a_notebook_that_there_is_at_the_tag_of_the_release():
    text = elsewhere.links(f"{ADDRESS}.git", version="1.2.0")
    assert f"(https://mybinder.org/v2/gh/someone/some.thing/v1.2.0?urlpath=lab/tree/{elsewhere.FIRST})" in text
    assert f"(https://colab.research.google.com/github/someone/some.thing/blob/v1.2.0/{elsewhere.FIRST})" in text
    assert f"!git clone --quiet --depth 1 --branch v1.2.0 {ADDRESS} " in text
    assert (root() / elsewhere.FIRST).exists()
    assert "/main?" in elsewhere.links(ADDRESS, version="1.2.0.dev0")


def test_the_cell_for_colab_installs_both_packages_and_holds_the_torch_that_is_there(tmp_path):
    cell = re.search("```python\n(.*?)```", elsewhere.links(ADDRESS), re.S)[1]
    (install,) = [line for line in cell.splitlines() if line.startswith("%pip install")]
    assert [part for part in install.split() if part.startswith("/")] == [
        "/content/held.txt", "/content/workbook", "/content/workbook/workbook"]  # fmt: skip
    plain = "\n".join(line for line in cell.splitlines() if line[0] not in "!%").replace("/content", str(tmp_path))
    exec(plain, {})
    torch, torchvision = (tmp_path / "held.txt").read_text().split()
    assert torch.startswith("torch==")
    assert torchvision.startswith("torchvision==")


def test_without_an_address_there_are_no_links_and_with_one_they_are_written_once(copy):
    readme, project = copy / "notebooks" / "README.md", copy / "pyproject.toml"
    before = readme.read_text()
    elsewhere.write()
    assert readme.read_text() == before
    assert elsewhere.links("") == ""
    with project.open("a") as file:
        file.write(f'[project.urls]\nRepository = "{ADDRESS}"\n')
    for _ in range(2):
        elsewhere.write()
        assert readme.read_text().count("mybinder.org/v2") == 1


def test_the_committed_links_are_those_of_the_address():
    text = (root() / "notebooks" / "README.md").read_text()
    assert elsewhere.PLACE.findall(text) == [elsewhere.links(elsewhere.address())]


@pytest.mark.parametrize("address", ["github.com/a/b", "https://github.com/a", "https://example.org/a/b"])
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(ValueError, match=r"address must be https://github\.com/owner/name, got"):
        elsewhere.links(address)


def names(requirements):
    return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}


def test_the_environment_of_binder_is_that_of_conda_without_tools_of_development_and_with_one_python():
    project = tomllib.loads((root() / "workbook" / "pyproject.toml").read_text())["project"]
    tools = names(project["optional-dependencies"]["dev"]) - names(project["dependencies"])
    conda, binder = (yaml.safe_load((root() / name).read_text()) for name in
                     ("environment.yml", "binder/environment.yml"))  # fmt: skip
    wanted = [d for d in conda["dependencies"] if isinstance(d, str) and not names([d]) & (tools | {"python"})]
    assert binder["channels"] == conda["channels"]
    assert binder["dependencies"][1:] == wanted
    assert re.fullmatch(r"python=3\.\d\d", binder["dependencies"][0])
    version = binder["dependencies"][0].removeprefix("python=")
    assert f"Programming Language :: Python :: {version}" in (root() / "pyproject.toml").read_text()


def test_binder_installs_both_packages_and_has_the_settings_of_make_lab():
    path = root() / "binder" / "postBuild"
    assert os.access(path, os.X_OK)
    assert "pip install --no-deps --editable . --editable workbook" in path.read_text()
    (settings,) = re.findall(r"^cp (\S+)", path.read_text(), re.M)
    told = json.loads((root() / settings).read_text())["@jupyterlab/apputils-extension:notification"]
    assert told == {"checkForUpdates": False, "fetchNews": "false"}


def image(folder):
    """What Binder would build from a folder, as a Dockerfile; nothing is built or fetched."""
    tool = Path(sys.executable).with_name("jupyter-repo2docker")
    asked = [tool, "--no-build", "--debug", folder]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def test_binder_builds_what_we_wrote():
    code, told = image(root())
    (python,) = re.findall(r"python=(3\.\d+)", (root() / "binder" / "environment.yml").read_text())
    assert code == 0, told
    assert f"Building conda environment for python={python}\n" in told
    assert 'env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"' in told
    assert "RUN ./binder/postBuild" in told


def test_binder_refuses_an_environment_of_another_form(tmp_path):
    (tmp_path / "binder").mkdir()
    (tmp_path / "binder" / "environment.yml").write_text("- numpy\n")
    code, told = image(tmp_path)
    assert code != 0
    assert "should contain a dictionary" in told

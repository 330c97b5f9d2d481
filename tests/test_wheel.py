"""The library as others have it: a wheel, built and installed as the README says, without this repository, offline."""

import os
import re
import subprocess
import sys
import zipfile
from email import message_from_string
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from infolib import __version__
from workbook import root

README = (root() / "README.md").read_text()
BUILD, INSTALL = re.findall(r"^pip [^#\n]*[^#\s]", README, re.M)
EXAMPLE = re.search(r"```python\n(.*?)```", README, re.S)[1]

MEASURES = """
import importlib
import pkgutil

import torch
from torch import nn

import infolib

for module in pkgutil.walk_packages(infolib.__path__, "infolib."):
    if not module.name.startswith("infolib.plotting"):
        importlib.import_module(module.name)

renyi, knn = infolib.estimators.renyi, infolib.estimators.knn
assert abs(renyi.entropy(renyi.label_gram([0, 0, 1, 1])) - 1) < 1e-9
x = torch.randn(400, generator=torch.manual_seed(0))
assert knn.mutual_information(x, x + 0.1 * torch.randn(400)) > 2

images = infolib.Data(torch.rand(64, 1, 6, 6), torch.arange(64) % 2)
net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)).eval()
few = {lens: {"n": 16} for lens in ("information", "redundancy", "class_information", "codelength")}
table = infolib.measures.lenses.look(net, images, ["0", "3"], **few, discarding={"n": 1, "error": 0.1})
assert set(table["lens"]) == set(infolib.measures.lenses.LENSES)
print(infolib.__file__, infolib.__version__, sep="\\n")
try:
    import infolib.plotting
except ImportError as error:
    print(error)
"""
FIGURES = """
import pandas

import infolib

rows = [{"layer": layer, "seed": seed, "step": 0, "I(X;T)": 1.0 + seed} for layer in ("a", "b") for seed in (0, 1)]
infolib.plotting.theme()
axes = infolib.plotting.depth_profile(pandas.DataFrame(rows), "I(X;T)")
print(infolib.plotting.light_png(axes.figure)[1:4].decode())
"""


def run(*command, **options):
    """A command without anything of this checkout, and without the network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP", "INFOLIB"))}
    alone = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "MPLBACKEND": "agg",
             "PIP_DISABLE_PIP_VERSION_CHECK": "1", "OMP_NUM_THREADS": "1"}  # fmt: skip
    done = subprocess.run(command, env=kept | alone, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The Python of an environment that holds pip, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin" / "python", "-m", "pip", "uninstall", "--yes", "setuptools")  # venv adds it up to Python 3.11
    return folder / "bin" / "python"


def packages(python):
    return Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())


@pytest.fixture(scope="module")
def wheel(bare, tmp_path_factory):
    """The wheel that the README's first command builds, with the hatchling of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    run(bare, "-m", "pip", "--python", sys.executable, *BUILD.split()[1:], "--no-build-isolation", "-w", folder,
        cwd=root())  # fmt: skip
    (wheel,) = folder.iterdir()
    return wheel


def requirements(wheel, extra):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        listed = map(Requirement, message_from_string(archive.read(name).decode()).get_all("Requires-Dist"))
    return [r for r in listed if bool(r.marker) == bool(extra) and (not extra or r.marker.evaluate({"extra": extra}))]


def linked(requirements, folder):
    """A folder that has what these need, directly or not, and nothing else: links to this environment's packages."""
    found, todo = [], [(r.name, r.extras) for r in requirements]
    while todo:
        found.append(needed := todo.pop())
        distribution, extras = metadata.distribution(needed[0]), needed[1] or {""}
        further = [r for r in map(Requirement, distribution.requires or ())
                   if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in extras)]  # fmt: skip
        todo += [(r.name, r.extras) for r in further if (r.name, r.extras) not in found]
        for name in {Path(file).parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (folder / name).exists():
                (folder / name).symlink_to(distribution.locate_file(name))
    return folder


@pytest.fixture(scope="module")
def installed(bare, wheel, tmp_path_factory):
    """The bare environment, once the README's second command has installed the wheel beside what it needs."""
    needs = linked(requirements(wheel, ""), tmp_path_factory.mktemp("needs"))
    (packages(bare) / "needs.pth").write_text(f"{needs}\n")
    run(bare, "-m", *INSTALL.split(), cwd=wheel.parent)
    return bare


@pytest.fixture
def elsewhere(tmp_path):
    """A folder that nothing can be written to."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    folder.chmod(0o555)
    yield folder
    assert list(folder.iterdir()) == []


def watched(python, code, folder, *folders, first="torch._dynamo,pandas,scipy.stats"):
    script = folder.parent / "script.py"
    script.write_text(code)
    return run(python, "-I", "-B", root() / "tests/watch.py", script, first, *folders, cwd=folder).splitlines()


def test_the_wheel_holds_the_library_alone_and_says_what_it_needs(wheel):
    files = {p.relative_to(root()).as_posix() for p in (root() / "infolib").rglob("*.py")} | {"infolib/py.typed"}
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        (text,) = [archive.read(name).decode() for name in archive.namelist() if name.endswith("METADATA")]
        assert not any("entry_points" in name for name in archive.namelist())  # the command is the workbook's
    assert inside == files
    about = message_from_string(text)
    assert (about["Name"], about["Version"]) == ("information-workbook", __version__)
    assert about.get_all("Project-URL") is about["Home-page"] is None
    assert {r.name for r in requirements(wheel, "")} == {"torch", "numpy", "scipy", "pandas", "tqdm"}
    assert {r.name for r in requirements(wheel, "plot")} == {"matplotlib", "seaborn", "pillow"}


def test_the_readmes_example_estimators_and_lenses_need_five_packages_and_write_nothing(installed, elsewhere):
    heading, *rows, where, version, reason = watched(installed, EXAMPLE + MEASURES, elsewhere)
    assert heading.split()[:4] == ["layer", "I(X;T)", "I(X;T)", "chance"]
    assert len(rows) == 3
    assert (where, version) == (str(packages(installed) / "infolib" / "__init__.py"), __version__)
    assert reason == ("figures need matplotlib, seaborn, PIL: install information-workbook with its extra, [plot]")


def test_figures_need_the_extra_and_write_nothing(installed, wheel, elsewhere, tmp_path):
    (tmp_path / "extra").mkdir()
    extra = linked(requirements(wheel, "plot"), tmp_path / "extra")
    assert watched(installed, FIGURES, elsewhere, extra, first="torch,pandas,seaborn") == ["PNG"]


WRITES = ["open('x', 'w')", "import os; os.mkdir('x')", "import pathlib; pathlib.Path('x').touch()",
          "import tempfile; tempfile.mkdtemp(dir='.')", "import socket; socket.create_connection(('localhost', 9))",
          "import subprocess; subprocess.run(['true'])", "import csv; csv.writer(open('x', 'a'))"]  # fmt: skip
LOOKS = ["open(__file__)", "import pathlib; pathlib.Path(__file__).read_text()", "import os; os.environ['HOME']",
         "import os; os.environ.get('A')", "import os; os.getenv('A')",
         "import os; 'A' in os.environ", "import os; dict(os.environ)"]  # fmt: skip
TRIED = """
for code, name in {codes}:
    try:
        exec(code, {{"__name__": name, "__file__": __file__}})
        print("nothing")
    except PermissionError:
        print("stopped")
"""


def test_what_watches_lets_nobody_write_and_does_not_let_the_library_look_about(elsewhere):
    codes = [(code, name) for name in ("infolib.some", "other") for code in WRITES + LOOKS]
    said = watched(sys.executable, TRIED.format(codes=codes), elsewhere, first="csv,pathlib,tempfile")
    assert said == ["stopped"] * (2 * len(WRITES) + len(LOOKS)) + ["nothing"] * len(LOOKS)

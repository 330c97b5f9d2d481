"""`infolib look`: a folder of pictures and a network by name in, a table of rows that are kept out."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from infolib.measures import lenses
from workbook import loading, looking
from workbook.__main__ import main

MINE = """
from torch import nn


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 2))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two classes of 24 pictures each, and a module with a network, in the folder of the call."""
    draw = np.random.default_rng(0)
    for name, shade in (("cats", 60), ("dogs", 160)):
        (tmp_path / "birds" / name).mkdir(parents=True)
        for i in range(24):
            pixels = (shade + draw.integers(0, 60, (12, 12, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "birds" / name / f"{i}.png")
    (tmp_path / "mynets.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mynets", None)


@pytest.fixture
def few(monkeypatch):
    """The lenses at sizes that 48 images allow, each counted when it measures."""
    measured = []

    def fitted(lens, **sizes):
        def small(net, data, layers, *, n=sizes["n"], **options):
            measured.append(lens.__name__)
            return lens(net, data, layers, n=n, **{key: size for key, size in sizes.items() if key != "n"} | options)

        return small

    for name, sizes in {
        "information": {"n": 20},
        "codelength": {"n": 20},
        "discarding": {"n": 1, "error": 0.1},
    }.items():
        monkeypatch.setitem(lenses.LENSES, name, fitted(lenses.LENSES[name], **sizes))
    return measured


GIVEN = {
    "model": "mynets:net",
    "data": "birds",
    "size": 12,
    "layers": ["0", "3"],
    "lens": ["information", "codelength"],
}


@pytest.mark.usefixtures("few")
def test_the_table_is_that_of_the_lenses_on_the_images_of_the_folder(folder):
    table = looking.look(**GIVEN)
    images = loading.images(str(folder / "birds"), shape=(3, 12, 12), n=48, seed=0)
    net = loading.model("mynets:net", seed=0)
    expected = pd.concat(
        [lenses.information(net, images.data, ["0", "3"], n=20), lenses.codelength(net, images.data, ["0", "3"], n=20)]
    )
    assert table["value"].tolist() == pytest.approx(expected["value"].tolist(), abs=1e-12)
    assert table["quantity"].tolist() == expected["quantity"].tolist()
    assert set(table["network"]) == {"mynets:net"}


@pytest.mark.usefixtures("few")
def test_weights_are_loaded_and_what_the_model_expects_is_done_behind_the_input(folder):
    torch.manual_seed(5)
    net = loading.model("mynets:net", seed=5)
    torch.save(net.state_dict(), folder / "weights.pt")
    table = looking.look(**GIVEN | {"lens": ["codelength"], "state": "weights.pt", "normalize": "imagenet"})
    images = loading.images(str(folder / "birds"), shape=(3, 12, 12), n=48, seed=0)
    mean, sd = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net

        def forward(self, x):
            return self.inner((x - mean) / sd)

    expected = lenses.codelength(Normalised().eval(), images.data, ["inner.0", "inner.3"], n=20)
    assert table["value"].tolist() == pytest.approx(expected["value"].tolist(), abs=1e-9)
    noise = looking.look(**GIVEN | {"lens": ["discarding"], "layers": ["0"], "normalize": "imagenet"})
    assert noise["why not"].iloc[0] == ""  # the noise is about images in [0, 1]


def test_rows_are_kept_at_once_and_a_later_call_goes_on_from_them(folder, few, monkeypatch):
    whole = looking.look(**GIVEN)
    few.clear()

    def broken(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(lenses.LENSES, "codelength", broken)
        with pytest.raises(KeyboardInterrupt):
            looking.look(**GIVEN, output="out.csv")
    kept = pd.read_csv("out.csv")
    assert kept["quantity"].tolist() == ["I(X;T)", "I(T;Y)", "I(X;T) aligned", "I(T;Y) aligned"] * 2
    with open("out.csv", "a") as file:
        file.write("codelength,0,1,code")  # cut off in the middle
    few.clear()
    table = looking.look(**GIVEN, output="out.csv")
    assert set(few) == {"codelength"}  # with random weights too
    pd.testing.assert_frame_equal(table.astype({"layer": str}), whole, check_dtype=False)
    written = pd.read_csv("out.csv", dtype={"layer": str})
    assert written["value"].tolist() == pytest.approx(whole["value"].tolist(), abs=1e-12)
    few.clear()
    again = looking.look(**GIVEN, output="out.csv")
    assert few == []
    assert again["value"].tolist() == pytest.approx(whole["value"].tolist(), abs=1e-12)
    assert {"birds", "mynets.py", "out.csv", "out.csv.json"} == set(os.listdir(folder)) - {"__pycache__"}


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"layers": ["0"]},
            r"output 'out\.csv' is of another run: layers \['0', '3'\], now \['0'\]; name another file",
        ),
        ({"seed": 1}, "seed 0, now 1"),
        ({"normalize": "imagenet"}, "normalize none, now imagenet"),
        ({"n": 40}, "n 48, now 40"),
        ({"state": "weights.pt"}, "state , now [0-9a-f]{64}"),
    ],
)
def test_a_file_of_something_else_is_refused(folder, changed, message):
    torch.save(loading.model("mynets:net", seed=3).state_dict(), folder / "weights.pt")
    looking.look(**GIVEN, output="out.csv")
    before = (folder / "out.csv").read_bytes(), (folder / "out.csv.json").read_bytes()
    with pytest.raises(ValueError, match=message):
        looking.look(**GIVEN | changed, output="out.csv")
    assert ((folder / "out.csv").read_bytes(), (folder / "out.csv.json").read_bytes()) == before


@pytest.mark.usefixtures("few")
def test_other_pictures_and_a_file_that_nobody_described_are_refused(folder):
    looking.look(**GIVEN, output="out.csv")
    (folder / "birds" / "cats" / "0.png").write_bytes((folder / "birds" / "dogs" / "0.png").read_bytes())
    with pytest.raises(ValueError, match="is of another run: data "):
        looking.look(**GIVEN, output="out.csv")
    (folder / "mine.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"output 'mine\.csv' is of another run: model unknown, now mynets:net"):
        looking.look(**GIVEN, output="mine.csv")
    assert (folder / "mine.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.usefixtures("few")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torchscript_file_that_was_written_anew_is_of_another_run(folder):
    given = GIVEN | {"model": "net.pt", "lens": ["information"], "output": "out.csv"}
    torch.jit.script(loading.model("mynets:net", seed=0)).save(str(folder / "net.pt"))
    first = looking.look(**given)
    assert looking.look(**given)["value"].tolist() == pytest.approx(first["value"].tolist(), abs=1e-12)
    torch.jit.script(loading.model("mynets:net", seed=1)).save(str(folder / "net.pt"))
    with pytest.raises(ValueError, match=r"is of another run: state [0-9a-f]{64}, now [0-9a-f]{64}; name another"):
        looking.look(**given)


@pytest.mark.parametrize("place", ["~/birds", "birds"])
def test_pictures_are_resized_wherever_their_folder_is_named_from(folder, place, monkeypatch):
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "profiles.toml").touch()
    (folder / "data").mkdir()
    (folder / "data" / "checksums.toml").touch()
    monkeypatch.setenv("INFOLIB_ROOT", str(folder))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder / "notebooks")
    with pytest.raises(ValueError, match=r"model cannot take x of shape .*9, 9"):
        looking.look(**GIVEN | {"data": place, "size": 9})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mynets:nett", "birds"], "model 'mynets:nett' is no 'module:name' that can be imported"),
        (["mynets:net", "beards"], "data must be one of digits"),
        (["mynets:net", "birds", "--state", "none.pt"], "state must be a file of weights"),
        (["mynets:net", "birds", "--layers", "conv*"], "layers: no layer matches 'conv*'"),
        (["mynets:net", "birds", "--lens", "informaton"], "unknown lens 'informaton'"),
        (["mynets:net", "birds", "--normalize", "mine"], "unknown normalize 'mine'; allowed: none, imagenet"),
        (["mynets:net", "birds", "--size", "0"], "size must be an integer of at least 1, got 0"),
        (["mynets:net", "birds", "--size", "12", "-o", "out.txt"], "output must be a .csv file"),
        (["mynets:net", "birds", "--size", "12", "-o", "no/out.csv"], "output must be a .csv file in an existing"),
        (["mynets:net", "birds", "--size", "9", "--layers", "0"], "model cannot take x of shape"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_mistake_is_one_message_that_names_the_argument(arguments, message):
    result = CliRunner().invoke(main, ["look", *arguments])
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_real_call_writes_a_table(folder):
    draw = np.random.default_rng(0)
    np.savez(folder / "many.npz", x=draw.random((130, 3, 12, 12)).astype(np.float32), y=np.arange(130) % 2)
    order = [
        "-m",
        "workbook",
        "look",
        "mynets:net",
        "many.npz",
        "--layers",
        "?",
        "--lens",
        "redundancy",
        "-o",
        "out.csv",
    ]
    done = subprocess.run([sys.executable, *order], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(folder / "out.csv", dtype={"layer": str})
    assert table["layer"].unique().tolist() == ["0", "1", "2", "3"]
    said = json.loads((folder / "out.csv.json").read_text())
    assert (said["model"], said["n"], said["size"]) == ("mynets:net", 130, [3, 12, 12])

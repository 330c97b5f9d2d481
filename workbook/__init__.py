"""The experiments of this repository: what runs notebooks, keeps results and judges claims, on top of `infolib`."""

import os
from pathlib import Path

MARK = "notebooks/profiles.toml"  # what the root of a workbook holds


def root() -> Path:
    """The folder that holds notebooks/, data/ and reports/.

    INFOLIB_ROOT if it is set, else the nearest folder upwards that holds notebooks/profiles.toml, else the folder that
    this package lies in, if it holds that file.

    Raises
    ------
    ValueError
        if there is none, or if INFOLIB_ROOT is another folder
    """
    if named := os.environ.get("INFOLIB_ROOT"):
        if not (Path(named) / MARK).is_file():
            raise ValueError(
                f"INFOLIB_ROOT={named} is no workbook: set it to the folder that holds {MARK}, or unset it"
            )
        return Path(named).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / MARK).is_file():
            return folder
    raise ValueError(f"there is no workbook here: set INFOLIB_ROOT to the folder that holds {MARK}")

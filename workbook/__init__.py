"""The experiments of this repository: what runs notebooks, keeps results and judges claims, on top of `infolib`."""

import os
from pathlib import Path

MARK = "notebooks/profiles.toml"  # what the root of a workbook holds


def root() -> Path:
    """Folder of notebooks/, data/ and reports/.

    It is INFOLIB_ROOT if that is set, else the nearest folder upwards with notebooks/profiles.toml, else the folder of
    this package, if it has that file.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    ValueError
        If there is none, or if INFOLIB_ROOT is another folder.
    """
    if named := os.environ.get("INFOLIB_ROOT"):
        if not (Path(named) / MARK).is_file():
            raise ValueError(
                f"INFOLIB_ROOT={named} is not a workbook: set it to the folder that holds {MARK}, or unset it"
            )
        return Path(named).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / MARK).is_file():
            return folder
    raise ValueError(f"there is no workbook here: set INFOLIB_ROOT to the folder that holds {MARK}")


def cache_folder() -> Path:
    """Folder of downloads and results: INFOLIB_CACHE (from the workbook, if relative), else data/cache in the workbook.

    Returns
    -------
    Path
        It need not exist.
    """
    named = Path(os.environ.get("INFOLIB_CACHE") or "data/cache")
    return named if named.is_absolute() else root() / named  # without a workbook an absolute one will do

"""python -B watch.py SCRIPT MODULES [FOLDER]: runs a script that may not write, nor may infolib look about in it.

MODULES, by commas, are imported before, since they may write caches of their own; FOLDER holds more packages. Writing,
deleting, connecting and starting a process is an error whoever does it. To open a file, or to read an environment
variable, is one if infolib does it: a file also by what it calls, but for imports, fonts and styles.
"""

import importlib
import os
import runpy
import sys

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
           "shutil.", "tempfile.", "subprocess.", "os.system", "socket.connect")  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PASSED_BY = ("os", "collections.abc", __name__)  # between who reads the environment and us


def callers():
    """The modules whose code is running, innermost first."""
    frame = sys._getframe(2)
    while frame:
        yield frame.f_globals.get("__name__", "")
        frame = frame.f_back


def is_ours(module):
    return module.split(".")[0] == "infolib"


def watch(event, args):
    if event.startswith(CHANGES):
        raise PermissionError(f"{event}{args}")
    if event == "open":
        if args[2] & WRITING:
            raise PermissionError(f"{args[0]} is opened for writing")
        names = list(callers())
        until = next((i for i, name in enumerate(names) if is_ours(name)), None)
        between = names[:until]
        innocent = any(name.startswith(("importlib", "matplotlib", "seaborn", "PIL", "linecache")) for name in between)
        if until is not None and not innocent:
            raise PermissionError(f"{names[until]} opens {args[0]}")


def guard(method):
    """Reads of the environment by infolib itself are refused: `os.environ[...]`, `.get`, `in` and `os.getenv`."""

    def read(environment, *args):
        reader = next(name for name in callers() if name not in PASSED_BY)
        if is_ours(reader):
            raise PermissionError(f"{reader} reads the environment: {args}")
        return method(environment, *args)

    return read


if __name__ == "__main__":
    script, modules, *folders = sys.argv[1:]
    sys.path += folders
    for module in modules.split(","):
        importlib.import_module(module)
    for name in ("__getitem__", "__iter__"):
        setattr(type(os.environ), name, guard(getattr(type(os.environ), name)))
    sys.addaudithook(watch)
    runpy.run_path(script, run_name="__main__")

"""Exercises that check themselves, and the copies of the notebooks for a workshop: for students, and with solutions.

A notebook holds each exercise once: a cell tagged `exercise`, whose solution is between two marks, and a cell tagged
`check`, which tries it.
"""

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbook import root

BEGIN, END, STUB = "# BEGIN SOLUTION", "# END SOLUTION", "raise NotImplementedError  # your turn"
SOLUTION = re.compile(rf"^( *){BEGIN}\n(.*?\n) *{END}$", re.MULTILINE | re.DOTALL)


def check(
    answer: Callable[..., Any], cases: Mapping[str, tuple[Sequence[Any], Any]], *, tolerance: float = 1e-5
) -> None:
    """Print for each case ✓, or ✗ and what is wrong; for an unwritten `answer`, a note that it is still to be written.

    An answer that is wrong by a known factor is named: in nats instead of bits, of the wrong sign, or not normalised,
    which is off by the length, the number of entries, the sum or the value of an argument, or by one factor in all
    entries of an array.

    Parameters
    ----------
    answer : callable
        The function that an exercise asks for.
    cases : dict of str to (tuple, number or array)
        By name: the arguments, and the right answer.
    tolerance : float
        Largest error of a number: this, plus this fraction of the right answer.

    Raises
    ------
    ValueError
        If `answer` cannot be called, there is no case, or a case is not a pair of arguments and a right answer.

    Examples
    --------
    >>> check(math.log, {"a fair coin: 1 bit": ((2,), 1), "one face: 0 bits": ((1,), 0)})
    ✗ a fair coin: 1 bit: 0.6931, expected 1 (in nats, not bits)
    ✓ one face: 0 bits
    """
    if not callable(answer):
        raise ValueError(f"answer must be a function, got {answer!r}")
    if not cases:
        raise ValueError("cases must have at least one case, got none: such a check tests nothing")
    for name, case in cases.items():
        if not (isinstance(case, tuple) and len(case) == 2 and isinstance(case[0], tuple | list)):
            raise ValueError(f"cases[{name!r}] must be a pair ((arguments, ...), right answer), got {case!r}")
    for name, (arguments, right) in cases.items():
        try:
            fault = _fault(answer(*copy.deepcopy(arguments)), right, arguments, tolerance)
        except Exception as error:  # whatever a student's code raises
            if isinstance(error, NotImplementedError) and not error.args:  # torch's has a message
                print(f"… {getattr(answer, '__name__', 'the answer')} is still to be written")
                return
            fault = f"{type(error).__name__}: {error}"
        print(f"✗ {name}: {fault}" if fault else f"✓ {name}")


def _fault(given: Any, right: Any, arguments: Sequence[Any], tolerance: float) -> str:
    """What is wrong with an answer, or nothing."""
    if given is None:
        return "it returns nothing; is there a `return`?"
    expected = _numbers(right)
    try:
        found = _numbers(given)
    except (TypeError, ValueError):
        return f"a {type(given).__name__} is neither a number nor an array of numbers"
    if found.shape != expected.shape:
        return f"it returns {_form(found)}, expected {_form(expected)}"
    close = np.isclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    if close.all():
        return ""
    undefined = ~np.isfinite(found) & np.isfinite(expected)
    place = np.unravel_index(np.argmax(undefined if undefined.any() else ~close), close.shape)
    where = f"at {', '.join(str(int(i)) for i in place)} " if place else ""
    hint = _hint(found, expected, arguments, tolerance)
    return f"{where}{found[place]:.4g}, expected {expected[place]:.4g}" + (f" ({hint})" if hint else "")


def _hint(found: np.ndarray, expected: np.ndarray, arguments: Sequence[Any], tolerance: float) -> str:
    """The likely mistake: an undefined number, or one factor between what is found and what is expected."""
    if (np.isnan(found) & ~np.isnan(expected)).any():
        return "0·log 0 counts as 0 here; ∞/∞ and a power or logarithm of less than 0 are NaN too"
    there = expected != 0
    if np.isinf(found).any() or not there.any() or np.abs(found[~there]).max(initial=0) > tolerance:
        return "infinite: a logarithm of 0, or a division by 0" if np.isinf(found).any() else ""
    ratios = found[there] / expected[there]
    factor = float(ratios.mean())
    if not np.allclose(ratios, factor, rtol=10 * tolerance, atol=0):
        return ""
    known = {
        math.log(2): "in nats, not bits",
        -1.0: "of the wrong sign",
        -math.log(2): "in nats, not bits, and of the wrong sign",
        1 / math.log(2): "divided by ln 2 once too often",
    }
    sizes = {size: f"not normalised: too large by the factor {size:.4g}" for size in _sizes(arguments)}
    sizes |= {1 / size: f"not normalised: too small by the factor {size:.4g}" for size in sizes}
    for value, hint in (known | sizes).items():
        if math.isclose(factor, value, rel_tol=10 * tolerance):
            return hint
    return f"not normalised: all entries by the factor {factor:.4g}" if there.sum() > 1 and factor > 0 else ""


def _sizes(arguments: Sequence[Any]) -> Iterator[float]:
    """Factors by which a learner may have forgotten to divide: lengths, numbers of entries, sums and whole numbers."""
    for argument in arguments:
        try:
            numbers = _numbers(argument)
        except (TypeError, ValueError):
            continue
        candidates = (*numbers.shape, numbers.size, float(numbers.sum()))
        yield from (float(size) for size in candidates if math.isfinite(size) and size > 1)


def _numbers(value: Any) -> np.ndarray:
    """A number, list, array or tensor as an array of float64."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, dtype=float)


def _form(numbers: np.ndarray) -> str:
    return f"an array of shape {numbers.shape}" if numbers.ndim else "a number"


def student(notebook: Any) -> Any:
    """A copy of a notebook without solutions and without any output, so that predictions are not given away.

    Parameters
    ----------
    notebook : NotebookNode
        With its solutions.

    Returns
    -------
    NotebookNode
        Each solution is one line that raises NotImplementedError.

    Raises
    ------
    ValueError
        If a cell is tagged `exercise` and has no solution between marks.
    """
    stripped = copy.deepcopy(notebook)
    for cell in stripped.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if "exercise" in cell.metadata.get("tags", []):
            cell.source, found = SOLUTION.subn(rf"\g<1>{STUB}", cell.source)
            if not found or BEGIN in cell.source or END in cell.source:
                raise ValueError(f"cell {cell.id} is an exercise: its solution must be between {BEGIN!r} and {END!r}")
    return stripped


def build(folder: Path | None = None) -> list[Path]:
    """Write student/ and solutions/: each notebook without its solutions, and as it is committed, executed.

    Parameters
    ----------
    folder : Path or None
        Where; workshop/ of the repository if it is None.

    Returns
    -------
    list of Path
        The notebooks written.

    Raises
    ------
    ValueError
        If an exercise has no marks, or a check was not executed or does not pass.
    """
    import nbformat

    from workbook import run

    folder, written = folder or root() / "workshop", {}
    for name, path in run.notebooks().items():
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":  # links from one folder deeper
                cell.source = cell.source.replace("](../", "](../../")
            elif "check" in cell.metadata.get("tags", []):
                text = "".join(output.get("text", "") for output in cell.outputs)
                if set(text) & {"✗", "…"} or "✓" not in text:
                    raise ValueError(f"{name}: check {cell.id} does not pass as committed: run `make notebooks` first")
        written[folder / "student" / path.name] = student(notebook)
        written[folder / "solutions" / path.name] = notebook
    for path, notebook in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
    return list(written)

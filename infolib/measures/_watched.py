"""Measures of a network over its training: from saved checkpoints, or while it is trained."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Unpack

import pandas as pd
import torch
from torch import nn

from infolib import activations, checks
from infolib.data import Data, gathered
from infolib.measures._lens_options import Options
from infolib.measures._lenses import hold, look
from infolib.networks import Layers, Network, forked, select

Measure = Callable[[nn.Module, Data, list[str]], pd.DataFrame]
SAVED = ("done", "on_row")  # a former table and its rows have no step


class Look(Options, total=False):
    """Keywords of `lenses.look`, for the functions that call it.

    Parameters
    ----------
    lenses : sequence of str or None
        Names of lenses.
    seed, repeats : int
        Seed of what is drawn; number of disjoint parts of the data.
    beside : sequence of str
        Names of baselines.
    untrained : callable or None
        From a seed to a network with fresh weights.
    batch_size : int
        Samples in a forward pass.
    layers_at_once : int or None
        Layers whose outputs are held together.
    device : str or torch.device or None
        Device to measure on.
    progress : bool
        Whether to show a bar.
    """

    lenses: Sequence[str] | None
    seed: int
    repeats: int
    beside: Sequence[str]
    untrained: Any
    batch_size: int
    layers_at_once: int | None
    device: Any
    progress: bool


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode and gradients inside the `with`; modes and the states of torch's generators are restored after it."""
    with activations.evaluating(model), torch.enable_grad(), forked(model):
        yield


def series(
    checkpoints: Any,
    data: Any,
    layers: Layers = None,
    *,
    model: nn.Module | None = None,
    **options: Unpack[Look],
) -> pd.DataFrame:
    """The measures of `look` for each checkpoint of a training, with the column `step`.

    Parameters
    ----------
    checkpoints : mapping or iterable of pairs
        Step -> network, state dict, or function without arguments that gives one of these. A function is called in its
        turn, so that one checkpoint at a time is in memory. Steps are numbers, each once, in any order.
    data, layers
        As `look` takes them; layers are chosen in the first network, and the same for all.
    model : nn.Module, optional
        The network that state dicts are loaded into; its own weights are restored at the end. State dicts of a
        `networks.Network` are those of its model.
    **options
        As `look` takes them, but for `network`, `done` and `on_row`.

    Returns
    -------
    DataFrame
        The columns of `look`, and step.

    Raises
    ------
    ValueError
        As `look`; for no checkpoints, a step that is not a number or occurs twice, and anything but a checkpoint; for
        state dicts without a `model`, or which do not fit it.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    >>> later = {name: 3 * weights for name, weights in net.state_dict().items()}
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> checkpoints = {0: net.state_dict(), 100: lambda: later}
    >>> table = series(checkpoints, images, ["1"], model=net, lenses=["codelength"], codelength={"n": 20}, beside=())
    >>> table[["step", "quantity"]].values.tolist()
    [[0, 'codelength'], [100, 'codelength']]
    """
    data = gathered("data", data)
    _no_saved(options)
    own = model.model if isinstance(model, Network) else model
    kept = None if own is None else copy.deepcopy(own.state_dict())
    tables: dict[float, pd.DataFrame] = {}
    names: list[str] = []
    try:
        for step, checkpoint in _pairs(checkpoints):
            if step in tables:
                raise ValueError(f"checkpoints must have each step once, got {step} again")
            net = _loaded(step, checkpoint, model, own)
            names = names or select(net, layers)
            with undisturbed(net):
                tables[step] = look(net, data, names, **options).assign(step=step)
    finally:
        if own is not None and kept is not None:
            own.load_state_dict(kept)
    checks.at_least("the number of checkpoints", len(tables), 1)
    return pd.concat(tables.values(), ignore_index=True)


def _pairs(checkpoints: Any) -> Iterator[tuple[float, Any]]:
    checks.hold("checkpoints", checkpoints, isinstance(checkpoints, Iterable), "a mapping or pairs of step and weights")
    for pair in checkpoints.items() if isinstance(checkpoints, Mapping) else checkpoints:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"checkpoints must be a mapping or pairs of step and weights, got {type(pair).__name__}")
        yield checks.within("steps of checkpoints", pair[0], -math.inf), pair[1]


def _loaded(step: float, checkpoint: Any, model: nn.Module | None, own: nn.Module | None) -> nn.Module:
    """The network of a checkpoint."""
    if callable(checkpoint) and not isinstance(checkpoint, nn.Module):
        checkpoint = checkpoint()
    if isinstance(checkpoint, nn.Module):
        return checkpoint
    if not isinstance(checkpoint, Mapping):
        what = "a network, a state dict, or a function that gives one"
        raise ValueError(f"checkpoints[{step!r}] must be {what}, got {type(checkpoint).__name__}")
    if model is None or own is None:
        raise ValueError(f"model must be given: checkpoints[{step!r}] is a state dict, which is loaded into it")
    try:
        own.load_state_dict(checkpoint)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"checkpoints[{step!r}] does not fit model: {' '.join(str(error).split())}") from error
    return model


def _no_saved(options: Mapping[str, Any]) -> None:
    if given := [name for name in (*SAVED, "network") if name in options]:
        raise ValueError(f"{given[0]} is an option of look for one network and step, which is not allowed here")


class Watch:
    """Measures a network while it is trained: called in any loop, it measures at the first call and every few steps.

    Each measurement is made in eval mode. Modes and the states of torch's generators are restored after it, so that
    the weights are bit for bit those of a training without it, unless a forward pass in eval mode changes the network,
    such as a count of its passes. By default the first lens alone is
    measured, I(X;T) and I(T;Y) of 128 samples, without baselines; with all lenses a measurement may take minutes.
    Another training, whose steps begin anew, needs a watch of its own.

    Parameters
    ----------
    data : Data, (x, y), Dataset or DataLoader
        Held-out samples, the same at each step.
    layers : sequence of str or re.Pattern, one pattern, int, or None
        As `look` takes them, chosen at the first call.
    every : int
        Steps from one measurement to the next, at least 1.
    measure : callable, optional
        From model, data and names of layers to a DataFrame, in place of `look`.
    wrap : callable, optional
        From the model that is trained to what is measured, such as `lambda model: Network(model, take="logits")`.
    **options
        As `look` takes them, but for `network`, `done` and `on_row`; without more, lenses=("information",) and
        beside=().

    Attributes
    ----------
    table : DataFrame
        All rows until now: the columns of `look` or `measure`, and step.

    Raises
    ------
    ValueError
        For arguments of another kind. On a call, as `look` raises it, and for a step before that of the last call.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    >>> images = Data(torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2)
    >>> watch = Watch(images, ["1"], every=2, information={"n": 20})
    >>> for _ in range(4):
    ...     watch(net)  # and a step of training
    >>> watch.table[["step", "layer", "quantity"]].values.tolist()[::4]
    [[0, '1', 'I(X;T)'], [2, '1', 'I(X;T)']]
    """

    def __init__(
        self,
        data: Any,
        layers: Layers = None,
        *,
        every: int = 100,
        measure: Measure | None = None,
        wrap: Callable[[nn.Module], nn.Module] | None = None,
        **options: Unpack[Look],
    ) -> None:
        self.data, self.layers, self.every = gathered("data", data), layers, checks.at_least("every", every, 1)
        self.measure = checks.of_type("measure", measure, Callable | None, "a function of model, data and layers")
        self.wrap = checks.of_type("wrap", wrap, Callable | None, "a function of the model")
        if measure is not None and options:
            raise ValueError(f"options of look must be left out with measure, got {', '.join(options)}")
        _no_saved(options)
        self.options: dict[str, Any] = {"lenses": ("information",), "beside": ()} | dict(options)
        if measure is None:
            hold(self.options)
        self.calls, self.step = 0, 0
        self.measured: int | None = None
        self._names: list[str] = []
        self._tables: list[pd.DataFrame] = []

    def __call__(self, model: nn.Module, step: int | None = None) -> None:
        """Count a step, and measure if the step is due.

        Parameters
        ----------
        model : nn.Module
            The network as it is now, in any mode.
        step : int, optional
            How many steps of training it has had; without it the number of calls before this one.
        """
        step = self.calls if step is None else checks.at_least("step", step, self.step)
        self.calls, self.step = self.calls + 1, step
        if self.measured is not None and step - self.measured < self.every:
            return
        net = checks.network("model", model) if self.wrap is None else checks.network("wrap(model)", self.wrap(model))
        self._names = self._names or select(net, self.layers)
        with undisturbed(net):
            table = self._measured(net)
        self._tables.append(checks.of_type("the result of measure", table, pd.DataFrame, "a table").assign(step=step))
        self.measured = step

    def _measured(self, net: nn.Module) -> pd.DataFrame:
        if self.measure is None:
            return look(net, self.data, self._names, **self.options)
        return self.measure(net, self.data, self._names)

    @property
    def table(self) -> pd.DataFrame:
        """All rows until now, without any before the first call."""
        return pd.concat(self._tables, ignore_index=True) if self._tables else pd.DataFrame(columns=["step"])

    def lightning(self) -> Any:
        """A callback of Lightning that calls this watch before the first step of `fit` and after each.

        Returns
        -------
        lightning.pytorch.Callback
            Or one of `pytorch_lightning`, where `lightning` is not installed. The model is the LightningModule; steps
            are those of its optimizer. It measures in the process of rank 0 alone.

        Raises
        ------
        ValueError
            If neither package is installed.

        Examples
        --------
        >>> images = Data(torch.rand(40, 1, 4, 4), torch.arange(40) % 2)
        >>> callback = Watch(images, every=50).lightning  # Trainer(callbacks=[callback()])
        """

        def seen(_self: Any, trainer: Any, module: nn.Module, *_: Any) -> None:
            if trainer.is_global_zero:
                self(module, trainer.global_step)

        try:
            from lightning.pytorch import Callback
        except ImportError:
            try:
                from pytorch_lightning import Callback
            except ImportError:
                raise ValueError("watch.lightning() needs the package lightning, which is not installed") from None
        return type("Watching", (Callback,), {"on_train_start": seen, "on_train_batch_end": seen})()

    def transformers(self) -> Any:
        """A callback of the Hugging Face Trainer that calls this watch before the first step and after each.

        Returns
        -------
        transformers.TrainerCallback
            It measures in the process of rank 0 alone. Models whose layers return tuples and which return mappings need
            a `wrap`.

        Raises
        ------
        ValueError
            If the package is not installed.

        Examples
        --------
        >>> images = Data(torch.rand(40, 1, 4, 4), torch.arange(40) % 2)
        >>> callback = Watch(images, every=50).transformers  # Trainer(callbacks=[callback()])
        """

        def seen(_self: Any, _args: Any, state: Any, _control: Any, *, model: nn.Module, **_: Any) -> None:
            if state.is_world_process_zero:
                self(model, state.global_step)

        try:
            from transformers import TrainerCallback
        except ImportError:
            raise ValueError("watch.transformers() needs the package transformers, which is not installed") from None
        return type("Watching", (TrainerCallback,), {"on_train_begin": seen, "on_step_end": seen})()


checks.guard(globals())

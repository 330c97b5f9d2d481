"""Bad arguments of every public function of the library: each is refused by its name, or allowed beside the call.

`calls` holds one valid call of each function, with a value for every argument, and the bad values that it may take all
the same, by their label in `pool`. A result for such a value is as finite as the valid one, and of the same shape.
"""

import contextlib
import copy
import dataclasses
import importlib
import inspect
import math
import pkgutil
import random
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import cache, partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import infolib
from infolib.data import Data, Splits
from infolib.estimators import binning, renyi, truth
from infolib.measures import discarding, information_plane, lenses, neuron_importance, transfer
from infolib.training import Step

N = 12
SEED = 0
EXEMPT = {"infolib.checks"}  # its functions name what they are told to; tests/test_training.py has them
STEPS = ("Noise", "Problem", "cell_sums", "distances_at", "of_layer", "parts", "probe", "sensitivities")
HANDED = {
    f"infolib.measures.discarding.constrained.{name}" for name in STEPS
}  # they get what `checked_images` has checked
HANDED |= {"infolib.activations.tensor_of"}  # in a pass
HANDED |= {
    "infolib.data.Splits",
    "infolib.data.gathered",
    "infolib.data.labelled",
}  # a record; checks that name what they are told to


def functions():
    """Full name -> public function or data class, under the first module that has it."""
    found = {}
    for info in pkgutil.walk_packages(infolib.__path__, "infolib."):
        if re.search(r"\._", info.name) or info.name in EXEMPT:
            continue
        module = importlib.import_module(info.name)
        listed = getattr(module, "__all__", None)
        for name in listed or [name for name in vars(module) if name[0] != "_"]:
            value = getattr(module, name)
            ours = str(getattr(value, "__module__", "")).startswith("infolib." if listed else info.name)
            if ours and (inspect.isfunction(value) or (inspect.isclass(value) and dataclasses.is_dataclass(value))):
                found.setdefault(id(value), (f"{info.name}.{name}", value))
    return dict(sorted(found.values()))


FUNCTIONS = functions()


def draw(*shape, seed=1):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def network():
    torch.manual_seed(0)
    parts = {"conv1": nn.Conv2d(1, 2, 3, padding=1), "act": nn.ReLU(), "flat": nn.Flatten(), "fc": nn.Linear(32, 2)}
    parts["conv1"].bias.data += 1  # alive behind the ReLU
    return nn.Sequential(OrderedDict(parts)).eval()


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2)).eval()


def frame(columns, *rows):
    return pd.DataFrame(rows, columns=columns.split(", "))


NET, X, Y = network(), draw(N, 1, 4, 4), torch.arange(N) % 2
STATE = copy.deepcopy(NET.state_dict())
DATA, OTHER = Data(X, Y), Data(draw(N, 1, 4, 4, seed=2), Y)
CHAIN = {"model": NET, "x": X, "layers": ["conv1", "fc"]}
ORDER = {"alpha": "inf 1e300"} | dict.fromkeys(["A", "B", "C", "grams"], "batched~")  # of a Rényi entropy
SYMBOLS = {"codes": "bool negative", "y": "bool negative"}


def estimators():
    """(module, function, arguments, {argument: labels of what it may take})."""
    f, g, codes = draw(N, 2).double(), draw(N, 2, seed=2).double(), (3 * draw(N, 3)).long()
    A, B, C = (renyi.gram(draw(N, 2, seed=seed).double(), width=0.5) for seed in (1, 2, 3))
    both, mine = {"codes": codes, "y": Y}, "binning"
    yield mine, "sign", {"x": f, "threshold": 0.5}, {"x": "bool", "threshold": "0 -1 1e300"}
    yield (
        mine,
        "uniform",
        {"x": f, "bins": 4, "low": 0.0, "high": 1.0},
        {"x": "bool", "low": "None -1 0", "high": "None 1e300 0"},
    )
    yield mine, "quantile", {"x": f, "bins": 4}, {"x": "bool"}
    mine = "discrete"
    for name in ("entropy", "joint_entropy"):
        yield mine, name, {"codes": codes, "correction": "miller-madow"}, SYMBOLS | {"correction": "None"}
    for name in ("conditional_entropy", "mutual_information"):
        yield mine, name, both | {"correction": "miller-madow"}, SYMBOLS | {"correction": "None"}
    for name in ("class_information", "kl_selectivity", "pair_information"):
        yield mine, name, both, SYMBOLS
    three = both | {"z": Y.flip(0), "correction": "miller-madow"}
    yield mine, "conditional_mutual_information", three, SYMBOLS | {"z": "bool negative", "correction": "None"}
    yield mine, "symbols", {"*variables": [codes, codes]}, {"variables": "bool negative"}
    mine = "knn"
    yield mine, "mutual_information", {"x": f, "y": g, "k": 3, "estimator": 1}, {"x": "bool"}
    yield mine, "label_mutual_information", {"x": f, "y": Y, "k": 3}, {"x": "bool", "y": "bool negative"}
    mine = "renyi"
    yield mine, "squared_distances", {"x": f}, {"x": "bool"}
    yield mine, "gram", {"x": f, "width": 0.5, "precomputed": False}, {"x": "bool", "width": "inf 1e300 True [1]~"}
    yield mine, "channel_grams", {"x": draw(N, 2, 3), "width": 0.5}, {"x": "bool", "width": "inf 1e300 True [1]~"}
    yield mine, "label_gram", {"y": Y}, {"y": "bool negative"}
    yield mine, "entropy", {"A": A, "alpha": 1.01}, ORDER
    for name in ("joint_entropy", "total_correlation", "dual_total_correlation"):
        yield mine, name, {"*grams": [A, B], "alpha": 1.01}, ORDER
    for name in ("conditional_entropy", "mutual_information"):
        yield mine, name, {"A": A, "B": B, "alpha": 1.01}, ORDER
    yield mine, "conditional_mutual_information", {"A": A, "B": B, "C": C, "alpha": 1.01}, ORDER
    yield mine, "label_entropy", {"y": Y, "alpha": 1.01}, ORDER | {"y": "bool negative"}
    for name in ("label_joint_entropy", "label_mutual_information"):
        yield mine, name, {"A": A, "y": Y, "alpha": 1.01}, ORDER | {"y": "bool negative"}
    yield mine, "alignment", {"A": A, "B": B, "centred": True}, ORDER
    yield mine, "silverman_width", {"x": f, "h": 5.0}, {"x": "bool", "h": "1e300"}
    search = {
        "widths": torch.tensor([0.5, 1.0]),
        "points": 5,
        "low": 0.1,
        "high": 1.0,
        "bins": 10,
        "precomputed": False,
    }
    optional = {"widths": "None scalar", "high": "None 1e300?", "bins": "None"}
    yield mine, "published_width", {"x": f, "y": Y} | search, optional | {"x": "bool", "y": "bool negative"}
    search = {"low": 0.1, "high": 10.0, "centred": False, "bins": 50, "precomputed": False}
    optional = {"high": "1e300", "bins": "None", "x": "bool", "y": "bool negative"}
    yield mine, "alignment_width", {"x": f, "y": Y} | search, optional
    far = {"x": f, "ratio": 0.5, "kind": "mean", "precomputed": False}
    yield mine, "distance_width", far, {"x": "bool", "ratio": "1e300"}
    mine, drawn = "chance", {"permutations": 19, "seed": 0}
    judged, may = drawn | {"level": 0.9, "p_value": True}, ORDER | {"level": "None~", "seed": "0"}
    free = {"estimator": lambda x, _: x.double().mean(0), "x": codes, "y": Y, "batched": False}
    yield mine, "beyond", free | judged, may | {"x": "bool negative floats", "y": "bool negative floats"}
    yield mine, "beyond_grams", {"A": A, "B": B, "alpha": 1.01} | judged, may
    yield mine, "beyond_labels", {"A": A, "y": Y, "alpha": 1.01} | judged, may | {"y": "bool negative"}
    yield mine, "joint_entropy", {"A": A, "B": B, "alpha": 1.01} | drawn, may
    yield mine, "label_joint_entropy", {"A": A, "y": Y, "alpha": 1.01} | drawn, may | {"y": "bool negative"}
    mine = "lanczos"
    quadrature = {"alpha": 1.01, "probes": 3, "steps": 3, "deflated": 2, "exact": 0, "memory": 1e9, "seed": 0}
    quadrature["shared"] = lambda rows: rows(0, 1)
    may = {"alpha": "inf 1e300", "exact": "0", "memory": "inf 1e300", "seed": "0", "x": "bool", "shared": "None"}
    may |= dict.fromkeys(["width", "width_x", "width_y"], "inf 1e300")
    yield mine, "entropy", {"x": f, "width": 0.5} | quadrature, may
    both = {"x": f, "y": g, "width_x": 0.5, "width_y": 0.5}
    yield mine, "mutual_information", both | quadrature, may | {"y": "bool"}
    yield mine, "label_mutual_information", {"x": f, "y": Y, "width": 0.5} | quadrature, may | {"y": "bool negative"}
    yield mine, "gram_entropy", {"A": A} | quadrature, may
    yield mine, "leading_eigenpairs", {"A": A, "deflated": 2, "seed": 0}, {"seed": "0"}
    mine = "truth"
    yield mine, "SparseNormal", {"dim_x": 2, "dim_y": 2, "pairs": 1, "correlation": 0.5}, {"correlation": "0"}
    yield mine, "DenseNormal", {"dim_x": 2, "dim_y": 2, "correlation": 0.5}, {"correlation": "0"}
    yield mine, "StudentT", {"normal": truth.SparseNormal(), "dof": 3.0}, {"dof": "1e300"}
    yield mine, "Mapped", {"base": truth.SparseNormal(), "map_x": torch.exp, "map_y": torch.exp}, {}
    yield mine, "UniformNoise", {"noise": 0.5}, {"noise": "1e300"}
    yield mine, "Channel", {"table": ((0.5, 0.0), (0.0, 0.5))}, {}
    yield mine, "symmetric_channel", {"symbols": 2, "error": 0.1}, {"error": "0"}
    yield mine, "Patterns", {"x": torch.eye(4), "y": torch.tensor([0, 0, 1, 1])}, {"x": "bool", "y": "bool negative"}
    mine, some = "uncertainty", {"x": "bool negative floats", "y": "bool negative floats", "seed": "0"}
    both = {"estimator": lambda x, _: x.double().mean(0), "x": codes, "y": Y, "seed": 0}
    yield mine, "permutation_null", both | {"n_permutations": 3, "batched": True}, some
    yield mine, "subsampling_interval", both | {"n_subsamples": 3, "size": 6, "level": 0.9}, some | {"size": "None"}


def measures():
    A, B, C = (renyi.gram(draw(N, 2, seed=seed).double(), width=0.5) for seed in (1, 2, 3))
    mine, about = "synergy", {"y": Y, "h": 5.0, "alpha": 1.01, "max_pairs": 1, "seed": 0, "softmax": ["fc"]}
    order = {"alpha": "inf? 1e300", "h": "1e300?", "x": "", "softmax": "None []"}
    may = order | {"max_pairs": "None", "seed": "0"}
    grams = {"input_gram": A, "channel_grams": torch.stack([A, B, C]), "alpha": 1.01, "max_pairs": 2, "seed": 0}
    grams |= {"precision": torch.float64}
    yield mine, "decompose", grams, ORDER | {"max_pairs": "None~", "seed": "0"}
    yield mine, "by_layer", CHAIN | about, may | {"h": "1e300? None"} | {"y": "bool negative None~"}
    kernel = {"h": 5.0, "alpha": 1.01}
    yield mine, "cumulative", {"x": X, "t": draw(N, 2, 3)} | kernel, order | {"x": "bool", "t": "bool"}
    yield mine, "forward_chain", CHAIN | kernel | {"softmax": ["fc"]}, order
    yield mine, "error_chain", CHAIN | kernel | {"y": Y, "reduction": "mean"}, order | {"y": "bool"}
    yield mine, "errors", CHAIN | {"y": Y, "reduction": "mean"}, {"y": "bool"}

    mine, neurons = "neuron_importance", {"model": NET, "data": DATA, "layers": ["act"]}
    scoring = {"quantise": binning.sign, "permutations": 2, "seed": 0}
    used = ["layer", "quantity", "value"]
    scored = neuron_importance.scores(**neurons, **scoring)
    found = neuron_importance.orders(scored, random=1, seed=0)
    ablated = neuron_importance.ablation_curves(NET, DATA, found)
    yield mine, "scores", neurons | scoring, {"seed": "0"}
    yield mine, "comparisons", neurons, {}
    yield mine, "orders", {"table": scored[used], "random": 1, "seed": 0}, {"random": "0~", "seed": "0"}
    ablation = {"model": NET, "data": DATA, "orders": found, "mode": "mean", "means": OTHER, "points": 1}
    yield mine, "ablation_curves", ablation, {"means": "None", "points": "None~"}
    yield mine, "area", {"curves": ablated, "upto": 2}, {"upto": "None", "curves": "no_n~ no_mode~ no_layers~ no_loss"}
    splits = Splits(DATA, DATA, OTHER, "mine", {})
    whole = {"model": NET, "splits": splits, "layers": ["act"], "modes": ["mean"], "random": 1, "points": 1}
    yield mine, "analyse", whole | scoring, {"seed": "0", "random": "0~", "points": "None~"}
    yield mine, "rank_correlations", {"table": scored[["neuron", *used]], "target": "entropy"}, {}

    mine, images = "discarding", {"model": NET, "x": X[:2], "layer": "conv1"}
    cells, few = images | {"grid": 2, "rectify": False}, {"error": 0.1, "samples": 4096, "steps": 1}
    level = {"sigma0": 0.01, "alpha": 1.5}
    draws = {"seed": "0", "x": "bool", "alpha": "1e300?"}  # black and white images
    own = discarding.strict_information_discarding(**cells, **few)
    yield mine, "box", {"grid": 4}, {}
    yield (
        mine,
        "concentration",
        {"entropy": own.entropy, "foreground": torch.eye(2) > 0},
        {"entropy": "nan? bool shorter~ batched~", "foreground": "bool"},
    )
    yield mine, "table", {"results": {"conv1": own}, "foreground": torch.eye(2) > 0}, {"foreground": "None~ bool"}
    yield mine, "sensitivity", cells | {"cotangents": 2, "seed": 0}, draws
    yield mine, "jacobian", cells, draws
    yield mine, "perturbation", cells, draws
    yield mine, "grad_cam", images | {"grid": 2}, draws
    several = {key: images[key] for key in ("x", "layer")} | {"model": NET, "changed": {"a": NET}, "grid": 2}
    yield mine, "comparability", several | few, draws | {"steps": "0", "error": "1e300"}
    optional = draws | {"steps": "0", "error": "1e300"}
    yield mine, "strict_information_discarding", cells | few | level | {"method": "certified", "seed": 0}, optional
    layers = {key: value for key, value in cells.items() if key != "layer"} | {"layers": ["conv1"], "seed": 0}
    yield mine, "measured", layers | few | level | {"method": "certified"}, optional
    certified = images | level | {"rectify": False, "sigma": own.sigma, "error": 0.1, "samples": 4096, "seed": 0}
    yield mine, "certify", certified, draws | {"error": "1e300"}
    decoding = {"decoder": lambda t: t.mean(1, keepdim=True), "seed": 0}
    yield mine, "reconstruction_uncertainty", cells | few | level | decoding, optional

    mine, draws = "discarding.constrained", draws
    yield mine, "checked_images", {"model": NET, "x": X, "grid": 2}, {"x": "bool"}
    yield mine, "checked_mode", {"model": NET}, {}
    yield mine, "tapped", {"model": NET, "layers": ["conv1"], "x": X[:2], "rectify": False}, {}

    mine = "transfer"
    coins, pool = Data((draw(N, 1) > 0.5).float(), Y), Data(2 + draw(N, 1), Y)
    state, learner = torch.ones(2, 2, dtype=torch.float64), transfer.counting
    coding = {"calibrate": True, "mixture": False, "batched": False, "bits": None, "seed": 0}
    may = {"seed": "0", "bits": "None", "ends": "None"}
    ends = {"ends": [0, 6, N]}
    code = {"learner": learner, "initial": state, "data": coins} | ends | coding
    yield mine, "prequential_codelength", code, may | {"ends": "None~"}
    replay = {"initial": NET, "data": DATA, "batch_size": 6, "streams": 2, "lr": 0.01, "calibrate": True, "seed": 0}
    yield mine, "replay_codelength", replay, {"streams": "0", "seed": "0"}
    pair = {"initial": state, "trained": 2 * state, "holdout": coins, "learner": learner, "pool": pool} | ends | coding
    yield mine, "information_transfer", pair | {"adapt": "prequential"}, may | {"pool": "None"}
    compared = {key: value for key, value in pair.items() if key != "trained"} | {"states": {"a": state}}
    yield mine, "compare", compared, may | {"pool": "None"}
    yield mine, "model_information", code | {"trained": state}, may
    yield (
        mine,
        "retention",
        {"after_a": 0.9, "after_b": 0.5, "b_only": 0.1},
        dict.fromkeys(("after_a", "after_b", "b_only"), "0 -1 1e300 True [1]~"),
    )
    cost = transfer.prequential_codelength(learner, state, coins)
    yield mine, "surplus_description_length", {"code": cost, "tolerance": 0.1}, {"tolerance": "0 1e300"}
    yield (
        mine,
        "counting",
        {"state": state, "prefix": coins, "_seed": 0},
        {"_seed": "0 -1", "state": "bool", "prefix": "empty"},
    )
    learning = {"seed": 0, "steps": 1, "batch_size": 4, "lr": 0.01}
    one = {
        "state": NET,
        "prefix": DATA,
        "epochs": 0.1,
        "head": slice(0, 2),
        "memory": OTHER,
        "term": lambda net, x: net(x).mean(),
    }
    trained = {"seed": "0", "steps": "0", "epochs": "0"}
    yield mine, "network", one | learning, trained | {"memory": "None", "term": "None", "prefix": "empty"}
    yield mine, "networks", {"states": [perceptron()], "prefixes": [DATA]} | learning, trained
    yield mine, "calibrated", {"model": NET, "data": DATA}, {}
    yield mine, "accuracy", {"predictor": NET, "data": DATA}, {}
    yield mine, "overlap", {"pool": DATA, "holdout": OTHER}, {"pool": "empty negative", "holdout": "empty negative"}
    yield mine, "block_bits", {"predictor": NET, "block": DATA, "mixture": False}, {}
    yield mine, "block_ends", {"k": 12, "first": 4, "ratio": 2.0}, {"ratio": "1e300~"}


def planes_and_lenses():
    recorded = {"conv1": draw(N, 2, 2, 2), "fc": draw(N, 2, seed=2)}
    mine, given = "information_plane", {"x": X, "y": Y, "recorded": recorded}
    kernel = {"input_width": 1.0, "ratio": None, "alpha": 1.01, "points": 3, "low": 0.1, "high": 1.0, "bins": 10}
    kernel |= {"precision": torch.float64, "search": "published", "centred": False, "permutations": 2, "seed": 0}
    may = {
        "alpha": "inf? 1e300",
        "high": "None 1e300?",
        "bins": "None",
        "input_width": "1e300 inf?",
        **dict.fromkeys(("ratio", "points", "low"), "None"),
        "permutations": "0~",
        "seed": "0",
        "momentum": "0",
        "widths": "None {} 3_inside",
    }
    may |= {"settled": "None", "softmax": "None []", "y": "bool negative", "at": "None~"}
    may |= {"batch": "floats nan empty negative", "noise": "1e300"}
    former = {"momentum": 0.5, "widths": {"fc": 0.5}}
    yield mine, "matrix_based", given | kernel | former, may | {"x": "bool"}
    yield (
        mine,
        "binned",
        given | {"bins": 4, "low": 0.0, "high": 1.0},
        may | {"x": "bool", "low": "None -1 0", "high": "None 0", "bins": ""},
    )
    yield mine, "neighbours", given | {"noise": 0.1, "copies": 5, "k": 3, "seed": 0}, may | {"x": "bool", "seed": "0"}
    softmax = {"softmax": ["fc"], "dtype": torch.float64}
    yield mine, "point", CHAIN | {"y": Y, "estimator": information_plane.matrix_based} | softmax | kernel, may
    held = {"momentum": ""}  # not 0, with widths to start from
    settled = former | {
        "settled": (1, 2),
        "at": [0],
        "estimator": partial(information_plane.matrix_based, input_width=1, search="published"),
    }
    steps = [Step(1, 1, torch.arange(2), 0.5)]
    yield mine, "Plane", {"batch": DATA} | settled | softmax, may | held | {"softmax": "None [] ['nonsense']"}
    course = CHAIN | {"steps": steps, "y": Y} | settled | softmax | {"estimator": information_plane.matrix_based}
    untouched = {"steps": "nonsense [None] [nan] [] [-1]"}  # at=[0] is before any step
    yield mine, "trajectory", course | kernel, may | held | untouched
    plane = information_plane.Plane(batch=DATA, at=[0], estimator=settled["estimator"])
    course = {"model": NET, "steps": steps, "planes": {"own": plane}, "layers": ["fc"]}
    yield mine, "trajectories", course, untouched
    yield mine, "drawn_from", {"data": DATA, "size": 4, "seed": 0}, {"seed": "0", "data": "negative"}
    yield mine, "early_stops", {"validation": {1: 0.5, 2: 0.4}, "patiences": [1]}, {"validation": "3_inside"}
    yield mine, "prepared", {"recorded": recorded} | softmax, {"softmax": "[]"}

    mine, few = "lenses", {"model": NET, "data": DATA, "layers": ["conv1"], "n": 8}
    many = Data(torch.cat([X, OTHER.x]), torch.cat([Y, Y]))
    may = ORDER | {"seed": "0", "steps": "0", "softmax": "None []~", "data": "negative floats? pair", "layers": "None?"}
    may |= {"n": "None?", "permutations": "0?"}
    own = {"permutations": 1, "batch_size": 8, "seed": 0}
    yield (
        mine,
        "balanced",
        {"data": DATA, "n": 8, "part": 0, "parts": 1},
        {"data": "negative floats? pair", "part": "0"},
    )
    yield (
        mine,
        "checked",
        {"model": NET, "data": DATA, "layers": ["conv1"]},
        {"data": "negative floats? pair", "layers": "None?"},
    )
    yield mine, "measurable", {"model": NET, "x": X}, {}
    yield (
        mine,
        "information",
        few | own | {"layers": ["fc"], "alpha": 1.01, "ratio": 0.5, "softmax": ["fc"]},
        may | {"ratio": "1e300"},
    )
    yield mine, "redundancy", few | own | {"alpha": 1.01, "max_pairs": 1}, may
    units = few | {"data": many, "shares": (0.5, 1.0)}
    yield mine, "class_information", units | own, may | {"data": "negative? floats? pair"}
    yield mine, "clamped_accuracy", units, {"data": "pair", "layers": "None?"}
    noise = {"error": 0.1, "samples": 4096, "steps": 0}
    yield (
        mine,
        "discarding",
        few | noise | {"n": 1, "boxed": False, "bounds": (0.0, 2.0), "seed": 0},
        may | {"error": "1e300", "bounds": "None"},
    )
    yield mine, "codelength", few | own, may
    yield mine, "finest_grid", {"x": X}, {"x": "bool"}
    probing = {"_seed": "0 -1", "state": "bool", "prefix": "empty"}
    yield mine, "probe", {"state": torch.zeros(4, 2), "prefix": Data(draw(N, 4), Y), "_seed": 0}, probing
    smaller = {name: {"n": 8} for name in ("information", "redundancy", "class_information", "codelength")}
    whole = {"data": "negative? floats? pair", "information": "{}?", "network": "nonsense", "repeats": "2?"}
    whole |= dict.fromkeys(("lenses", "untrained", "device", "done", "layers_at_once", "on_row"), "None?") | {
        "beside": "[]?", "lenses": "None?"}  # fmt: skip
    look = {"model": NET, "data": many, "layers": ["conv1"], "network": "mine", "seed": 0, "progress": False}
    whole |= dict.fromkeys(("redundancy", "class_information", "discarding", "codelength"), "{} 3_inside")
    asked = {"lenses": ["information"], "beside": ["permuted"], "repeats": 1}
    how = {"batch_size": 8, "layers_at_once": 1, "device": "cpu", "on_row": None, "done": None, "untrained": None}
    yield mine, "look", look | how | asked | smaller | {"discarding": {"n": 1} | noise}, may | whole
    how = {"batch_size": 8, "layers_at_once": 1, "device": "cpu"}
    yield mine, "cost", {"model": NET, "data": many, "layers": ["conv1"]} | how | asked, may | whole
    few = {"data": many, "layers": ["conv1"]} | smaller | {"discarding": {"n": 1} | noise}
    may = {"data": "negative? floats? pair", "layers": "None?"} | dict.fromkeys([*smaller, "discarding"], "{}?")
    yield mine, "compare", few | {"models": {"a": NET, "b": NET}, "n": 8}, may
    yield mine, "series", few | {"checkpoints": {0: NET, 9: STATE}, "model": NET}, may
    yield mine, "cka", {"x": X, "y": OTHER.x}, {"x": "bool", "y": "bool"}
    columns = "source, seed, network, layer, lens, quantity, value"
    rows = [
        ("digits", 0, "mine", str(d), q, q, d + 0.5 * i) for d in range(3) for i, q in enumerate(lenses.QUANTITIES[:2])
    ]
    table = frame(columns, *rows)
    yield mine, "agreement", {"table": table, "over": "layer", "other": lambda values: values}, {}
    pairs = lenses.agreement(table, over="layer")
    yield mine, "between_lenses", {"pairs": pairs}, {"pairs": "no_one no_two"}
    yield mine, "pair", {"pairs": pairs, "one": "I(X;T)", "two": "I(T;Y)"}, {"pairs": "no_lenses"}


def others():
    mine = "networks"
    yield mine, "select", {"model": NET, "layers": ["conv1"]}, {"layers": "None? []? ['nonsense']"}
    for name in ("blocks", "forked"):
        yield mine, name, {"model": NET}, {}
    yield mine, "untrained", {"model": NET, "seed": 0, "x": X}, {"seed": "0", "x": "None bool"}
    mine, given = "activations", {"model": NET, "x": X, "layers": ["conv1", "fc"]}
    yield mine, "collect", given | {"batch_size": 5}, {"layers": "[]~"}
    yield (
        mine,
        "tensor_of",
        {"model": NET, "layer": "fc", "output": X},
        {
            "model": "None? 3? x? []?",
            "layer": "nonsense? 3? None? []?",
            "output": "empty? scalar? bool complex nan? inf? shorter? batched?",
        },
    )
    yield mine, "placed", {"model": NET, "x": X}, {"x": "bool empty?"}
    yield mine, "device_of", {"model": NET, "default": "cpu"}, {"default": "nonsense 3 None []"}
    for name in ("evaluating", "final", "layers"):
        yield mine, name, {"model": NET}, {}
    for name in ("forward", "reached"):
        yield mine, name, {"model": NET, "x": X}, {"x": "empty?"}
    yield mine, "hooked", {"model": NET, "actions": {"fc": lambda *_: None}, "every": False}, {"actions": "{}"}
    yield mine, "record", {"model": NET, "layers": ["fc"], "detach": True}, {"layers": "[]"}
    yield mine, "replace", {"model": NET, "changes": {"fc": torch.relu}}, {"changes": "{}"}
    yield mine, "upto", {"model": NET, "layer": "fc"}, {}
    mine = "data"
    yield mine, "Data", {"x": X, "y": Y}, {"x": "bool nan inf complex", "y": "bool negative nan inf complex floats"}
    yield mine, "Splits", {"train": DATA, "val": DATA, "test": DATA, "name": "mine", "sha256": {}}, {}
    yield mine, "labelled", {"name": "data", "data": DATA, "empty": False}, {}
    yield mine, "stratified_order", {"y": Y, "generator": torch.Generator()}, {"y": "bool negative"}
    mine, both = "training", {"model": NET, "data": DATA}
    options = {
        "epochs": 1,
        "batch_size": 6,
        "lr": 0.01,
        "seed": 0,
        "optimizer": "sgd",
        "momentum": 0.5,
        "weight_decay": 0.1,
    }
    may = {"seed": "0", "epochs": "0", "momentum": "0", "weight_decay": "0", "steps": "0"}
    options |= {"progress": False}
    yield mine, "fit", both | options, may | {"epochs": "0~"}
    loss = {"loss": lambda batch: NET(X[batch]).square().mean(), "n": N}
    yield mine, "minimise", {"model": NET} | loss | options, may | {"epochs": "0~"}
    optimizer = torch.optim.SGD(perceptron().parameters(), 0.01)
    trained = {"loss": lambda _: optimizer.param_groups[0]["params"][0].square().sum(), "batches": [1]}
    yield mine, "descend", {"optimizer": optimizer} | trained, {"batches": "nonsense~ [None]~ [nan]? []~ [-1]"}
    yield mine, "evaluate", both | {"batch_size": 5}, {}
    learning = {"seed": 0, "steps": 1, "batch_size": 4, "lr": 0.01}
    one = {"epochs": 0.1, "head": slice(0, 2), "memory": OTHER, "term": lambda net, x: net(x).mean()}
    yield mine, "train", both | learning | one, may | {"memory": "None", "term": "None", "data": "empty"}
    yield mine, "train_many", {"models": [perceptron()], "data": [DATA]} | learning, may | {"seed": "0 [1]"}
    yield mine, "ewc", both | {"strength": 1.0, "samples": 2, "seed": 0}, may | {"strength": "0 1e300"}
    yield (
        mine,
        "distillation",
        {"model": NET, "head": slice(0, 2), "weight": 1.0, "temperature": 1.0},
        {"weight": "0 1e300", "temperature": "1e300"},
    )
    yield mine, "fold", {"model": NET, "factor": 0.5}, {"factor": "0"}
    yield mine, "narrow", {"model": NET, "head": slice(0, 2)}, {}
    for name in ("last_linear", "zero_head"):
        yield mine, name, {"model": NET}, {}


def figures():
    ax = plt.figure().add_subplot()
    course = frame(
        "network, layer, step, seed, I(X;T), I(T;Y), S(X), S(Y), control",
        *[
            ("mlp", layer, step, seed, 5.0 + seed, step / 5, 6.0, 3.3, 0)
            for layer in ("conv1", "fc1")
            for step in (1, 10)
            for seed in (0, 1)
        ],
    )
    on, both = {"ax": "None"}, ["layer", "step"]
    plane = ["I(X;T)", "I(T;Y)"]
    yield "depth_profile", {"table": course[[*both, "I(X;T)"]], "quantity": "I(X;T)", "hue": "step", "ax": ax}, on
    known = course[[*both, "network", *plane, "S(X)", "S(Y)"]].assign(**{f"{i} chance": 0.5 for i in plane})
    yield "chance_profiles", {"table": known, "hue": "step", "row": "network"}, {"table": "no_I(T;Y)"}
    drawn = {"x": "step", "hue": "layer", "dotted": "control"}
    colours = {"conv1": "C0", "fc1": "C1"}
    yield (
        "lines",
        drawn | {"table": course[[*both, "seed", "control", "I(T;Y)"]]} | {"y": "I(T;Y)", "colours": colours, "ax": ax},
        on | {"colours": "None", "dotted": "None"},
    )
    yield (
        "panels",
        drawn
        | {"table": course.drop(columns=["I(X;T)", "S(X)"])}
        | {"quantities": {"I(T;Y)": "S(Y)"}, "column": "network"},
        {"dotted": "None"},
    )
    yield (
        "planes",
        {"table": course[[*both, *plane, "network"]], "planes": [("I(X;T)", "I(T;Y)")], "row": "network"},
        {},
    )
    yield (
        "layer_planes",
        {"table": course[[*both, *plane, "network"]], "row": "network", "marks": {"mlp": {"stop": 10}}},
        {"marks": "None {}"},
    )
    rows = [("KSG", n, 1.0 + seed / n, 1.0) for n in (100, 1000) for seed in (0, 1)]
    table = frame("estimator, samples, bits, truth", *rows)
    yield "estimates", {"table": table, "x": "samples", "log": True, "ax": ax}, on
    rows = [("digits", seed, end, end / 2, end + seed, 3.3) for end in (2, 4) for seed in (0, 1)]
    yield "codelengths", {"table": frame("set, seed, end, labels, bits, uniform", *rows)}, {}
    ways = [("entropy", "ascending"), ("entropy", "descending"), ("random", "random")]
    rows = [
        ("mlp", "fc1", *way, mode, seed, k, 1 - k / 9)
        for way in ways
        for mode in ("mean", "zero")
        for seed in (0, 1)
        for k in (0, 1)
    ]
    curves = frame("network, layers, quantity, direction, mode, seed, k, accuracy", *rows)
    yield "ablation", {"curves": curves.drop(columns=["network", "mode"]), "title": "mine"}, {"title": "nonsense"}
    yield "ablation_modes", {"curves": curves.drop(columns=["quantity", "direction"])}, {}
    rows = [("fig1", "accuracy", value, value + seed / 9) for value in (0.2, 0.8) for seed in (0, 1)]
    yield "agreement", {"table": frame("figure, unit, value, ours", *rows)}, {}
    rows = [(gap, net, "entropy", "fc1") for net in ("mlp", "cnn") for gap in (0.1, 0.2)]
    placed = {"table": frame("gap, network, quantity, layers", *rows), "x": "gap", "y": "network", "hue": "quantity"}
    yield "dots", placed | {"column": "layers", "shared": True}, {}
    yield (
        "scatter",
        {"table": placed["table"][["gap", "network"]], "x": "gap", "quantities": ["gap"], "hue": "network"},
        {},
    )
    rows = [("fc1", name, value / 9, 0.05) for name in ("entropy", "class information") for value in range(5)]
    scores = frame("layer, quantity, value, null", *rows)
    yield "violins", {"scores": scores, "quantities": ["entropy", "class information"]}, {}
    neurons = [(0, "fc1", 0, "entropy", 0.9), (0, "fc1", 0, "class information", 0.3)]
    yield "neuron_plane", {"scores": frame("seed, layer, neuron, quantity, value", *neurons), "ax": ax}, on
    pairs = frame("one, two, correlation", ("S(T)", "I(X;T)", 0.5), ("S(T)", "I(X;T)", 0.7))
    yield "rank_matrix", {"pairs": {"layers": pairs}}, {}
    shown = {"x": np.zeros((2, 1, 8, 8)), "labels": np.arange(2), "n": 2}
    yield "images", shown, {"x": "bool", "labels": "bool negative"}
    maps = {"conv1": np.arange(32.0).reshape(2, 4, 4)}
    yield (
        "heat_maps",
        {"x": shown["x"], "maps": maps, "unit": "bits", "box": (0.2, 0.8), "rows": ["a", "b"], "size": 1.3},
        {"box": "None", "unit": "nonsense", "x": "bool", "rows": "[]"},
    )
    page = "lens, quantity, unit, network, why not, layer, depth, seed, value, bound"
    rows = [
        (lens, q, "bit", "mlp", "", "conv1", 0, seed, 1.0, 3.0)
        for lens, q in (("discarding", "discarding"), ("class_information", "class information"))
        for seed in (0, 1)
    ]
    shares = frame(
        "layer, direction, share, accuracy", ("conv1", "ascending", 0.5, 0.9), ("conv1", "descending", 0.5, 0.4)
    )
    images = {"images": shown["x"], "maps": {"conv1": np.arange(16.0).reshape(4, 4)}, "box": (0.2, 0.8)}
    may = {
        "table": "no_seed no_bound",
        "first": "None",
        "images": "empty bool",
        "maps": "None~",
        "curves": "None~",
        "box": "None",
    }
    yield "lens_page", {"table": frame(page, *rows), "first": "mlp", "curves": shares} | images, may
    both = "network, layer, relative depth, step, quantity, unit, value, ceiling"
    course = frame(
        both, ("mlp", "fc1", 0.5, 0, "I(X;T)", "bit", 2.0, 3.0), ("cnn", "conv1", 1.0, 1, "I(X;T)", "bit", 2.0, 3.0)
    )
    yield "by_relative_depth", {"table": course}, {"table": "no_layer no_step no_ceiling"}
    yield "over_training", {"table": course}, {"table": "no_network no_relative_depth no_ceiling"}
    similar = frame("network, layer, other network, other layer, CKA", ("mlp", "fc1", "cnn", "conv1", 0.5))
    yield "similarity", {"cka": similar}, {}
    edges = "quantity, unit, network, layer, depth, seed, value, floor, ceiling, permuted"
    rows = [("I(X;T)", "bit", "mlp", "conv1", 0, seed, 1.0, 0.0, 3.0, 0.5) for seed in (0, 1)]
    yield "lens_profiles", {"table": frame(edges, *rows), "title": "digits"}, {"title": "nonsense"}
    yield "light_png", {"figure": plt.figure(figsize=(1, 1))}, {}
    yield "sequential", {"n": 3}, {}
    yield "theme", {}, {}


@cache
def calls():
    """Full name -> (arguments, {argument: labels of what it may take})."""
    found = {f"infolib.estimators.{mine}.{name}": call for mine, name, *call in estimators()}
    found |= {
        f"infolib.measures.{mine}.{name}": call
        for part in (measures, planes_and_lenses)
        for mine, name, *call in part()
    }
    found |= {f"infolib.{mine}.{name}": call for mine, name, *call in others()}
    with plt.rc_context():
        found |= {f"infolib.plotting.{name}": call for name, *call in figures()}
    plt.close("all")
    return found


def pool(value, alone):
    """Label -> a bad value, for an argument that takes `value`; `alone` if no other has as many samples."""
    if isinstance(value, Tensor | np.ndarray):
        t = torch.as_tensor(value)
        float_, first = t.double(), (0,) * t.ndim
        bad = {
            "empty": t[:0],
            "scalar": t[first],
            "words": np.full(t.shape, "a"),
            "complex": t * (1 + 1j),
            "bool": t > t.double().median(),
        }
        for label, number in (("nan", math.nan), ("inf", math.inf)):
            bad[label] = float_.clone()
            bad[label][first] = number
        if not t.is_floating_point() and t.dtype != torch.bool:
            bad |= {"floats": float_ + 0.5, "negative": t - 9}
        bad |= {} if alone else {"shorter": t[:-1], "batched": t[None]}
        return bad | {"None": None, "x": "x", "3j": 3j}
    if isinstance(value, bool):
        return {"None": None, "x": "x", "2": 2, "nan": math.nan, "[True]": [True]}
    if isinstance(value, int | float):
        return {
            "0": 0,
            "-1": -1,
            "nan": math.nan,
            "inf": math.inf,
            "-inf": -math.inf,
            "x": "x",
            "None": None,
            "True": True,
            "1e300": 1e300,
            "[1]": [1],
            "3j": 3j,
        }
    if isinstance(value, str):
        return {"nonsense": "nonsense", "3": 3, "None": None, "[]": []}
    if isinstance(value, pd.DataFrame):
        return {"empty": value.iloc[:0], "None": None, "3": 3, "x": "x"} | {
            f"no {name}": value.drop(columns=name) for name in value.columns
        }
    if isinstance(value, Data):
        nan = value.x.clone()
        nan[0] = math.nan
        return {
            "empty": value[:0],
            "None": None,
            "3": 3,
            "pair": (value.x, value.y),
            "nan": Data(nan, value.y),
            "negative": Data(value.x, value.y - 5),
            "floats": Data(value.x, value.y + 0.5),
        }
    if isinstance(value, Mapping):
        return {"None": None, "3": 3, "x": "x", "[]": [], "{}": {}, "3 inside": dict.fromkeys(value, 3)}
    if isinstance(value, list | tuple):
        words = all(isinstance(part, str) for part in value)
        return {
            "None": None,
            "3": 3,
            "nonsense": "nonsense",
            "[]": [],
            "[None]": [None],
            "[-1]": [-1],
            "[nan]": [math.nan],
        } | ({"['nonsense']": ["nonsense"]} if words else {})
    return {"None": None, "3": 3, "x": "x", "[]": []}


def bad_calls(name):
    """(argument, label, arguments with a bad value) of one function, drawn with a fixed seed."""
    arguments, _ = calls()[name]
    sized = [len(v) for v in arguments.values() if isinstance(v, Tensor | np.ndarray | Data | list) and len(v)]
    found = []
    for argument, value in arguments.items():
        if argument in ("initial", "trained") and name != "infolib.measures.transfer.replay_codelength":
            continue  # what its learner takes
        star = argument.removeprefix("*")
        inner = value[1] if argument != star else value
        alone = isinstance(inner, Tensor | np.ndarray) and sized.count(len(inner)) < 2 and argument == star
        for label, bad in pool(inner, alone).items():
            if (star, label) == ("epochs", "1e300"):  # is allowed, and has no end
                continue
            found.append((star, label, arguments | {argument: [value[0], bad] if argument != star else bad}))
    return random.Random(SEED).sample(found, len(found))


def call(name, arguments):
    """The result, with what is lazy done and what opens entered."""
    NET.load_state_dict(STATE)
    NET.eval()
    stars = [part for key, value in arguments.items() if key[0] == "*" for part in value]
    result = FUNCTIONS[name](*stars, **{key: value for key, value in arguments.items() if key[0] != "*"})
    if isinstance(result, contextlib.AbstractContextManager) and hasattr(result, "gen"):
        with result as entered:
            return entered
    return list(result) if isinstance(result, Iterator) else result


def form(result):
    """Shapes of all that is in a result, and how many numbers in it are not finite."""
    if isinstance(result, Tensor | np.ndarray):
        t = torch.as_tensor(result)
        return tuple(t.shape), int((~t.isfinite()).sum())
    if isinstance(result, float):
        return "number", int(not math.isfinite(result))
    if isinstance(result, pd.DataFrame | pd.Series):
        table = pd.DataFrame(result)
        numbers = table.select_dtypes("number").to_numpy(float)
        return list(map(str, table.columns)), table.shape, int((~np.isfinite(numbers)).sum())
    if isinstance(result, Mapping):
        return {str(key): form(value) for key, value in result.items()}
    if dataclasses.is_dataclass(result):
        return type(result).__name__
    if isinstance(result, list | tuple):
        return [form(value) for value in result]
    if isinstance(result, nn.Module):
        return [form(parameter.detach()) for parameter in result.parameters()]
    return type(result).__name__


def infinite(found):
    if isinstance(found, dict):
        return sum(map(infinite, found.values()))
    if isinstance(found, list):
        return sum(map(infinite, found))
    return found[-1] if isinstance(found, tuple) else 0


def fault(name, argument, label, arguments, expected):
    """What is wrong with the answer to a bad argument; empty if it is right."""
    allowed, label = calls()[name][1].get(argument, "").split(" "), label.replace(" ", "_")
    try:
        found = form(call(name, arguments))
    except FloatingPointError as error:  # training that diverges
        return "" if "lower lr" in str(error) else str(error)
    except ValueError as error:
        if {label, f"{label}~", f"{label}?"} & set(allowed):
            return f"is allowed, and refused: {error}"
        fits = arguments if label in ("shorter", "batched") else [argument]  # two do not fit: either name will do
        words = "|".join(re.escape(one.strip("*").removesuffix("s")) for one in fits)
        return "" if re.search(rf"(?<!\w)({words})s?(?!\w)", str(error)) else f"refused without its name: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if f"{label}~" in allowed:
        return f"a result that is not finite: {found}" if infinite(found) > infinite(expected) else ""
    if f"{label}?" in allowed:
        return ""
    if label not in allowed:
        return "accepted"
    return "" if found == expected else f"another result: {found}, not {expected}"


def test_every_public_function_has_a_call_with_all_its_arguments():
    assert sorted(set(FUNCTIONS) - set(calls()) - HANDED) == []
    assert sorted(set(calls()) - set(FUNCTIONS)) == []
    for name, (arguments, allowed) in calls().items():
        parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
        wanted = {f"*{p.name}" if p.kind == p.VAR_POSITIONAL else p.name for p in parameters if p.kind != p.VAR_KEYWORD}
        assert wanted <= set(arguments), name
        assert set(allowed) <= {a.lstrip("*") for a in arguments} or allowed, name


def test_there_are_as_many_bad_calls_as_were_asked_for():
    assert sum(len(bad_calls(name)) for name in calls()) >= 1100


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_bad_argument_is_refused_by_its_name(name):
    if name in HANDED:
        return
    arguments, _ = calls()[name]
    with plt.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = form(call(name, arguments))
        wrong = {
            f"{argument}={label}": text
            for argument, label, given in bad_calls(name)
            if (text := fault(name, argument, label, given, expected))
        }
        plt.close("all")
    assert wrong == {}

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from infolib import checks
from infolib.activations import (
    collect,
    device_of,
    evaluating,
    final,
    forward,
    hooked,
    layers,
    reached,
    record,
    replace,
    upto,
)


@pytest.fixture
def net():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True))
    return nn.Sequential(inner, nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 2))


@pytest.fixture
def x():
    return torch.randn(10, 4, generator=torch.Generator().manual_seed(0))


def hooks(net):
    return sum(len(module._forward_hooks) for module in net.modules())


def test_a_recorded_output_survives_a_later_in_place_layer(net, x):
    with record(net, ["0.0"]) as outputs:
        net(x)
    assert torch.equal(outputs["0.0"], net[0][0](x))
    assert outputs["0.0"].min() < 0


def test_outputs_come_in_the_order_asked_for(net, x):
    with record(net, ["3", "0.0", "1"]) as outputs:
        for _ in range(2):
            net(x)
            assert list(outputs) == ["3", "0.0", "1"]


def test_outputs_are_detached_unless_asked(net, x):
    with record(net, ["3"]) as detached, record(net, ["3"], detach=False) as attached:
        net(x)
    assert not detached["3"].requires_grad
    attached["3"].sum().backward()
    assert net[0][0].weight.grad.abs().sum() > 0


def test_the_last_pass_counts(net, x):
    with record(net, ["0.0"]) as outputs:
        net(x)
        net(-x)
    assert torch.equal(outputs["0.0"], net[0][0](-x))


def test_replace_changes_what_follows(net, x):
    net.eval()
    with replace(net, {"1": torch.zeros_like}):
        assert torch.equal(net(x), net[3].bias.expand(10, 2))
    assert not torch.equal(net(x), net[3].bias.expand(10, 2))


def test_a_replacement_may_work_in_place_and_keeps_gradients(net, x):
    with replace(net, {"0.0": lambda t: t.mul_(2)}), record(net, ["0.0"], detach=False) as outputs:
        net(x)
    assert torch.equal(outputs["0.0"], 2 * net[0][0](x))
    outputs["0.0"].sum().backward()
    torch.testing.assert_close(net[0][0].bias.grad, torch.full((3,), 20.0))


def test_a_replacement_in_place_leaves_the_input_alone(x):
    before, net = x.clone(), nn.Sequential(nn.Identity())  # which returns its very input
    with replace(net, {"0": torch.Tensor.zero_}):
        assert net(x).abs().sum() == 0
    assert torch.equal(x, before)


def test_an_inner_context_sees_what_the_outer_did(net, x):
    add, times = replace(net, {"3": lambda t: t + 1}), replace(net, {"3": lambda t: 10 * t})
    with record(net, ["3"]) as before, add, record(net, ["3"]) as after, times:
        out = net(x)
    torch.testing.assert_close(after["3"], before["3"] + 1)
    torch.testing.assert_close(out, 10 * after["3"])


@pytest.mark.parametrize("context", [lambda net: record(net, ["0", "3"]), lambda net: replace(net, {"0": torch.neg})])
def test_no_hook_outlives_an_exception(net, context):
    with context(net):
        assert hooks(net) > 0
    assert hooks(net) == 0
    with pytest.raises(RuntimeError, match="mat1 and mat2"), context(net):
        net(torch.ones(1, 1))
    assert hooks(net) == 0


@pytest.mark.parametrize("context", [lambda net: record(net, ["0", "4"]), lambda net: replace(net, {"4": torch.neg})])
def test_an_unknown_layer_lists_those_there_are(net, context):
    with pytest.raises(ValueError, match=r"unknown layer '4'; there are: 0, 0\.0, 0.1, 1, 2, 3"), context(net):
        pass
    assert hooks(net) == 0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda t: t[:1],
            r"layer '3' must be torch.float32 of shape \(10, 2\), got .* of shape \(1, 2\)",
        ),
        (lambda t: t.double(), "got torch.float64"),
        (lambda _: None, "replacement of layer '3' must be a tensor, got NoneType"),
    ],
)
def test_a_replacement_of_another_kind_is_refused(net, x, function, message):
    with pytest.raises(ValueError, match=message), replace(net, {"3": function}):
        net(x)
    assert hooks(net) == 0


def test_a_layer_without_tensor_output_is_named(x):
    net = nn.Sequential(nn.LSTM(4, 2))
    with pytest.raises(ValueError, match="output of layer '0' must be a tensor, got tuple"), record(net, ["0"]):
        net(x)


def test_a_module_under_two_names_answers_to_both(x):
    linear = nn.Linear(4, 4)
    with record(nn.Sequential(linear, linear), ["1"]) as outputs:
        linear(x)
    assert torch.equal(outputs["1"], linear(x))


@pytest.mark.parametrize("batch_size", [1, 3, 10, 99])
def test_collect_joins_batches_in_eval_mode_and_restores_it(net, x, batch_size):
    net[1].eval()
    modes = [module.training for module in net.modules()]
    outputs = collect(net, x, ["3", "0"], batch_size=batch_size)
    assert list(outputs) == ["3", "0"]
    assert not outputs["3"].requires_grad
    assert [module.training for module in net.modules()] == modes
    torch.testing.assert_close(outputs["3"], net.eval()(x))
    assert hooks(net) == 0


class Skipping(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Identity(), nn.Identity()

    def forward(self, x):
        return self.used(self.unused(x) if len(x) == 7 else x)


def test_a_layer_that_is_not_reached_is_absent_from_record_and_refused_by_collect(x):
    net = Skipping()
    with record(net, ["unused", "used"]) as outputs:
        net(x)
    assert list(outputs) == ["used"]
    with pytest.raises(ValueError, match="does not reach unused"):
        collect(net, x, ["unused", "used"])
    with pytest.raises(ValueError, match="does not reach unused"):
        collect(net, x, ["unused", "used"], batch_size=7)  # reached by the first batch only
    assert hooks(net) == 0
    assert net.training


@pytest.mark.parametrize(("rows", "batch_size", "message"), [(0, 1, "x is empty"), (1, 0, "batch_size must be")])
def test_collect_refuses_nothing_to_do(net, x, rows, batch_size, message):
    with pytest.raises(ValueError, match=message):
        collect(net, x[:rows], ["3"], batch_size=batch_size)


def test_upto_runs_no_further_than_the_layer_and_keeps_the_graph():
    broken = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(4, 5))  # the last does not fit
    x = torch.randn(7, 2, requires_grad=True)
    with upto(broken, "1") as run:
        output = run(x)
    torch.testing.assert_close(output, broken[0](x).relu())
    output.sum().backward()
    assert x.grad.abs().sum() > 0
    assert not any(module._forward_hooks for module in broken.modules())


def test_upto_refuses_a_layer_that_is_not_there_or_not_reached():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.used(x)

    with upto(Skips(), "unused") as run, pytest.raises(ValueError, match="does not reach unused"):
        run(torch.ones(1, 2))
    with pytest.raises(ValueError, match="unknown layer 'none'"), upto(Skips(), "none"):
        pass


def test_hooked_gives_any_output_by_name_the_model_itself_included(x):
    net, seen = nn.Sequential(nn.LSTM(4, 2)), []
    with hooked(net, dict.fromkeys(["", "0"], lambda layer, output: seen.append((layer, type(output))))):
        net(x)
        assert hooks(net) > 0
    assert seen == [("0", tuple), ("", tuple)]
    assert hooks(net) == 0


def test_a_tensor_that_an_action_returns_takes_the_outputs_place(net, x):
    with hooked(net, {"3": lambda _, output: output + 1}):
        changed = net.eval()(x)
    torch.testing.assert_close(changed, net(x) + 1)


def test_hooked_refuses_a_layer_that_is_not_there(net):
    with pytest.raises(ValueError, match=r"unknown layer 'none'; there are: 0, 0\.0"), hooked(net, {"none": print}):
        pass
    assert hooks(net) == 0


class Buffered(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, device="meta"))


def test_the_device_is_that_of_parameters_then_of_buffers_then_the_default():
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")
    assert device_of(Buffered()) == torch.device("meta")
    assert device_of(nn.ReLU()) == torch.device("cpu")
    assert device_of(nn.ReLU(), "meta") == device_of(nn.ReLU(), torch.device("meta")) == torch.device("meta")


def test_a_network_without_parameters_is_measured_where_its_samples_are(x):
    assert collect(nn.Sequential(nn.ReLU()), x.to("meta"), ["0"])["0"].device == torch.device("meta")


# Calls of a module within a pass


@pytest.fixture
def shared():
    """One ReLU after each of two linear layers; the second call's output is narrower."""
    torch.manual_seed(0)
    act = nn.ReLU()
    return nn.Sequential(nn.Linear(4, 3), act, nn.Linear(3, 2), act, nn.Linear(2, 5))


def test_each_call_of_a_module_is_a_layer_everywhere(shared, x):
    calls = {"1#1": shared[0](x).relu(), "1#2": shared[:4](x)}
    with replace(shared, {"0": torch.neg}), record(shared, ["2"]) as outputs:
        assert reached(shared, x) == ["0", "1#1", "2", "1#2", "4", ""]
    assert not outputs
    for layer, expected in calls.items():
        assert torch.equal(collect(shared, x, [layer], batch_size=3)[layer], expected)
        with record(shared, [layer]) as outputs:
            shared(x)
        assert torch.equal(outputs[layer], expected)
        with upto(shared, layer) as run:
            assert torch.equal(run(x), expected)
    with replace(shared, {"1#2": torch.zeros_like}), record(shared, ["1#1", "1#2"]) as outputs:
        assert torch.equal(shared(x), shared[4].bias.expand(10, 5))
    assert torch.equal(outputs["1#1"], calls["1#1"])
    assert outputs["1#2"].abs().sum() == 0
    expected = shared[2:](torch.zeros(10, 3))
    with replace(shared, {"1#1": torch.zeros_like}):
        assert torch.equal(shared(x), expected)


@pytest.mark.parametrize("layer", ["1", "3"])
def test_the_bare_name_of_a_module_that_is_called_twice_is_refused(shared, x, layer):
    message = rf"layer '{layer}' is called more than once in a forward pass; name one call: '{layer}#1', '{layer}#2'"
    contexts = [record(shared, [layer]), replace(shared, {layer: torch.neg}), hooked(shared, {layer: lambda *_: None})]
    for context in contexts:
        with pytest.raises(ValueError, match=message), context:
            shared(x)
    with pytest.raises(ValueError, match=message):
        collect(shared, x, ["0", layer])
    with upto(shared, layer) as run, pytest.raises(ValueError, match=message):
        run(x)
    assert hooks(shared) == 0


def test_a_call_that_there_is_not_is_refused(shared, x):
    message = r"there is no layer '{}': the forward pass calls it {} ×"
    for layer, number in (("1#3", 2), ("0#2", 1)):
        with pytest.raises(ValueError, match=message.format(layer, number)), record(shared, [layer]):
            shared(x)
        with upto(shared, layer) as run, pytest.raises(ValueError, match=message.format(layer, number)):
            run(x)
        with pytest.raises(ValueError, match=message.format(layer, number)):
            collect(shared, x, [layer])
    assert torch.equal(collect(shared, x, ["0#1"])["0#1"], shared[0](x))  # the first call of any module
    for layer in ("1#0", "1#01", "1#", "5#1", "1#-1"):
        with pytest.raises(ValueError, match=f"unknown layer '{layer}'"), record(shared, [layer]):
            pass


def test_names_of_tied_modules_count_all_calls_of_the_module(shared, x):
    assert torch.equal(collect(shared, x, ["3#1"])["3#1"], shared[:2](x))
    with record(shared, ["1#2", "3#2", "3#1"]) as outputs:
        shared(x)
    assert torch.equal(outputs["1#2"], outputs["3#2"])
    assert outputs["3#1"].shape == (10, 3)
    with replace(shared, {"1#1": lambda t: t + 1, "3#1": lambda t: 2 * t}), record(shared, ["2"]) as after:
        shared(x)
    torch.testing.assert_close(after["2"], shared[2](2 * (shared[:2](x) + 1)))


class Repeating(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.never = nn.Linear(4, 4), nn.Identity()

    def forward(self, x):
        for _ in range(len(x) - 1):
            x = self.cell(x)
        return x

    def encode(self, x):
        return self.cell(self.cell(x))


def test_calls_that_vary_from_pass_to_pass_are_counted_in_each(x):
    net = Repeating()
    with record(net, ["cell#1"]) as outputs:
        for n in (4, 2, 1):  # three calls, one, none
            outputs.clear()
            net(x[:n])
            assert list(outputs) == (["cell#1"] if n > 1 else [])
    with record(net, ["cell#2"]):
        net(x[:3])
        with pytest.raises(ValueError, match="no layer 'cell#2': the forward pass calls it 1 ×"):
            net(x[:2])
    with record(net, ["cell"]):
        net(x[:2])
        with pytest.raises(ValueError, match="'cell' is called more than once"):
            net(x[:3])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_calls_are_counted_alike_in_every_mode(shared, x, mode):
    with mode(), record(shared, ["1#2"]) as outer, replace(shared, {"1#2": torch.zeros_like}), upto(shared, "4") as run:
        result = run(x)
    assert torch.equal(outer["1#2"], shared[:4](x))
    assert torch.equal(result, shared[4].bias.expand(10, 5))


def test_counting_for_upto_leaves_outer_contexts_modes_and_random_numbers_alone(x):
    class Noise(nn.Module):
        def forward(self, x):
            return x + torch.rand(len(x), 1)

    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), Noise(), nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = copy.deepcopy(net.state_dict())
    torch.manual_seed(3)
    undisturbed = torch.rand(2)
    torch.manual_seed(3)
    with record(net, ["0", "3"]) as outputs, replace(net, {"4": torch.neg}), upto(net, "0") as run:
        run(x)
    assert torch.equal(torch.rand(2), undisturbed)
    assert list(outputs) == ["0"]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(module.training for module in net.modules())


def test_a_failed_pass_does_not_count_in_the_next(shared, x):
    with record(shared, ["1#1"]) as outputs:
        with pytest.raises(RuntimeError, match="is invalid"), replace(shared, {"1#2": lambda t: t.view(-1, 7)}):
            shared(x)
        shared(-x)
    assert torch.equal(outputs["1#1"], shared[:2](-x))


def test_outside_of_a_pass_a_module_may_be_called_once(x):
    net = Repeating()
    with record(net, ["cell"]) as outputs:
        net.cell(x)
        net(x[:2])
        net.cell(-x)
    assert torch.equal(outputs["cell"], net.cell(-x))
    with record(net, ["cell"]), pytest.raises(ValueError, match="'cell' is called more than once"):
        net.encode(x)
    with record(net, ["cell#1"]), pytest.raises(ValueError, match="'cell#1' is called outside of a forward pass"):
        net.encode(x)


def test_a_model_that_calls_itself_is_one_pass(x):
    class Recursive(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.Linear(4, 4)

        def forward(self, x):
            x = self.cell(x)
            return x if len(x) < 8 else self.cell(self(x[:5]))

    net = Recursive()
    assert reached(net, x) == ["cell#1", "cell#2", "#1", "cell#3", "#2"]
    assert torch.equal(collect(net, x, ["cell#3"])["cell#3"], net(x))
    with pytest.raises(ValueError, match="'cell' is called more than once"):
        collect(net, x, ["cell"])


def test_a_layer_that_is_computed_anew_for_its_gradient_is_changed_there_too(x):
    class Saving(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 4), nn.Tanh())

        def forward(self, x):
            return checkpoint(self.inner, x, use_reentrant=False)

    net, plain = Saving(), x.clone().requires_grad_()
    for _ in range(2):
        with replace(net, {"inner.0": lambda t: 2 * t}):
            (gradient,) = torch.autograd.grad(net(plain).sum(), plain)
    (expected,) = torch.autograd.grad((2 * net.inner[0](plain)).tanh().sum(), plain)
    torch.testing.assert_close(gradient, expected)


def test_a_layer_that_is_not_reached_cannot_be_replaced(x):
    net = Skipping()
    with pytest.raises(ValueError, match="does not reach unused"), replace(net, {"unused": torch.neg}):
        net(x)
    with replace(net, {"unused": torch.neg}):
        assert torch.equal(net(x[:7]), -x[:7])


def test_attention_reads_the_weights_of_its_projection_and_does_not_call_it(x):
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    with replace(attention, {"out_proj": torch.zeros_like}), pytest.raises(ValueError, match="not reach out_proj"):
        attention(x, x, x)


# Networks that are not what they were


def compiled(net):
    return torch.compile(net, backend="eager")


def compiled_in_place(net):
    net.compile(backend="eager")
    return net


def compiled_inside(net):
    net[1] = compiled(net[1])
    return net


def compiled_forward(net):
    net.forward = compiled(net.forward)
    return net


@pytest.mark.parametrize("make", [compiled, compiled_in_place, compiled_inside, compiled_forward])
def test_compiled_networks_are_refused_with_the_way_out(net, x, make):
    made = make(net.eval())
    with torch.no_grad():
        made(x)
    layer = "_orig_mod.3" if make is compiled else "3"
    message = r"model is compiled or scripted.*model\._orig_mod, or copy\.deepcopy\(model\)"
    for context in (record(made, [layer]), replace(made, {layer: torch.zeros_like}), upto(made, layer)):
        with pytest.raises(ValueError, match=message), context:
            pass
    for call in (lambda: collect(made, x, [layer]), lambda: reached(made, x)):
        with pytest.raises(ValueError, match=message):
            call()


def test_the_ways_out_of_compiled_networks(net, x):
    net.eval()
    expected = collect(net, x, ["3"])["3"]
    assert torch.equal(collect(compiled(net)._orig_mod, x, ["3"])["3"], expected)
    assert torch.equal(collect(copy.deepcopy(compiled_in_place(net)), x, ["3"])["3"], expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.ones(1, 4))])
def test_scripted_networks_are_refused(net, x, make):
    with pytest.raises(ValueError, match="model is compiled or scripted"):
        collect(make(net.eval()), x, ["3"])


def test_a_wrapped_network_has_names_with_its_prefix(net, x):
    wrapped = nn.DataParallel(net.eval())
    assert torch.equal(collect(wrapped, x, ["module.3"])["module.3"], net(x))
    with pytest.raises(ValueError, match=r"unknown layer '3', perhaps 'module\.3'; there are: module"):
        collect(wrapped, x, ["3"])
    with pytest.raises(ValueError, match=r"unknown layer 'module\.3', perhaps '3'; there are: 0"):
        collect(net, x, ["module.3"])
    wrapped.device_ids = [0, 1]
    with pytest.raises(ValueError, match=r"spread over devices.*give model\.module"), record(wrapped, ["module.3"]):
        pass


# The layer whose output is the network's


class Declared(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.head, self.body, self.drop, self.function = nn.Linear(8, 3), nn.Linear(4, 8), nn.Dropout(), function

    def forward(self, x):
        return self.function(self, x)


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: net.head(net.body(x).relu()),
        lambda net, x: net.head(input=net.body(x)),
        lambda net, x: net.drop(net.head(net.body(x))),
    ],
)
def test_the_output_layer_is_found_wherever_it_is_declared(function):
    net = Declared(function)
    assert final(net) is net.head
    assert final(nn.Sequential(nn.Flatten(), net, nn.Identity())) is net.head


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda net, x: net.head(net.body(x)).softmax(1), "must be that of one layer"),
        (lambda net, x: (net.head(net.body(x)), x), "must be that of one layer"),
        (lambda net, x: {"logits": net.head(net.body(x))}, "must be that of one layer"),
        (lambda _, x: x, "must be that of one layer"),
        (lambda net, x: net.head(net.body(x) + net.head(net.body(x)).sum()), "no other use"),
        (lambda net, x: net.head(net.body(x) + net.head.weight.sum()), "no other use"),
        (lambda net, x: net.head(net.body(x)) if x.sum() > 0 else x, "control flow; write it as nn.Sequential"),
    ],
)
def test_an_output_that_is_not_that_of_one_layer_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        final(Declared(function))


# Arguments


@pytest.mark.parametrize("model", [None, "resnet18", 3, nn.Linear, lambda x: x])
def test_what_is_no_network_is_refused(x, model):
    calls = [
        lambda: collect(model, x, ["0"]),
        lambda: record(model, ["0"]).__enter__(),
        lambda: replace(model, {"0": torch.neg}).__enter__(),
        lambda: hooked(model, {"0": print}).__enter__(),
        lambda: upto(model, "0").__enter__(),
        lambda: evaluating(model).__enter__(),
        lambda: reached(model, x),
        lambda: layers(model),
        lambda: final(model),
        lambda: device_of(model),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"model must be a torch\.nn\.Module, got "):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x: collect(net, x, "3"), r"layers must be a sequence of names, got '3'; write \['3'\]"),
        (lambda net, x: collect(net, x, None), "layers must be a sequence of names, got None"),
        (lambda net, x: collect(net, x, [3]), r"layers must be a sequence of names, got \[3\]"),
        (lambda net, _: record(net, "3").__enter__(), r"write \['3'\]"),
        (lambda net, _: upto(net, None).__enter__(), "unknown layer None"),
        (lambda net, _: replace(net, ["3"]).__enter__(), "changes must be a mapping"),
        (lambda net, _: replace(net, {"3": 0}).__enter__(), "the change of layer '3' must be a function, got int"),
        (lambda net, _: hooked(net, "3").__enter__(), "actions must be a mapping"),
        (lambda net, _: collect(net, None, ["3"]), "x must be an array of numbers, got NoneType"),
        (lambda net, _: collect(net, "x", ["3"]), "x must be an array of numbers, got str"),
        (lambda net, x: collect(net, x * torch.nan, ["3"]), "x must be finite"),
        (lambda net, x: collect(net, x + 0j, ["3"]), r"x must be real, got torch\.complex64"),
        (lambda net, x: collect(net, x[0, 0], ["3"]), "x needs at least 1 dimension"),
        (lambda net, x: collect(net, x[:, :3], ["3"]), r"model cannot take x of shape \(10, 3\)"),
        (lambda net, x: collect(net, x, ["3"], batch_size=2.5), "batch_size must be an integer"),
        (lambda net, x: collect(net, x, ["3"], batch_size=None), "batch_size must be an integer"),
        (lambda net, _: forward(net, None), "x must be an array of numbers, got NoneType"),
        (lambda net, x: reached(net, x[:, :3]), "model cannot take x"),
        (lambda *_: device_of(nn.ReLU(), "abacus"), "default must be a device, got 'abacus'"),
    ],
)
def test_bad_arguments_are_refused_by_name(net, x, call, message):
    with pytest.raises(ValueError, match=message):
        call(net, x)
    assert hooks(net) == 0


def test_arrays_frames_and_integers_of_numpy_are_taken(net, x):
    expected = collect(net, x, ["3", "0"])
    for given in (x.numpy(), x.numpy().astype("float64"), x.numpy()[::-1][::-1], pd.DataFrame(x.numpy()), x.tolist()):
        found = collect(net, given, ("3", "0", "3"), batch_size=np.int64(4))
        for layer, output in expected.items():
            torch.testing.assert_close(found[layer], output)


@pytest.mark.parametrize("value", [None, "3", True, np.True_, 2.0, np.nan, 3j, [3], np.array([3]), -1, 2**70, {}])
def test_what_is_no_integer_is_refused(value):
    with pytest.raises(ValueError, match=r"^k must be an integer of at least 0"):
        checks.at_least("k", value, 0)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_integers_of_any_library_become_pythons(value):
    assert checks.at_least("k", value, 0) == 3
    assert type(checks.at_least("k", value, 0)) is int
    assert checks.positive("h", value) == checks.within("h", value, 0, 4) == 3


@pytest.mark.parametrize("value", [None, "3", True, np.nan, 3j, [3.0], np.array([3.0]), -1.0])
def test_what_is_no_number_in_range_is_refused(value):
    with pytest.raises(ValueError, match=r"^h must be positive"):
        checks.positive("h", value)
    with pytest.raises(ValueError, match=r"^h must be a number from 0 to 9"):
        checks.within("h", value, 0, 9)
    with pytest.raises(ValueError, match=r"^h must be a finite number of at least 0"):
        checks.within("h", np.inf if value == 3j else value, 0)
    with pytest.raises(ValueError, match="unknown word"):
        checks.choice("word", value, ("adam", "sgd"))
    with pytest.raises(ValueError, match=r"^ends must be integers that increase from at least 1"):
        checks.increasing("ends", value, 1)


def test_a_series_is_read_by_its_values_and_a_mask_is_not_lost():
    test_split = pd.Series([5, 0, 1, 1, 0]).iloc[1:]  # without the label 0, which is no place
    assert checks.labels("y", test_split).tolist() == [0, 1, 1, 0]
    assert checks.floats("x", test_split.astype(float)).tolist() == [0, 1, 1, 0]
    with pytest.raises(ValueError, match="its mask would be lost"):
        checks.floats("x", np.ma.masked_equal(np.arange(3), 1))
    for value in (pd.Series(["a", "b"]), pd.Series([1, None], dtype="Int64"), np.array([None]), "ab", {1: 2}, {1, 2}):
        with pytest.raises(ValueError, match=r"^y must be"):
            checks.labels("y", value)

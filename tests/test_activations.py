import pytest
import torch
from torch import nn

from infolib.activations import collect, device_of, hooked, record, replace, upto


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
        (lambda _: None, "replacement of layer '3' is no tensor but NoneType"),
    ],
)
def test_a_replacement_of_another_kind_is_refused(net, x, function, message):
    with pytest.raises(ValueError, match=message), replace(net, {"3": function}):
        net(x)
    assert hooks(net) == 0


def test_a_layer_without_tensor_output_is_named(x):
    net = nn.Sequential(nn.LSTM(4, 2))
    with pytest.raises(ValueError, match="output of layer '0' is no tensor but tuple"), record(net, ["0"]):
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
        assert hooks(net) == 2
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

"""The ResNet-18 of the paper: its parameters counted, its layers where they are, its two heads."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from cellweak_core.screens.cellnet import (
    BLOCKS,
    HEADS,
    LAYERS,
    CellNet,
    Pointwise,
    build_cell,
    cell_architecture,
    folded,
)


def small(head: str = "dense", seed: int = 0) -> CellNet:
    torch.manual_seed(seed)
    return CellNet(3, 5, width=4, embedding=8, head=head)


def test_papers_number_of_parameters() -> None:
    """11.3 million (Caicedo 2018, Sec. 5.2): exactly this with three channels and 103 treatments."""
    assert sum(p.numel() for p in CellNet(3, 103).parameters()) == 11_338_791


def test_every_stage_begins_with_a_projection() -> None:
    body = small().body
    for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
        assert stage[0].downsample is not None
        assert stage[1].downsample is None


def test_layers_are_means_over_the_blocks_pixels() -> None:
    net, x, seen = small().eval(), torch.randn(2, 3, 68, 68), {}
    body = net.body
    blocks = [block for stage in (body.layer1, body.layer2, body.layer3, body.layer4) for block in stage]
    for name, block in zip(BLOCKS, blocks, strict=True):
        block.register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out.detach()))
    with torch.no_grad():
        found = net.layers(x, LAYERS)
        logits = net(x)
        whole = body(x) if body.fc is None else None
    for name in BLOCKS:
        assert torch.allclose(found[name], seen[name].flatten(2).mean(2), atol=1e-6)
    assert torch.allclose(found["pool5"], found["res5b"])
    assert torch.allclose(found["pool5"], whole, atol=1e-6)  # the way MONAI itself runs through the body
    assert torch.allclose(found["embedding"], found["pool5"] @ net.embed.weight.T, atol=1e-6)
    assert torch.allclose(logits, net.classify(net.norm(found["embedding"])), atol=1e-5)
    assert found["res4a"].shape == (2, 16)


def test_nothing_behind_the_last_wanted_layer_is_computed() -> None:
    net, ran = small().eval(), []
    net.body.layer3[1].register_forward_hook(lambda *_: ran.append("res4b"))
    alone = net.layers(torch.ones(1, 3, 64, 64), ["res4a"])
    assert list(alone) == ["res4a"]
    assert not ran
    assert torch.equal(alone["res4a"], net.layers(torch.ones(1, 3, 64, 64), ["res2b", "res4a"])["res4a"])


def test_folding_batch_normalisation_changes_no_feature() -> None:
    net, x = small(), torch.randn(6, 3, 64, 64)
    net.train()
    for _ in range(3):
        net(torch.randn(6, 3, 64, 64) * 2 + 1)  # statistics that are not 0 and 1
    net.eval()
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        expected, found = net.layers(x, LAYERS), folded(net).layers(x, LAYERS)
    for name in LAYERS:
        assert torch.allclose(expected[name], found[name], atol=1e-4, rtol=1e-4)
    assert all(torch.equal(value, kept[name]) for name, value in net.state_dict().items())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded(net).body.modules())


def test_recurrent_head_is_a_gru_over_the_cells_of_a_set() -> None:
    net, x = small("recurrent").eval(), torch.randn(3, 2, 3, 64, 64)
    with torch.no_grad():
        pooled = torch.stack([net.layers(x[:, k], ["pool5"])["pool5"] for k in range(2)], 1)
        state = torch.zeros(3, 8)
        gru = net.recurrent
        cell = torch.nn.GRUCell(32, 8)
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in gru.state_dict().items()})
        for k in range(2):
            state = cell(pooled[:, k], state)
        assert torch.allclose(net(x), net.classify(state), atol=1e-5)
    assert net.layer_names == LAYERS[:-1]
    with pytest.raises(ValueError, match="embedding"):
        net.layers(x[:, 0], ["embedding"])


def test_gradients_reach_every_weight() -> None:
    for head, shape in (("dense", (4, 3, 64, 64)), ("recurrent", (2, 2, 3, 64, 64))):
        net = small(head)
        net(torch.randn(shape)).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_same_seed_same_network_and_unknown_words() -> None:
    one, two = small(seed=3).state_dict(), small(seed=3).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(ValueError, match="head"):
        CellNet(3, 5, head="wide")
    with pytest.raises(ValueError, match="res9a"):
        small().layers(torch.zeros(1, 3, 64, 64), ["res9a"])


@pytest.mark.parametrize("head", HEADS)
def test_a_network_is_built_by_its_description(head: str) -> None:
    torch.manual_seed(1)
    expected = CellNet(3, 5, 4, head=head).state_dict()
    torch.manual_seed(1)
    found = build_cell(cell_architecture(3, 5, 4, head)).state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert cell_architecture(3, 5, 4) == {"kind": "cell", "n_channels": 3, "n_classes": 5, "width": 4, "head": "dense"}


@pytest.mark.parametrize("side", [10, 9, 1])
def test_a_pointwise_convolution_is_the_strided_one(side: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, 1, 2).double()
    state = torch.get_rng_state()
    own = Pointwise.like(conv)
    assert torch.equal(torch.get_rng_state(), state)
    assert own.weight is conv.weight
    x = torch.randn(3, 4, side, side, dtype=torch.float64)
    found = own(x)
    literal = torch.einsum("oc,nchw->nohw", conv.weight[:, :, 0, 0], x[:, :, ::2, ::2]) + conv.bias[:, None, None]
    torch.testing.assert_close(found, literal)
    torch.testing.assert_close(found, conv(x))


def test_no_convolution_is_of_the_kind_that_torch_breaks_on() -> None:
    """One pixel wide and strided: with an odd number of images its gradient writes beyond its memory."""
    for head in HEADS:
        net = CellNet(2, 6, 4, head=head)
        strided = [one for one in net.modules() if isinstance(one, nn.Conv2d) and one.stride != (1, 1)]
        one_wide = [one for one in strided if one.kernel_size == (1, 1)]
        assert len(strided) > len(one_wide) == 3
        assert all(isinstance(one, Pointwise) for one in one_wide)


def test_odd_batches_of_a_narrow_network_are_learnt_from() -> None:
    """In a process of its own: torch's fault ends it."""
    code = (
        "import torch; from cellweak_core.screens.cellnet import CellNet; torch.set_num_threads(2)\n"
        "net = CellNet(2, 6, 4).to(memory_format=torch.channels_last)\n"
        "for _ in range(40):\n"
        "    net(torch.rand(15, 2, 40, 40).contiguous(memory_format=torch.channels_last)).square().mean().backward()\n"
        "print('learnt')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "learnt\n")

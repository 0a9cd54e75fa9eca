import pytest
import torch

from kd2deploy.train.channels import resnet_axes, stage_maps, staged_name, streams
from kd2deploy.train.narrow import (
    Heads,
    cut,
    encoder_axes,
    expected_activity,
    importance,
    kept_heads,
    kept_units,
    layer_map,
    role_of,
    strongest,
    teacher_name,
)


@pytest.mark.parametrize(
    ("teacher", "student", "keep", "expected"),
    [
        (12, 6, "uniform", [0, 2, 4, 7, 9, 11]),
        (12, 1, "uniform", [0]),
        (6, 3, "uniform", [0, 2, 5]),
        (4, 4, "uniform", [0, 1, 2, 3]),
        (6, 2, "first", [0, 1]),
        (6, 2, "last", [4, 5]),
        (6, 2, [1, 4], [1, 4]),
    ],
)
def test_layer_map(teacher: int, student: int, keep: str, expected: list[int]) -> None:
    assert layer_map(teacher, student, keep) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("keep", [[4, 1], [1, 1], [1], [0, 6], [-1, 2]])
def test_layer_map_refuses_what_is_no_choice(keep: list[int]) -> None:
    with pytest.raises(ValueError, match="keep must name 2 different layers"):
        layer_map(6, 2, keep)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("bert.encoder.layer.0.attention.self.query.weight", "query"),
        ("distilbert.transformer.layer.3.attention.k_lin.bias", "key"),
        ("deberta.encoder.layer.1.attention.self.value_proj.weight", "value"),
        ("model.layers.1.attn.Wqkv.weight", "fused"),
        ("model.layers.1.attn.Wo.weight", "mixed"),
        ("bert.encoder.layer.0.attention.output.dense.weight", "mixed"),
        ("bert.encoder.layer.0.output.dense.weight", "down"),
        ("vit.layers.0.mlp.fc1.weight", "up"),
        ("model.layers.1.mlp.Wi.weight", "gated"),
        ("bert.encoder.layer.0.output.LayerNorm.weight", None),
        ("classifier.out_proj.weight", None),
        ("bert.pooler.dense.weight", None),
    ],
)
def test_roles_by_name(name: str, role: str | None) -> None:
    assert role_of(name) == role


def test_names_follow_the_layers() -> None:
    assert teacher_name("a.layer.1.b.weight", [0, 5]) == "a.layer.5.b.weight"
    assert teacher_name("pooler.dense.weight", [0, 5]) == "pooler.dense.weight"


def test_axes_of_other_weights_are_hidden_where_the_sizes_differ() -> None:
    assert encoder_axes("embeddings.word.weight", (30, 8), (30, 4)) == (None, "hidden")
    assert encoder_axes("bert.encoder.layer.2.output.dense.weight", (8, 16), (8, 16)) == ("hidden", "ffn.2")


def test_importance_is_a_product_of_what_each_weight_exchanges() -> None:
    into = torch.tensor([[3.0, 0.0], [1.0, 1.0], [2.0, 2.0]])  # energies 4.5, 1, 4
    out = torch.tensor([[1.0, 9.0, 3.0]])  # energies 1, 81, 9
    scores = importance([(into, 0), (out, 1)])
    products = torch.tensor([4.5, 81.0, 36.0], dtype=torch.float64)
    torch.testing.assert_close((scores - scores[0]).exp(), products / products[0], rtol=1e-4, atol=1e-4)
    assert strongest(scores, 2).tolist() == [1, 2]


def test_ties_go_to_the_first() -> None:
    assert strongest(torch.tensor([1.0, 2.0, 2.0, 1.0, 1.0]), 4).tolist() == [0, 1, 2, 3]


def test_heads_are_kept_whole_and_cut_inside() -> None:
    query = torch.tensor([0.0, 1.0, 9.0, 0.0, 5.0, 6.0])  # three heads of two
    value = torch.tensor([0.0, 1.0, 0.0, 9.0, 6.0, 5.0])
    qk, vo = kept_heads(query, value, Heads(3, 2, 2, 1))
    assert qk.tolist() == [2, 5]
    assert vo.tolist() == [3, 4]


def test_fused_and_gated_weights_are_cut_in_every_part() -> None:
    torch.manual_seed(0)
    weights = {
        "layers.0.attn.Wqkv.weight": (torch.randn(12, 4), ("qkv.0", "hidden")),
        "layers.0.attn.Wo.weight": (torch.randn(4, 4), ("hidden", "vo.0")),
        "layers.0.mlp.Wi.weight": (torch.randn(6, 4), ("gated.0", "hidden")),
        "layers.0.mlp.Wo.weight": (torch.randn(4, 3), ("hidden", "ffn.0")),
        "layers.0.mlp_norm.weight": (torch.rand(4), ("hidden",)),
    }
    kept = kept_units(weights, (4, 2), (3, 2), Heads(2, 2, 1, 2))
    head = kept["qk.0"].tolist()
    assert head in ([0, 1], [2, 3])
    assert kept["qkv.0"].tolist() == [*head, *(4 + unit for unit in head), *(8 + unit for unit in head)]
    units = kept["ffn.0"].tolist()
    assert kept["gated.0"].tolist() == [*units, *(3 + unit for unit in units)]
    weight, axes = weights["layers.0.mlp.Wi.weight"]
    assert torch.equal(cut(weight, axes, kept), weight[kept["gated.0"]][:, kept["hidden"]])


def test_expected_activity_is_what_comes_out_of_the_norms() -> None:
    torch.manual_seed(0)
    norm = torch.nn.LayerNorm(6)
    torch.nn.init.uniform_(norm.weight, 0.5, 2)
    torch.nn.init.normal_(norm.bias)
    weights = {"a.norm.weight": (norm.weight, ("hidden",)), "a.norm.bias": (norm.bias, ("hidden",))}
    measured = norm(torch.randn(200_000, 6)).square().mean(0).sqrt()
    torch.testing.assert_close(expected_activity(weights).float(), measured / measured.mean(), rtol=0.01, atol=0.01)
    with pytest.raises(ValueError, match="no norm"):
        expected_activity({"a.dense.weight": (torch.ones(2, 2), ("hidden", "hidden"))})


def test_nothing_is_chosen_where_nothing_is_cut() -> None:
    weights = {"layers.0.mlp.Wo.weight": (torch.randn(4, 3), ("hidden", "ffn.0"))}
    assert kept_units(weights, (4, 4), (3, 3), Heads(2, 2, 2, 2)) == {}


def test_stage_maps_keep_the_first_layer_of_every_stage() -> None:
    assert stage_maps([3, 4, 6, 3], [2, 1, 3, 3]) == [[0, 2], [0], [0, 2, 5], [0, 1, 2]]
    with pytest.raises(ValueError, match="depths"):
        stage_maps([3, 4], [3, 5])


def test_resnet_channels_are_shared_along_the_residual_stream() -> None:
    start = "resnet.encoder.stages"
    stages = streams(
        [f"{start}.0.layers.0.layer.0.convolution.weight", f"{start}.1.layers.0.shortcut.convolution.weight"]
    )
    assert stages == ["embedder", "stage.1"]
    four = (8, 8, 3, 3)
    axes = {
        f"{start}.1.layers.0.shortcut.convolution.weight": ("stage.1", "embedder", None, None),
        f"{start}.1.layers.0.layer.0.convolution.weight": ("inner.1.0.0", "embedder", None, None),
        f"{start}.1.layers.0.layer.1.convolution.weight": ("stage.1", "inner.1.0.0", None, None),
        f"{start}.1.layers.1.layer.0.convolution.weight": ("inner.1.1.0", "stage.1", None, None),
        f"{start}.0.layers.1.layer.1.convolution.weight": ("embedder", "inner.0.1.0", None, None),
    }
    assert {name: resnet_axes(name, four, stages, 2) for name in axes} == axes
    assert resnet_axes("classifier.1.weight", (3, 8), stages, 2) == (None, "stage.1")
    assert resnet_axes(f"{start}.1.layers.1.layer.0.normalization.running_var", (8,), stages, 2) == ("inner.1.1.0",)
    assert staged_name(f"{start}.1.layers.1.layer.0.x.weight", [[0], [0, 3]]) == f"{start}.1.layers.3.layer.0.x.weight"

import pytest
import torch
from tiny_models import ENCODERS, encoder_config, save_image_net
from torch import nn
from transformers import AutoModelForSequenceClassification

from kd2deploy.core import Batch, Observation, Task
from kd2deploy.tasks._image_reader import ports_of
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification

ATTENTIONS = frozenset({"attentions"})
RATE = 0.5


def dropping(family: str) -> nn.Module:
    """A network in training mode that drops half of its attentions."""
    config = encoder_config(family)
    for field in ("attention_probs_dropout_prob", "attention_dropout"):
        if hasattr(config, field):
            setattr(config, field, RATE)
    config._attn_implementation = "eager"
    net: nn.Module = AutoModelForSequenceClassification.from_config(config)
    return net.train()


def words() -> Batch:
    return {
        "input_ids": torch.tensor([[2, 5, 6, 7, 8, 3], [2, 9, 10, 3, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]),
    }


def observed(task: Task, net: nn.Module, batch: Batch) -> Observation:
    torch.manual_seed(1)
    return task.networks.observe(net, batch, needs=ATTENTIONS)


def dropped(net: nn.Module, batch: Batch) -> Observation:
    """What the network itself says."""
    torch.manual_seed(1)
    said = net(**batch, output_attentions=True)
    return Observation(logits=said.logits, attentions=said.attentions)


def sums(maps: torch.Tensor) -> torch.Tensor:
    """Of the rows that belong to a position that counts: all of the first example, four of the second."""
    return torch.cat([maps[0].sum(-1).flatten(), maps[1, :, :4].sum(-1).flatten()])


@pytest.mark.parametrize("family", ENCODERS)
def test_attentions_are_those_before_dropout_while_the_network_goes_on_with_those_after(family: str) -> None:
    net, batch = dropping(family), words()
    ours, theirs = observed(TextClassification(["neg", "pos"]), net, batch), dropped(net, batch)
    assert torch.equal(ours.logits, theirs.logits)
    assert len(ours.attentions) == len(theirs.attentions) == 2
    for before, after in zip(ours.attentions, theirs.attentions, strict=True):
        torch.testing.assert_close(sums(before), torch.ones_like(sums(before)))
        assert (sums(after) - 1).abs().max() > 0.1
        kept = after != 0
        torch.testing.assert_close(before[kept], after[kept] * (1 - RATE))


def test_a_gradient_flows_through_the_attentions() -> None:
    net = dropping("bert")
    observed(TextClassification(["neg", "pos"]), net, words()).attentions[-1].square().sum().backward()
    assert net.get_parameter("bert.encoder.layer.1.attention.self.query.weight").grad is not None


def test_image_networks_show_theirs_before_dropout_too(tmp_path) -> None:
    save_image_net(tmp_path, "vit")
    task = ImageClassification(["zero", "one", "two"], **ports_of(tmp_path))
    net = task.networks.load(tmp_path)
    for module in net.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = RATE
    batch = {"pixel_values": torch.rand(2, 1, 16, 16)}
    net.train()
    ours = observed(task, net, batch)
    assert (dropped(net, batch).attentions[-1].sum(-1) - 1).abs().max() > 0.1
    for before in ours.attentions:
        torch.testing.assert_close(before.sum(-1), torch.ones_like(before.sum(-1)))

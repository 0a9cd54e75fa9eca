"""What of a teacher is cut into shards. What two processes compute with such a teacher stands in tests/contract."""

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, ResNetConfig, ResNetForImageClassification

from kd2deploy.train.settings import Settings
from kd2deploy.train.sharded import blocks_of, placed


def bert() -> nn.Module:
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)
    return BertForSequenceClassification(config)


def test_blocks_are_cut_and_what_methods_read_by_itself_is_not() -> None:
    net = bert()
    blocks = blocks_of(net)
    assert [type(block).__name__ for block in blocks] == ["BertLayer"] * 3
    inside = {weight for block in blocks for weight in block.parameters()}
    assert net.get_input_embeddings().weight not in inside  # type: ignore[operator]
    assert net.classifier.weight not in inside  # type: ignore[union-attr]
    convolutions = ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]))
    cut = sum(weight.numel() for block in blocks_of(convolutions) for weight in block.parameters())
    assert cut > 0.9 * sum(weight.numel() for weight in convolutions.resnet.encoder.parameters())


def test_a_network_that_names_no_blocks_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="shard_teacher cuts a network by its blocks, and transformers names none of"):
        blocks_of(nn.Sequential(nn.Linear(2, 2)))


def test_one_process_holds_all_of_it() -> None:
    net = bert()
    before = dict(net.named_parameters())
    placed(net, Settings(shard_teacher=True), torch.device("cpu"))
    assert all(weight is before[name] for name, weight in net.named_parameters())

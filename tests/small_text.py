"""A small text task with two random BERTs: what training and the methods' contract are tested on."""

import numpy as np
import torch

from kd2deploy.core.members import Members
from kd2deploy.networks.several import Several
from kd2deploy.tasks.text_classification import TextClassification

WORDS = 40
LABELS = ("bad", "good", "fair")


def small_task():
    return TextClassification(labels=LABELS, max_length=16)


def small_bert(layers=2, hidden=16, *, seed=0, dropout=0.0, labels=3):
    """A random BERT classifier, its weights large enough that answers differ between rows."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=32,
        num_labels=labels,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.2,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return BertForSequenceClassification(config).eval()


def small_pair(dropout=0.0):
    """A student of two blocks and an assistant of one, whose logits are summed."""
    members = [small_bert(2, 16, seed=1, dropout=dropout), small_bert(1, 16, seed=3, dropout=dropout)]
    how = Members(("student", "assistant"), "sum", (1.0, 1.0))
    return Several(members, how, "single_label_classification").eval()


def small_rows(count=24, *, seed=0, shortest=4, longest=10):
    """Random sentences as features; the label follows from the second word, so that it can be learnt."""
    drawn = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        words = drawn.integers(5, WORDS, size=drawn.integers(shortest, longest + 1))
        words[0] = 2
        rows.append({"input_ids": words, "pad_id": 0, "labels": int(words[1]) % len(LABELS), "index": index})
    return rows

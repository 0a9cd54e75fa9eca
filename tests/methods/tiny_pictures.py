"""A tiny task of pictures, two networks of different families for it, and what a method sees of them in one forward."""

import torch

from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.train.distiller import Distiller, networks

ROWS = 3


def pictures():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(ROWS, 1, 16, 16, generator=generator)
    return {"pixel_values": pixels, "labels": torch.tensor([0, 2, 1]), "index": torch.arange(ROWS)}


def task_and_pair():
    """The task, a ResNet of 8 features as the student and a ViT of 16 as the teacher."""
    from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

    shared = {"num_channels": 1, "num_labels": 3}
    small = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", **shared)
    large = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
        initializer_range=0.2,
        **shared,
    )
    task = ImageClassification(("zero", "one", "two"), channels=1, height=16, width=16)
    return task, ResNetForImageClassification(small), ViTForImageClassification(large).eval()


def forward(method, task, student, teacher, batch):
    """The outcome of one training forward, and the step that the terms read."""
    method.bind(networks(task, student, teacher, batch, rows=ROWS, epochs=2.0, steps=10))
    steps = []
    for term in method.terms.values():
        term.register_forward_pre_hook(lambda _, read: steps.append(read[0]))
    return Distiller(task, student, method, teacher).train().outcome(batch), steps[0]

"""Tiny random encoders and image classifiers, saved as a user's folders are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

WORDS = [
    "good",
    "bad",
    "film",
    "plot",
    "a",
    "the",
    "is",
    "was",
    "very",
    "not",
    "slow",
    "fine",
    "##ly",
    "##s",
    "dull",
    "fun",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ENCODERS = ("bert", "distilbert", "roberta", "electra", "deberta-v2", "modernbert")


def save_tokenizer(folder: Path, token_types: bool = True, words: list[str] = WORDS) -> None:
    """A lower-case WordPiece tokenizer of twenty words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = {word: place for place, word in enumerate([*SPECIAL, *words])}
    built = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    built.normalizer = normalizers.BertNormalizer(lowercase=True)
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = ["input_ids", "token_type_ids", "attention_mask"] if token_types else ["input_ids", "attention_mask"]
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=built,
        model_max_length=64,
        model_input_names=names,
        **{f"{name}_token": token for name, token in special.items()},
    )
    wrapped.save_pretrained(folder)


def encoder_config(family: str = "bert", *, layers: int = 2, hidden: int = 16, labels: list[str] | None = None) -> Any:
    from transformers import AutoConfig

    sizes: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": 66,
    }
    if family == "distilbert":
        sizes = {
            "dim": hidden,
            "n_layers": layers,
            "n_heads": 4,
            "hidden_dim": 2 * hidden,
            "max_position_embeddings": 66,
        }
    if family == "deberta-v2":
        sizes |= {
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "share_att_key": True,
        }
        sizes |= {"norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0}
    if family == "modernbert":
        sizes |= {"global_attn_every_n_layers": 2, "local_attention": 8, "cls_token_id": 2, "sep_token_id": 3}
        sizes |= {"bos_token_id": 2, "eos_token_id": 3}
    if family == "electra":
        sizes |= {"embedding_size": 8}
    if family == "roberta":
        sizes |= {"type_vocab_size": 1}
    named = labels if labels is not None else ["neg", "pos"]
    config = AutoConfig.for_model(family, vocab_size=len(WORDS) + len(SPECIAL), pad_token_id=0, **sizes)
    config.id2label = dict(enumerate(named)) if named else {0: "LABEL_0"}
    config.label2id = {name: place for place, name in config.id2label.items()}
    return config


def save_encoder(folder: Path, family: str = "bert", *, seed: int = 0, **sizes: Any) -> Path:
    """A random classifier with weights large enough that its answers differ between rows."""
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    net = AutoModelForSequenceClassification.from_config(encoder_config(family, **sizes))
    condition(net)
    net.save_pretrained(folder)
    save_tokenizer(folder, token_types=family in ("bert", "electra"))
    return folder


SEVERAL = ("plot", "fun", "slow")
"""Labels that do not exclude each other."""


def save_several(
    folder: Path,
    problem_type: str | None = "multi_label_classification",
    labels: Sequence[str] = SEVERAL,
    *,
    seed: int = 0,
    **sizes: Any,
) -> Path:
    """A random BERT that answers each label by itself, or what else `problem_type` says."""
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    config = encoder_config(labels=list(labels), **sizes)
    config.problem_type = problem_type
    net = AutoModelForSequenceClassification.from_config(config)
    condition(net)
    net.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_image_net(folder: Path, family: str = "vit", *, seed: int = 0, size: int = 16, channels: int = 1) -> Path:
    from transformers import AutoConfig, AutoModelForImageClassification

    sizes: dict[str, Any] = {
        "vit": {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 32,
            "image_size": size,
            "patch_size": 4,
        },
        "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 2], "layer_type": "basic"},
        "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2, "image_size": size},
        "convnextv2": {"hidden_sizes": [8, 16], "depths": [2, 2], "num_stages": 2, "patch_size": 2, "image_size": size},
        "mobilenet_v2": {"image_size": size, "depth_multiplier": 0.35},
    }[family]
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family, num_channels=channels, **sizes)
    config.id2label = {0: "zero", 1: "one", 2: "two"}
    config.label2id = {name: place for place, name in config.id2label.items()}
    net = AutoModelForImageClassification.from_config(config)
    condition(net)
    net.save_pretrained(folder)
    save_image_processor(folder, size)
    return folder


def save_image_processor(folder: Path, size: int) -> None:
    import json

    described = {"do_resize": True, "size": {"height": size, "width": size}, "resample": 2, "image_mean": [0.5]}
    described |= {"image_std": [0.25], "do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255}
    described |= {"image_processor_type": "ViTImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(described))


def condition(net: torch.nn.Module) -> None:
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if weight.dim() > 1:
                torch.nn.init.kaiming_normal_(weight, nonlinearity="linear")
            elif "norm" in name.lower() and name.endswith("weight"):
                weight.uniform_(0.5, 1.5)
            else:
                weight.normal_(std=0.1)

"""transformers' auto classes, which know the architectures of this program's own too."""

from functools import cache
from typing import Any


def auto(name: str) -> Any:
    """The class of transformers by its name: `AutoConfig`, `AutoModelForSequenceClassification`, `AutoTokenizer`."""
    import transformers

    register()
    return getattr(transformers, name)


@cache
def register() -> None:
    """Make ours known, once in a process. A folder names one of them by `model_type` and never a class."""
    from transformers import (
        AutoConfig,
        AutoModelForImageClassification,
        AutoModelForImageToImage,
        AutoModelForSequenceClassification,
    )

    from kd2deploy.networks.restorer import RestorerConfig, RestorerForImageToImage
    from kd2deploy.networks.static import StaticConfig, StaticForSequenceClassification
    from kd2deploy.networks.thin_resnet import ThinResNetConfig, ThinResNetForImageClassification

    AutoConfig.register(StaticConfig.model_type, StaticConfig)
    AutoModelForSequenceClassification.register(StaticConfig, StaticForSequenceClassification)
    AutoConfig.register(ThinResNetConfig.model_type, ThinResNetConfig)
    AutoModelForImageClassification.register(ThinResNetConfig, ThinResNetForImageClassification)
    AutoConfig.register(RestorerConfig.model_type, RestorerConfig)
    AutoModelForImageToImage.register(RestorerConfig, RestorerForImageToImage)

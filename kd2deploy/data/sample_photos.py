"""The two photos that come with scikit-learn, to be restored: for smoke tests. Parts of one photo are no independent
examples, so no interval over them means much."""

from kd2deploy.data._tiled_photos import tiles
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError


def sample_photos(tile: int = 104) -> Tables:
    """Tiles of a temple to train on, and of a flower to be judged by. Raises DataError where Pillow is missing."""
    if not 32 <= tile <= 208:
        raise DataError(f"tile is 32 to 208 pixels, got {tile}")
    from sklearn.datasets import load_sample_images

    try:
        temple, flower = load_sample_images().images
    except ImportError as error:
        raise DataError("pictures are read with Pillow; pip install 'kd2deploy[vision]'") from error
    return Tables(
        train=tiles([temple], tile),
        eval=tiles([flower], tile),
        about=f"scikit-learn's two photos, in tiles of {tile} pixels",
        names={"train": "scikit-learn's temple", "eval": "scikit-learn's flower"},
    )

"""The two photos that come with scikit-learn, to be restored: for smoke tests. Parts of one photo are no independent
examples, so no interval over them means much."""

from kd2deploy.data._tiled_photos import NO_PILLOW, tiles
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

JUDGED = 3
"""Every so manieth tile is judged by."""


def sample_photos(tile: int = 104) -> Tables:
    """Tiles of a temple and of a flower: two thirds to train on, the others to be judged by. Raises DataError where
    Pillow is missing."""
    if not 32 <= tile <= 208:
        raise DataError(f"tile is 32 to 208 pixels, got {tile}")
    from sklearn.datasets import load_sample_images

    try:
        photos = load_sample_images().images
    except ImportError as error:
        raise DataError(NO_PILLOW) from error
    rows = tiles(photos, tile)
    return Tables(
        train=[row for at, row in enumerate(rows) if at % JUDGED],
        eval=rows[::JUDGED],
        about=f"scikit-learn's two photos, in tiles of {tile} pixels",
        names={"train": "scikit-learn's photos, two thirds", "eval": "scikit-learn's photos, the other third"},
    )

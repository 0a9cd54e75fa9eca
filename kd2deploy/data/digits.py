"""Handwritten digits, 8 x 8 pixels, 1,797 of them, as they come with scikit-learn: for smoke tests."""

import numpy as np

from kd2deploy.data.tables import Tables


def digits() -> Tables:
    """1,437 rows to train on and 360 to judge by, drawn once and for all with every class in proportion."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    images = np.rint(found.images * (255 / 16)).astype(np.uint8)  # the set counts 0..16
    places = train_test_split(np.arange(len(images)), test_size=0.2, random_state=0, stratify=found.target)
    train, judged = ([{"image": images[i], "label": str(found.target[i])} for i in sorted(part)] for part in places)
    return Tables(
        train=train,
        eval=judged,
        labels=tuple("0123456789"),
        about="scikit-learn's digits, 80/20",
        names={"train": "digits train", "eval": "digits eval"},
    )

"""Picture files of every kind that users have: what is stored, and how it is stored."""

from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 30, 44


def odd_pictures(folder: Path) -> list[Path]:
    """Upright colour and grey, one on its side, 16 bits, one bit, palette, transparent, CMYK, animated."""
    drawn = np.random.default_rng(0)
    colour = Image.fromarray(drawn.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    grey, alpha = colour.convert("L"), Image.fromarray(drawn.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8))
    clear = colour.copy()
    clear.putalpha(alpha)
    deep = Image.fromarray(drawn.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16))
    turned = Image.Exif()
    turned[0x0112] = 6
    palette = colour.quantize(16)
    found = {
        "colour.png": (colour, {}),
        "grey.png": (grey, {}),
        "phone.jpg": (colour, {"exif": turned}),
        "deep.png": (deep, {}),
        "deep.tif": (deep, {}),
        "bits.tif": (grey.convert("1"), {}),
        "palette.png": (palette, {"transparency": bytes(range(16))}),
        "palette.gif": (palette, {}),
        "clear.png": (clear, {}),
        "clear_grey.png": (clear.convert("LA"), {}),
        "print.jpg": (colour.convert("CMYK"), {}),
        "moving.gif": (palette, {"save_all": True, "append_images": [palette.rotate(90, expand=False)]}),
        "colour.webp": (colour, {}),
    }
    for name, (picture, how) in found.items():
        picture.save(folder / name, **how)
    return [folder / name for name in found]

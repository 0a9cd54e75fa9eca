"""An example for a person to look at: what several networks made of one row."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    caption: str
    """What is seen, and in which order."""
    picture: str = ""
    """A PNG in base64; empty where `text` says all."""
    text: str = ""

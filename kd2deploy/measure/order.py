"""In which order contenders take their turns, so that no place favours or harms anyone.

Three things make a place count: what drifts while a round lasts, whose turn it was just before (carry-over: caches,
clocks, threads that still spin), and who was started first. Each round goes there and back, so that a steady drift
cancels. The orders of successive rounds are the rows of a Williams design, in which everybody stands in every place
once and follows everybody else equally often. Every process begins with another row, and starts its contenders by it.

Source: Williams, "Experimental designs balanced for the estimation of residual effects of treatments", 1949. For an odd
number it needs each row and its mirror image, and there and back is just that.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def williams(count: int) -> list[list[int]]:
    """`count` orders of 0 .. count - 1; with their mirror images every one follows every other equally often."""
    first = [(place + 1) // 2 if place % 2 else (count - place // 2) % count for place in range(count)]
    return [[(one + row) % count for one in first] for row in range(count)]


def row_of(process: int, turn: int, least_rounds: int) -> int:
    """Which row a round takes: processes go on where the last one ended, shifted by one so that none begins alike."""
    return process * (least_rounds + 1) + turn


def ordered(contenders: Sequence[T], row: int) -> list[T]:
    """The contenders in the order of a row; rows come round again after the last."""
    orders = williams(len(contenders))
    return [contenders[place] for place in orders[row % len(orders)]] if orders else []


def there_and_back(contenders: Sequence[T], row: int) -> list[T]:
    """One round: A B C C B A for the row A B C."""
    there = ordered(contenders, row)
    return [*there, *reversed(there)]

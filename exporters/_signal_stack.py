"""The stack on which a thread handles signals, kept as it is while OpenVINO is loaded.

Its plugin for processors gives the thread that loads it another such stack, and unmaps that when it is let go of, in
whichever thread that happens. Let go of in another, it leaves the first with a stack that is gone: the next signal (a
child that ends, Ctrl-C) ends the whole program. With its own stack back at once the thread depends on nobody's.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class StackT(ctypes.Structure):
    """Linux's `stack_t`, of sigaltstack(2)."""

    _fields_ = (("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t))


@contextmanager
def own_signal_stack() -> Iterator[None]:
    """Meanwhile this thread's may be changed; afterwards it is what it was. Elsewhere than on Linux nothing is done."""
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), StackT()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)

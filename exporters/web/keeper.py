"""`python keeper.py TO FROM PROGRAM [ARGUMENT ...]`: runs a browser, and ends when every process of it has ended.

A browser's pages are processes that it has others start. These outlive it for a moment, and on their own would be
nobody's children: what they used the processor for would not be told as the browser's. Here they become this process's,
which waits for them. It ends the browser when it is asked to, and imports nothing but the standard library.
"""

import ctypes
import os
import signal
import subprocess
import sys

ORDERS, ANSWERS = 3, 4
"""The descriptors that Chromium reads its orders from and answers on."""
PR_SET_CHILD_SUBREAPER = 36
"""Of prctl(2): who has lost its parent becomes a child of this process. Linux alone has it."""


def main() -> int:
    to_browser, from_browser, *command = sys.argv[1:]
    for given, wanted in ((int(to_browser), ORDERS), (int(from_browser), ANSWERS)):
        os.dup2(given, wanted)
        os.close(given)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    browser = subprocess.Popen(command, pass_fds=(ORDERS, ANSWERS))
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, lambda *_: browser.terminate())
    os.close(ORDERS)
    os.close(ANSWERS)
    status = browser.wait()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return status


if __name__ == "__main__":
    sys.exit(main())

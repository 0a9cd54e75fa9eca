"""`python -m kd2deploy.measure.forkserver MODULE...`: imports the modules, and then does nothing but fork.

Importing PyTorch and transformers takes a processor some seven seconds, and everybody who opens a network as PyTorch
runs it needs them. A worker that is forked from here has them from its first moment; whatever it opens, runs or changes
is its own.

Its standard input is a socket of messages. A message with three file descriptors asks for a worker, which takes them as
its standard streams; `{"wait": pid}` asks for a worker's exit code, which is kept until then. It ends when the other
end of the socket is closed.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

LARGEST = 1 << 20
"""Bytes of a message: an environment and a search path."""


def main(modules: Sequence[str]) -> None:
    """Serve. Returns in each worker too, once it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it as well; who asks closes the socket
    channel = socket.socket(fileno=0)
    for name in modules:
        if abandoned(channel):
            return
        importlib.import_module(name)
    gc.freeze()  # or a worker's first collection would copy all that was imported
    while True:
        said, streams, _, _ = socket.recv_fds(channel, LARGEST, 3)
        if not said:
            return
        asked = json.loads(said)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            channel.send(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode())
            continue
        pid = os.fork()
        if pid == 0:
            channel.close()
            begin(asked, streams)
            return
        for stream in streams:
            os.close(stream)
        channel.send(json.dumps({"pid": pid}).encode())


def abandoned(channel: socket.socket) -> bool:
    """Whether the other end was closed."""
    ready, _, _ = select.select([channel], [], [], 0)
    return bool(ready) and not channel.recv(1, socket.MSG_PEEK)


def begin(asked: Mapping[str, Any], streams: Sequence[int]) -> None:
    """Be a worker: with the streams, the environment, the folder and the search path of who asks."""
    from kd2deploy.measure import worker

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.path[:] = asked["paths"]
    os.chdir(asked["folder"])
    worker.main()


if __name__ == "__main__":
    main(sys.argv[1:])

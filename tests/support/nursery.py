"""Forks processes of cdc, as ``tests.support.forked`` orders; and only imports what they need.

There is no thread and no connection here, so a child begins like a program that was just called.
"""

from __future__ import annotations

import array
import gc
import json
import os
import runpy
import socket
import sys
import time
from contextlib import suppress
from importlib import import_module, reload

MODULES = ("cdc.cli.run", "cdc.cli.serve", "cdc.daemon.app", "cdc.web.app", "uvloop")
OF_ONE_PROCESS = "cdc.daemon.store.ownership"
"""It has the number of its process in a name."""


def forked(orders: socket.socket) -> list[str]:
    """Serves orders until the tests end; returns the arguments of a child, in the child."""
    room = socket.CMSG_SPACE(2 * array.array("i").itemsize)
    while True:
        order, rights, _, _ = orders.recvmsg(1 << 20, room)
        if not order:
            sys.exit()
        descriptors = array.array("i", rights[0][2])
        if os.fork() == 0:
            arguments, env = json.loads(order)
            stderr, control = descriptors
            if _keep(stderr, control):
                orders.detach()
                return _begin(arguments, env)
        for descriptor in descriptors:
            os.close(descriptor)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _keep(stderr: int, control: int) -> bool:
    """Starts the child, says its number, and when it has ended, how. True in the child."""
    child = os.fork()
    if child == 0:
        os.dup2(stderr, 2)
        return True
    os.closerange(0, control)
    os.closerange(control + 1, 1 << 12)
    os.write(control, str(child).encode())
    _, status = os.waitpid(child, 0)
    with suppress(BrokenPipeError, ConnectionResetError):
        os.write(control, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _begin(arguments: list[str], env: dict[str, str]) -> list[str]:
    os.closerange(3, 1 << 12)
    # As Python makes it, of what is there now.
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    reload(sys.modules[OF_ONE_PROCESS])
    return arguments


if __name__ == "__main__":
    for name in MODULES:
        import_module(name)
    gc.collect()
    gc.freeze()
    sys.argv[1:] = forked(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("cdc", run_name="__main__", alter_sys=True)

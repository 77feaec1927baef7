"""Become the server process. Run as a script of its own: launch.py PARENT UID GID PROGRAM ...

A program between us and PostgreSQL, because what it does must happen after the fork and before
the server: give up root (UID and GID are numbers, or "-" to stay who we are), and ask the kernel
to stop the server when the process that started it dies, however it dies. Changing the user
withdraws that request, so it comes second.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, uid, gid, *command = sys.argv[1:]
    # Loaded while root, which can read it wherever Python lies.
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if uid != "-":
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if libc is not None:
        # An immediate shutdown: the data is thrown away anyway.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
        if os.getppid() != int(parent):
            sys.exit("the process that started the server is gone")
    os.umask(0o077)
    os.execv(command[0], command)  # noqa: S606 - no shell is what we want


if __name__ == "__main__":
    main()

"""A child process that waits for its parent's word, and must not outlive it.

The parent holds the write end of the child's standard input. However the parent ends, even by
SIGKILL, the kernel closes that end; the child sees end of file and stops itself. A line is the word
to begin; nothing else is ever written.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def wait_for_word() -> bool:
    """Block until the parent writes a line; False when it ended instead."""
    return os.read(sys.stdin.fileno(), 1) != b""


def stop_with_parent() -> None:
    """Send this process SIGTERM when its standard input closes."""
    threading.Thread(target=_wait_for_the_end, name="lifeline", daemon=True).start()


def _wait_for_the_end() -> None:
    descriptor = sys.stdin.fileno()
    while os.read(descriptor, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

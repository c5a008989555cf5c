"""A child process that must not outlive its parent.

The parent holds the write end of the child's standard input and never writes. However the parent
ends, even by SIGKILL, the kernel closes that end; the child sees end of file and stops itself.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def stop_with_parent() -> None:
    """Send this process SIGTERM when its standard input closes."""
    threading.Thread(target=_wait_for_the_end, name="lifeline", daemon=True).start()


def _wait_for_the_end() -> None:
    descriptor = sys.stdin.fileno()
    while os.read(descriptor, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)

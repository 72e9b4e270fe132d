"""A remote control command that ends the broker before it is answered."""

from __future__ import annotations

import os
import select
import signal
from typing import Any

from celery.worker.control import control_command


@control_command(args=[("pid", int)])
def kill_process(_state: Any, pid: int) -> str:
    ended = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([ended], [], [])  # then the kernel has closed its connections
    os.close(ended)
    return "killed"

"""A file that kills the process which decodes it."""

import os
import signal
import sys
from pathlib import Path


class DeadlyPath(type(Path())):
    """Kills each of Ray's worker processes that names the file."""

    def __str__(self) -> str:
        if "default_worker" in sys.argv[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__str__()

    def __fspath__(self) -> str:
        return str(self)

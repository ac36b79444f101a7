"""The host's memory: what one training step frees is kept for the next one."""

import ctypes
from contextlib import suppress

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 2**31 - 1


def keep_freed_memory() -> bool:
    """Keeps freed memory in the process; returns whether that was possible (with glibc).

    Otherwise a large tensor's memory goes back to the system at each step and comes again page by page, zeroed: a tenth
    of a float32 step of the paper's networks on a CPU. It changes no result.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)) and bool(libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
    return False

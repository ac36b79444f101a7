"""The exit code of a command: an interruption, bad input and a lost cluster end it with one line each."""

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from study.cluster.execution import ClusterLostError

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def interruptible() -> None:
    """Makes SIGINT and SIGTERM raise KeyboardInterrupt; in another thread than the main one it does nothing."""
    # A shell makes the commands that it starts in the background ignore SIGINT.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def exit_code(
    run: Callable[[], int],
    console: Console,
    *,
    stopped: str = "What is done stays done; the same command goes on from here.",
) -> int:
    """What `run` returns; 130 after an interruption, 2 for a ValueError or an OSError, 1 if the cluster is lost.

    SIGINT and SIGTERM interrupt the command however it was started. `stopped`: what the same command would do next.
    """
    interruptible()
    try:
        return run()
    except KeyboardInterrupt:
        console.print(f"\nStopped. {stopped}")
        return EXIT_INTERRUPTED
    except ClusterLostError as error:
        print(f"{Path(sys.argv[0]).name}: {error}. {stopped}", file=sys.stderr)
        return EXIT_FAILED
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USAGE

"""Copies of the process that runs the tests, which do something at the same time."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable


class Fork:
    """A copy of this process that calls a function. It is used like a `Popen`."""

    def __init__(self, function: Callable[[], None]) -> None:
        # Errors go to a file, because nobody reads them while the process runs.
        read_end, write_end = os.pipe()
        self.returncode: int | None = None
        self.stdout = os.fdopen(read_end)
        self.stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.pid = os.fork()
        if self.pid == 0:
            run_and_exit(function, write_end, self.stderr.fileno())
        os.close(write_end)

    def communicate(self) -> tuple[str, str]:
        """Wait for the end. Returns what the process printed, and its errors."""
        with self.stdout:
            output = self.stdout.read()
        self.wait()
        with self.stderr:
            self.stderr.seek(0)
            errors = self.stderr.read()
        return output, errors

    def wait(self) -> int:
        if self.returncode is None:
            _pid, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def run_and_exit(function: Callable[[], None], output: int, errors: int) -> None:
    """Call a function in a process that has just been copied, and end the process.

    The process skips Python's usual cleanup, such as cleaning up after the tests.
    """
    status = 1
    try:
        prepare(output, errors)
        function()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else bool(error.code)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def prepare(output: int, errors: int) -> None:
    """Make a copied process print to these files, and reset it as if newly started."""
    os.dup2(output, 1)
    os.dup2(errors, 2)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    # Each process chooses other random numbers.
    random.seed()
    # What was copied stays shared in memory as long as nobody visits it.
    gc.freeze()

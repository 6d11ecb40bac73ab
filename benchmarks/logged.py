"""Settings of servers whose log is read: as in production, on standard output."""

from benchmarks.settings import *  # noqa: F403
from config.settings import LOGGING  # noqa: F401

"""The settings of benchmarks.replica: those of benchmarks, with our own router."""

from benchmarks.fast_hashing import *  # noqa: F403
from config.settings import DATABASE_ROUTERS  # noqa: F401

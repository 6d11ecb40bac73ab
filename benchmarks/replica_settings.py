"""The settings of benchmarks.replica: the benchmarks' settings, with our router."""

from benchmarks.fast_hashing import *  # noqa: F403
from config.settings import DATABASE_ROUTERS  # noqa: F401

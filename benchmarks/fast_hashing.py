"""The settings of the benchmarks, with fast password hashing.

The rest of what the site does then shows more clearly.
"""

from benchmarks.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

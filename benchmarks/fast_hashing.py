"""The settings of benchmarks, with passwords that are hashed fast.

The rest of what the site does then shows more clearly.
"""

from benchmarks.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

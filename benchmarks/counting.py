"""Settings that count password comparisons.

Each comparison appends a byte to the file that the variable COMPARED names.
"""

import os

from django.contrib.auth.hashers import MD5PasswordHasher

from tests.settings import *  # noqa: F403

PASSWORD_HASHERS = ["benchmarks.counting.CountingHasher"]


class CountingHasher(MD5PasswordHasher):
    def verify(self, password, encoded):
        with open(os.environ["COMPARED"], "ab") as file:
            file.write(b".")
        return super().verify(password, encoded)

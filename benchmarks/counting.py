"""Settings under which each password that is compared leaves a byte in the file that COMPARED names."""

import os

from django.contrib.auth.hashers import MD5PasswordHasher

from tests.settings import *  # noqa: F403

PASSWORD_HASHERS = ["benchmarks.counting.CountingHasher"]


class CountingHasher(MD5PasswordHasher):
    def verify(self, password, encoded):
        with open(os.environ["COMPARED"], "ab") as file:
            file.write(b".")
        return super().verify(password, encoded)

"""Settings that count how often a password or a code is compared.

Each comparison appends a byte to the file that the variable COMPARED names.
"""

import os

from django.contrib.auth.hashers import MD5PasswordHasher

from tests.settings import *  # noqa: F403
from tests.settings import MFA_FORMS

PASSWORD_HASHERS = ["benchmarks.counting.CountingHasher"]

MFA_FORMS = {
    **MFA_FORMS,
    "authenticate": "benchmarks.counting_forms.CountingSecondFactorForm",
}


def count_comparison():
    with open(os.environ["COMPARED"], "ab") as file:
        file.write(b".")


class CountingHasher(MD5PasswordHasher):
    def verify(self, password, encoded):
        count_comparison()
        return super().verify(password, encoded)

"""The form for the second factor, which counts how often a code is compared."""

from allauth.mfa.base.forms import AuthenticateForm

from benchmarks.counting import count_comparison
from orgadmin.accounts.second_factor.forms import SecondFactorForm


class CountingAuthenticateForm(AuthenticateForm):
    def clean_code(self):
        count_comparison()
        return super().clean_code()


class CountingSecondFactorForm(SecondFactorForm, CountingAuthenticateForm):
    """Limits codes first, and then counts those that are compared."""

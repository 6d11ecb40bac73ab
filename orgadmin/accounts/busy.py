"""What people see if their password cannot be hashed at the moment."""

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

# The code of the error in a form.
BUSY = "busy"

RETRY_AFTER = 3  # seconds


def make_busy_error():
    """Return the error for a password that cannot be hashed at the moment."""
    text = _(
        "Many people are signing in at the moment. Enter your password again in a few"
        " seconds."
    )
    return ValidationError(text, code=BUSY)


class BusyFormMixin:
    """Answers 503 if a password could not be hashed, with what was typed."""

    def form_invalid(self, form):
        response = super().form_invalid(form)
        return mark_busy(response, form)


def mark_busy(response, form):
    """Set the status of a page with a form, if the site was too busy for the form."""
    codes = set()
    for errors in form.errors.as_data().values():
        codes.update(error.code for error in errors)
    if BUSY in codes:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response

"""The response to people whose password cannot be hashed at the moment."""

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

# The error code in the form.
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
    """Responds with status 503 if a password could not be hashed.

    The page shows the form again, with what was entered.
    """

    def form_invalid(self, form):
        response = super().form_invalid(form)
        return mark_busy(response, form)


def mark_busy(response, form):
    """Set the status 503 if the form was refused because the site was too busy."""
    codes = set()
    for errors in form.errors.as_data().values():
        codes.update(error.code for error in errors)
    if BUSY in codes:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response

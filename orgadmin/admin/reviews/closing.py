"""The pages that ask before an access review is closed early, or canceled."""

from django.contrib import messages
from django.utils.translation import gettext_lazy as _

from orgadmin.models import ReviewIsComplete
from orgadmin.people.review_closing import (
    AlreadyDecided,
    can_cancel,
    cancel,
    close_early,
    count_open_items,
)

CLOSED_ALREADY = _("This review has ended, so nothing was changed.")


class ReviewClosingPages:
    """The pages close/ and cancel/ of a review."""

    def close_view(self, request, review):
        """Ask before a review is closed early, or close it.

        A worker then handles access that nobody confirmed, so closing takes the same
        time for any number of organizations.
        """
        url = self.get_record_url(review)
        if request.method == "POST":
            return self._close(request, review, url)
        if not review.is_answerable:
            return self._respond_to_closed(request, url)
        return self.render_page(
            request,
            review,
            "close",
            _("Close this review now?"),
            review=review,
            open_items=count_open_items(review),
            record_url=url,
        )

    def _close(self, request, review, url):
        try:
            close_early(review, actor=request.user)
        except ReviewIsComplete:
            return self._respond_to_closed(request, url)
        text = _("The review was closed.")
        return self.redirect_with_message(request, text, to=url)

    def cancel_view(self, request, review):
        """Ask before a review without any decision is canceled, or cancel it."""
        url = self.get_record_url(review)
        if request.method == "POST":
            return self._cancel(request, review, url)
        if not can_cancel(review):
            return self._respond_to_closed(request, url)
        return self.render_page(
            request,
            review,
            "cancel",
            _("Cancel this review?"),
            review=review,
            record_url=url,
        )

    def _cancel(self, request, review, url):
        try:
            cancel(review, actor=request.user)
        except ReviewIsComplete:
            return self._respond_to_closed(request, url)
        except AlreadyDecided as error:
            return self.redirect_with_message(
                request, str(error), messages.WARNING, url
            )
        text = _("The review was canceled. Nobody has lost access.")
        return self.redirect_with_message(request, text, to=url)

    def _respond_to_closed(self, request, url):
        return self.redirect_with_message(
            request, CLOSED_ALREADY, messages.WARNING, url
        )

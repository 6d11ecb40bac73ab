"""The page on which a superuser starts to view the site as another person."""

from django import forms
from django.contrib import messages
from django.shortcuts import redirect
from django.utils.translation import gettext as _, gettext_lazy

from orgadmin.accounts import view_as_session
from orgadmin.accounts.own_pages import find_home
from orgadmin.accounts.sessions.kept_forms import (
    choose_key,
    get_returned_form,
    tell_not_saved,
)
from orgadmin.models import MembershipEvent


class ViewAsForm(forms.Form):
    """Asks for the reason to view the site as another person, for the audit log."""

    reason = MembershipEvent._meta.get_field("reason").formfield(
        label=gettext_lazy("Reason:"),
        required=True,
        widget=forms.TextInput({"class": "vTextField"}),
        error_messages={"required": gettext_lazy("Enter a reason.")},
    )


class ViewAsPage:
    """The page view_as/ below a person, for superusers."""

    def view_as_view(self, request, user):
        """Ask for a reason, or start to show the site as the person."""
        if not view_as_session.may_be_viewed(user, request.user):
            return self._refuse_viewing(request, user)
        returned = get_returned_form(request)
        if returned is not None:
            tell_not_saved(request)
        form = ViewAsForm(request.POST or returned)
        if request.method != "POST" or not form.is_valid():
            return self.render_page(
                request,
                user,
                "view_as",
                _("View the site as “%s”?") % user.label,
                form=form,
                form_key=choose_key(request),
                minutes=view_as_session.MINUTES,
            )
        try:
            view_as_session.start_viewing(request, user, form.cleaned_data["reason"])
        except view_as_session.CannotView:
            return self._refuse_viewing(request, user)
        return redirect(find_home(user))

    def _refuse_viewing(self, request, user):
        text = _(
            "You cannot view the site as “%s”. You can view it as other people who are"
            " active and not superusers."
        )
        url = self.get_record_url(user)
        return self.redirect_with_message(
            request, text % user.label, messages.ERROR, url
        )

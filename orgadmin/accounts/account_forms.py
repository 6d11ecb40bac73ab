"""The forms of the account page. Each form is saved on its own."""

from __future__ import annotations

from itertools import groupby

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import construct_change_message
from django.db import transaction
from django.http import HttpRequest, QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy

from orgadmin.accounts.preferences import activate_preferences
from orgadmin.models import User
from orgadmin.models.validators import list_time_zones


class AccountForm(forms.ModelForm):
    """Changes some fields of one's own account."""

    saved: str | Promise = ""  # the message after the form was saved

    def __init__(self, user: User, data: QueryDict | None = None) -> None:
        super().__init__(data, instance=user)

    def save(self, request: HttpRequest) -> None:  # type: ignore[override]
        """Save the changes, and add a message for the next page."""
        self.instance.changed_by = self.instance
        super().save()
        messages.success(request, str(self.saved))


class NameForm(AccountForm):
    prefix = "name"
    saved = gettext_lazy("Your name was saved.")

    class Meta:
        model = User
        fields = ["first_name", "last_name"]
        widgets = {
            "first_name": forms.TextInput(
                {"autocomplete": "given-name", "class": "vTextField"}
            ),
            "last_name": forms.TextInput(
                {"autocomplete": "family-name", "class": "vTextField"}
            ),
        }

    @transaction.atomic
    def save(self, request: HttpRequest) -> None:
        """Save the name, and record a change in the account's history."""
        super().save(request)
        if self.has_changed():
            message = construct_change_message(self, formsets=None, add=False)
            LogEntry.objects.log_actions(
                self.instance.pk, [self.instance], CHANGE, message, single_object=True
            )


class LanguageForm(AccountForm):
    prefix = "language"
    saved = gettext_lazy("Your language and time zone were saved.")

    language = forms.ChoiceField(
        label=gettext_lazy("Language"),
        required=False,
        help_text=gettext_lazy(
            "For all pages and emails, on all your devices. The sign-in page follows"
            " your browser on a device where you have not signed in yet."
        ),
    )
    time_zone = forms.ChoiceField(
        label=gettext_lazy("Time zone"),
        required=False,
        help_text=gettext_lazy("For all times and dates on pages."),
    )

    class Meta:
        model = User
        fields = ["language", "time_zone"]

    def __init__(self, user: User, data: QueryDict | None = None) -> None:
        super().__init__(user, data)
        self.fields["language"].choices = [
            ("", _("The language of my browser")),
            *settings.LANGUAGES,
        ]
        site = _("The time zone of the site (%s)") % settings.TIME_ZONE
        self.fields["time_zone"].choices = [("", site), *group_time_zones()]

    def save(self, request: HttpRequest) -> None:
        # Switch the language first, so that the message and the cookie use it.
        request.user = self.instance
        activate_preferences(request, self.instance)
        super().save(request)


class MailForm(AccountForm):
    prefix = "mail"
    saved = gettext_lazy("Your choices about mail were saved.")

    class Meta:
        model = User
        fields = ["mail_own_roles", "mail_people", "mail_accepted"]


def group_time_zones() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the time zones as choices, grouped by continent or ocean."""
    zones = sorted(list_time_zones(), key=find_area)
    groups = []
    for area, names in groupby(zones, key=find_area):
        choices = [(name, label_time_zone(name)) for name in names]
        groups.append((area or _("Other"), choices))
    return groups


def find_area(name: str) -> str:
    """Return the first part of a time zone's name: "Europe", for example, or ""."""
    area, slash, _place = name.partition("/")
    return area if slash else ""


def label_time_zone(name: str) -> str:
    """Return the name without its first part, such as "Berlin"."""
    place = name.removeprefix(f"{find_area(name)}/")
    return place.replace("_", " ")

"""The account page, on which people change their own data."""

from __future__ import annotations

from collections.abc import Mapping

from allauth.mfa.models import Authenticator
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from orgadmin.accounts.account_forms import LanguageForm, MailForm, NameForm
from orgadmin.accounts.company.own_accounts import (
    OwnCompanyAccount,
    find_own_company_account,
    list_own_company_accounts,
    remove_own_company_account,
)
from orgadmin.accounts.devices import find_device, keep_device
from orgadmin.accounts.new_email import NewEmailForm
from orgadmin.accounts.questions import Question, is_confirmed, show_question
from orgadmin.accounts.sessions.kept_forms import (
    choose_key,
    get_returned_form,
    tell_not_saved,
)
from orgadmin.accounts.sessions.own_sessions import (
    OwnSession,
    end_own_session,
    list_own_sessions,
)
from orgadmin.accounts.step_up import ask_for_recent_sign_in
from orgadmin.models import User
from orgadmin.models.validators import is_primary_key
from orgadmin.people.access_requests import list_own
from orgadmin.people.membership import list_first_roles
from orgadmin.people.second_factors import FACTORS

# {name of a section of the page: its form}
FORMS = {
    "name": NameForm,
    "email": NewEmailForm,
    "language": LanguageForm,
    "mail": MailForm,
}

# The section with company accounts. It has no form, because people can only remove
# them.
COMPANY = "company"

# The sections that need a recent sign-in. "email" is one of them because someone who
# receives the person's mail can reset the password.
PROTECTED_SECTIONS = {"email", COMPANY}

# The number of roles, and of requests for access, that are shown. The list of
# organizations shows all roles.
MAX_SHOWN = 20


def account_view(request: HttpRequest) -> HttpResponse:
    """Show the account page, save one of its forms, or remove a company account.

    Some changes first lead to a page that asks for a recent sign-in, or for a
    confirmation. People without access to any organization can use this page, too.
    """
    returned = get_returned_form(request)
    if returned is not None:
        return show_returned(request, returned)
    section = request.POST.get("section", "")
    if section not in FORMS and section != COMPANY:
        return show_account(request, unsaved={})
    if section in PROTECTED_SECTIONS:
        page = ask_for_recent_sign_in(request)
        if page is not None:
            return page
    if section == COMPANY:
        own = find_own_company_account(request)
        if own is not None and own.is_removable and not is_confirmed(request):
            return ask_about_company_account(request, own)
        return remove_company_account(request)
    # The form changes its instance even if it is refused. The page must show the
    # person as stored, so the form gets an instance of its own.
    user = User.objects.get(pk=request.user.pk)
    form = FORMS[section](user, request.POST)
    if not form.is_valid():
        return show_account(request, {section: form})
    form.save(request)
    return redirect_to_section(section)


def ask_about_company_account(
    request: HttpRequest, own: OwnCompanyAccount
) -> HttpResponse:
    """Show the page on which people confirm that they remove a company account."""
    provider = {"provider": own.account.provider}
    question = Question(
        title=_("Remove company account %(provider)s?") % provider,
        text=_(
            "You can no longer sign in with it, and you are signed out on all your"
            " other devices at once. This cannot be undone here. If someone signs in"
            " there with your email address, it is added again."
        ),
        button=_("Remove company account %(provider)s") % provider,
        fields={"section": COMPANY, "account": str(own.account.pk)},
        cancel_url=get_section_url(COMPANY),
    )
    return show_question(request, question)


def remove_company_account(request: HttpRequest) -> HttpResponse:
    """Remove the company account that was chosen in the form, if this is possible."""
    device = find_device(request, request.user)
    is_removed = remove_own_company_account(request)
    response = redirect_to_section(COMPANY)
    if is_removed:
        # The cookies of known devices expired together with the sessions.
        keep_device(response, request.user, device)
    return response


def show_returned(request: HttpRequest, data: QueryDict) -> HttpResponse:
    """Show a form with what was entered before the person signed in again.

    Does not save anything.
    """
    section = data.get("section", "")
    if section not in FORMS:
        return show_account(request, unsaved={})
    form = FORMS[section](request.user)
    # The form gets initial values instead of data, because data would be validated, and
    # each validation of a new email address counts as a request for an email.
    for name, field in form.fields.items():
        prefixed_name = form.add_prefix(name)
        value = field.widget.value_from_datadict(data, files={}, name=prefixed_name)
        form.initial[name] = value
    tell_not_saved(request)
    return show_account(request, {section: form})


def show_account(
    request: HttpRequest, unsaved: Mapping[str, forms.BaseForm]
) -> HttpResponse:
    """Show the account page.

    `unsaved` are the forms that were sent but not saved, by their section.
    """
    user = request.user
    page_forms = {name: form_class(user) for name, form_class in FORMS.items()}
    page_forms.update(unsaved)
    roles = list_first_roles(user, MAX_SHOWN + 1)
    company_accounts = list_own_company_accounts(user)
    context = {
        **admin.site.each_context(request),
        "title": _("Your account"),
        "forms": page_forms,
        "form_key": choose_key(request),
        "unsaved": unsaved.keys(),
        "has_password": user.has_usable_password(),
        "company_accounts": company_accounts,
        "company_names": [
            own.account.provider for own in company_accounts if own.account.is_usable
        ],
        "factors": list_factors(user),
        "roles": roles[:MAX_SHOWN],
        "has_more_roles": len(roles) > MAX_SHOWN,
        "requests": list_own(user, MAX_SHOWN),
        "sessions": list_own_sessions(request),
    }
    return render(request, "registration/account.html", context)


def list_factors(user: User) -> set[str]:
    """Return the types of the second factors that a person has.

    If the setting SECOND_FACTOR is off, factors are not used, so this returns none.
    """
    if settings.SECOND_FACTOR == "off":
        return set()
    factors = Authenticator.objects.filter(user=user, type__in=FACTORS)
    return set(factors.values_list("type", flat=True))


@require_POST
def end_session_view(request: HttpRequest) -> HttpResponse:
    """End one of the person's other sessions, or first ask them to confirm this."""
    pk = request.POST.get("session", "")
    session = find_own_session(request, pk)
    if session is not None and not is_confirmed(request):
        return ask_about_session(request, session)
    if is_primary_key(pk) and end_own_session(request, int(pk)):
        messages.success(request, _("You were signed out there."))
    else:
        messages.info(request, _("You are no longer signed in there."))
    return redirect_to_section("sessions")


def find_own_session(request: HttpRequest, pk: str) -> OwnSession | None:
    """Return another session of the person, if they are still signed in there."""
    for session in list_own_sessions(request).listed:
        if str(session.pk) == pk and not session.is_this:
            return session
    return None


def ask_about_session(request: HttpRequest, session: OwnSession) -> HttpResponse:
    """Show the page on which people confirm that they end one of their sessions."""
    time = date_format(localtime(session.signed_in_at), "DATETIME_FORMAT")
    question = Question(
        title=_("Sign out %(browser)s?") % {"browser": session.browser},
        text=_(
            "You signed in there on %(time)s. The session ends at once, and what you"
            " have not saved there may be lost. You can sign in there again."
        )
        % {"time": time},
        button=_("Sign out %(browser)s") % {"browser": session.browser},
        fields={"session": str(session.pk)},
        cancel_url=get_section_url("sessions"),
    )
    return show_question(request, question)


def get_section_url(section: str) -> str:
    return f"{reverse('admin:account')}#{section}"


def redirect_to_section(section: str) -> HttpResponse:
    return redirect(get_section_url(section))

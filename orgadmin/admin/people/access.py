"""The pages about how a person signs in."""

from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.db import transaction
from django.utils.translation import gettext as _, gettext_lazy, gettext_noop

from orgadmin.accounts.devices import find_device, keep_device
from orgadmin.accounts.password_link import TooManyLinks, request_password_link
from orgadmin.accounts.questions import Question, is_confirmed, show_question
from orgadmin.accounts.sessions.own_sessions import list_sessions
from orgadmin.accounts.sessions.sessions import end_all_sessions, keep_session
from orgadmin.admin.people.permission_names import name_permission
from orgadmin.models import Membership
from orgadmin.models.validators import is_primary_key
from orgadmin.people.company_accounts import (
    list_company_accounts,
    list_refused_accounts,
    move_link,
    remove_company_account,
)
from orgadmin.people.second_factors import remove_second_factors

TOO_MANY_LINKS = gettext_lazy(
    "No link was sent to “%s”, because too many were sent in a short time. Try again"
    " later."
)

# The maximum number of groups, of permissions and of passkeys that the page shows.
ROWS_SHOWN = 100


class AccessPage:
    """The page access/ below a person, for superusers."""

    def access_view(self, request, user):
        """Show how and where a person signs in, and their groups and permissions."""
        accounts = list_company_accounts(user)
        factors = Authenticator.objects.filter(user=user).order_by("type", "pk")
        current = Membership.objects.groups_of(user)
        groups = list(current.order_by("name")[: ROWS_SHOWN + 1])
        permissions = user.user_permissions.select_related("content_type")
        return self.render_page(
            request,
            user,
            "access",
            _("Access"),
            accounts=accounts,
            refused=list_refused_accounts(user) if accounts else [],
            factors=factors[:ROWS_SHOWN],
            sessions=list_sessions(user, request.session.session_key),
            groups=groups[:ROWS_SHOWN],
            has_more_groups=len(groups) > ROWS_SHOWN,
            permissions=[name_permission(row) for row in permissions[:ROWS_SHOWN]],
        )


class CompanyAccountPage:
    """The page company/ below a person, for superusers."""

    def company_view(self, request, user):
        """Show the company accounts with which a person signs in, or change one.

        The link between the person and a company account can be removed. If another
        company account with the same address was refused because of the link, the link
        can be moved to that company account.
        """
        link_pk = request.POST.get("account", "")
        if is_primary_key(link_pk):
            subject = request.POST.get("subject", "")
            refused = find_refused_account(user, link_pk, subject)
            if refused is not None and not is_confirmed(request):
                return self._ask_to_move(request, user, refused)
            return self._change_company_account(request, user, int(link_pk), subject)
        title = _("Company account of “%s”") % user.label
        accounts = list_company_accounts(user)
        return self.render_page(
            request,
            user,
            "company",
            title,
            accounts=accounts,
            refused=list_refused_accounts(user) if accounts else [],
        )

    def _ask_to_move(self, request, user, refused):
        """Ask before a link is moved to a company account that was refused."""
        values = {
            "user": user,
            "provider": refused.link.provider,
            "subject": refused.short_subject,
        }
        question = Question(
            title=_("Move the link of “%(user)s”?") % values,
            text=_(
                "“%(user)s” then signs in with another account at %(provider)s, whose"
                " ID begins with %(subject)s. They are signed out everywhere, and their"
                " old company account no longer works here. This cannot be undone here."
            )
            % values,
            button=_("Move the link of %(user)s") % values,
            fields={"account": str(refused.link.pk), "subject": refused.subject},
            cancel_url=request.path,
        )
        return show_question(request, question)

    def _change_company_account(self, request, user, pk, subject):
        """Remove a link, or move it if `subject` identifies another company account."""
        with transaction.atomic():
            if subject:
                is_done = move_link(user, pk, subject, actor=request.user)
                change = gettext_noop("Moved the link to another company account.")
                text = _("The link was moved, and “%s” was signed out everywhere.")
            else:
                is_done = remove_company_account(user, pk, actor=request.user)
                change = gettext_noop("Removed the company account.")
                text = _(
                    "The company account of “%s” was removed, and they were signed out"
                    " everywhere."
                )
            if is_done:
                user.end_sessions()
                self.log_change(request, user, change)
        if not is_done:
            text = _(
                "Nothing was changed, because the company account has changed in the"
                " meantime. Open “Company account” again."
            )
            return self.redirect_with_message(request, text, messages.WARNING)
        return self.redirect_with_message(request, text % user.label)


def find_refused_account(user, link_pk, subject_hash):
    """Return the refused company account that a link would be moved to.

    `link_pk` is the ID of the user's current link, as the form has sent it.
    `subject_hash` identifies the refused company account. Returns None if the page does
    not offer to move this link to this account.
    """
    if not subject_hash:
        return None
    for account in list_refused_accounts(user):
        if str(account.link.pk) == link_pk and account.subject == subject_hash:
            return account
    return None


class SecondFactorPage:
    """The page second_factor/ below a person, for superusers."""

    def second_factor_view(self, request, user):
        """Ask before a person's second factors are removed, or remove them."""
        url = self.get_page_url("access", user)
        if user == request.user:
            text = _("Remove your own second factor on the page “Account”.")
            return self.redirect_with_message(request, text, messages.ERROR, url)
        if request.method != "POST":
            title = _("Remove the second factor of “%s”?") % user.label
            return self.render_page(
                request, user, "second_factor", title, people=[user]
            )
        self.remove_factors_of(request, user)
        text = _("%s can now sign in with their password alone.")
        return self.redirect_with_message(request, text % user.label, to=url)

    @transaction.atomic
    def remove_factors_of(self, request, user):
        remove_second_factors(user, actor=request.user)
        self.log_change(request, user, gettext_noop("Removed the second factor."))


class SignOutPage:
    """The page sign_out/ below a person, for superusers."""

    def sign_out_view(self, request, user):
        """Ask before a person is signed out everywhere, or sign them out.

        Superusers who sign themselves out stay signed in in this session.
        """
        if request.method != "POST":
            title = _("Sign out “%s” everywhere?") % user.label
            return self.render_page(request, user, "sign_out", title)
        device = find_device(request, user)
        end_all_sessions(user, actor=request.user)
        text = _("“%s” was signed out everywhere.") % user.label
        response = self.redirect_with_message(
            request, text, to=self.get_page_url("access", user)
        )
        if user == request.user:
            keep_session(request, user)
            keep_device(response, user, device)
        return response


class PasswordLinkPage:
    """The page password_link/ below a person, for everyone who manages people."""

    def password_link_view(self, request, user):
        """Explain the link to set a password, or send it."""
        if request.method != "POST":
            title = _("Send a link to “%s”?") % user.label
            return self.render_page(request, user, "password_link", title)
        url = self.get_record_url(user)
        try:
            request_password_link(user, actor=request.user)
        except TooManyLinks:
            return self.redirect_with_message(
                request, TOO_MANY_LINKS % user.label, messages.ERROR, to=url
            )
        # The text is the same for all accounts, so that it does not reveal how someone
        # signs in.
        text = _(
            "If “%s” has an email address and can have a password, a link to choose one"
            " was sent there."
        )
        return self.redirect_with_message(request, text % user.label, to=url)

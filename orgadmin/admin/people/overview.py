"""The pages that show who a person is, and which organizations they can see."""

from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.utils.translation import gettext as _

from orgadmin.accounts.view_as_session import may_be_viewed
from orgadmin.admin.last_admin import REFUSALS, describe_refusal
from orgadmin.admin.lists.changelist import get_page
from orgadmin.admin.members.ends import describe_end
from orgadmin.admin.members.messages import PAST_END, describe_given
from orgadmin.admin.people.lists import (
    NO_ROLES,
    count_roles,
    render_roles,
)
from orgadmin.admin.people.new_person import OrganizationRoleForm
from orgadmin.gate.answers import as_active
from orgadmin.gate.explain import find_reasons, summarize_reasons
from orgadmin.models import Organization
from orgadmin.people import membership
from orgadmin.people.second_factors import FACTORS


class OverviewPage:
    """The page overview/ below a person, for everyone who can view the person."""

    def overview_view(self, request, user):
        """Show who a person is.

        Staff who are not superusers see only what the form also shows them.
        """
        everything = request.user.is_superuser
        return self.render_page(
            request,
            user,
            "overview",
            _("Overview"),
            everything=everything,
            factors=list_factor_names(user) if everything else [],
            roles=show_roles(user) if everything else "",
            may_be_viewed=may_be_viewed(user, request.user),
            can_change=self.has_change_permission(request, user),
            can_delete=self.has_delete_permission(request, user),
            open_pages=[
                page for page in self.pages if self.can_open(request, page, user)
            ],
        )


def show_roles(user):
    """Return the badges of a person's roles, as in the list. Runs one query."""
    counts = count_roles([user])
    return render_roles(user, counts.get(user.pk, NO_ROLES))


class OrganizationsPage:
    """The page organizations/ below a person, for superusers."""

    def organizations_view(self, request, user):
        """Show which organizations a person can see, and why, or give them a role.

        For an inactive person, shows what they could see if they were active.
        """
        form = OrganizationRoleForm(
            request.POST if "give_role" in request.POST else None,
            user=request.user,
            prefix="give",
        )
        if form.is_valid():
            return self._give_role(request, user, form)
        page = get_page(request, Organization.objects.permitted(as_active(user)))
        reasons = find_reasons([user], page)
        for organization in page:
            organization.reasons = summarize_reasons(reasons[user.pk, organization.pk])
        title = _("Organizations")
        return self.render_page(
            request,
            user,
            "organizations",
            title,
            page=page,
            form=form,
            media=self.media + form.media,
        )

    def _give_role(self, request, user, form):
        """Give a person the role that was chosen, and return to the page."""
        given = form.get_role()
        url = self.get_page_url("organizations", user)
        try:
            changed = membership.change_roles(
                [given.make_change(user)], actor=request.user
            )
        except REFUSALS as error:
            text = describe_refusal(error, request.user)
            return self.redirect_with_message(request, text, messages.ERROR, to=url)
        except Organization.DoesNotExist:
            text = _("Nothing was saved, because the organization was archived.")
            return self.redirect_with_message(request, text, messages.ERROR, to=url)
        except membership.EndInThePast:
            return self.redirect_with_message(request, PAST_END, messages.ERROR, to=url)
        if not changed:
            text = _("No changes: they already have this role.")
            return self.redirect_with_message(request, text, messages.WARNING, to=url)
        change = changed[0]
        if change.is_only_of_end:
            text = describe_end(change)
        else:
            text = describe_given(change)
        return self.redirect_with_message(request, text, to=url)


def list_factor_names(user):
    """Return the labels of the kinds of second factors that a person has."""
    names = {
        Authenticator.Type.WEBAUTHN: _("passkey"),
        Authenticator.Type.TOTP: _("authenticator app"),
    }
    rows = Authenticator.objects.filter(user=user, type__in=FACTORS)
    kinds = set(rows.values_list("type", flat=True))
    return [name for kind, name in names.items() if kind in kinds]

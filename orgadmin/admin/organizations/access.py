"""The page that shows who can see an organization, and why."""

from django.utils.translation import gettext as _

from orgadmin.admin.lists.changelist import get_page
from orgadmin.gate.explain import find_reasons, summarize_reasons
from orgadmin.models import Membership, Organization, User
from orgadmin.models.naming import mark_namesakes


class OrganizationAccessPage:
    """The page access/ below an organization."""

    def access_view(self, request, organization):
        """Show who can see the organization, and why.

        Superusers see everyone who has access. Others see only the members. Both
        include inactive people, who would have access if they were active.
        """
        shows_everyone = request.user.is_superuser
        if shows_everyone:
            users = Organization.objects.find_viewers(organization.pk)
        else:
            members = Membership.objects.users_in(organization.group_ids)
            users = User.objects.filter(pk__in=members)
        page = get_page(request, users.order_by("sort_name", "pk"))
        reasons = find_reasons(page, [organization], members_only=not shows_everyone)
        mark_namesakes(page)
        for user in page:
            user.reasons = summarize_reasons(reasons[user.pk, organization.pk])
        return self.render_page(
            request,
            organization,
            "access",
            _("Access"),
            page=page,
            shows_everyone=shows_everyone,
        )

"""The page with requests for access, and with the link that people use to ask."""

from django.conf import settings
from django.contrib import messages
from django.urls import reverse
from django.utils.translation import gettext as _, gettext_lazy

from orgadmin.admin.lists.changelist import get_page
from orgadmin.admin.members.end_field import EndField
from orgadmin.admin.members.forms import ReasonForm, RoleForm
from orgadmin.admin.quotes import quote
from orgadmin.gate.answers import get_gate
from orgadmin.models import AccessLink
from orgadmin.models.access_request import LIFETIME
from orgadmin.models.validators import is_primary_key
from orgadmin.people import access_requests
from orgadmin.people.changes import MembershipEnd

# The number of requests on a page.
REQUESTS_PER_PAGE = 50

REQUEST_GONE = gettext_lazy(
    "Nothing was changed: someone else has answered this request, it has expired, or"
    " the account no longer exists or is deactivated."
)


class ApproveForm(RoleForm):
    """Asks for a role and, if the role is temporary, for its last day."""

    ends_on = EndField()

    def get_end(self):
        return MembershipEnd(self.cleaned_data["ends_on"])


class DeclineForm(ReasonForm):
    """Asks why a request is declined. The person who asked for it sees the reason."""

    def __init__(self, data=None):
        super().__init__(data)
        self.fields["reason"].label = _("Reason (optional, the person reads it):")


class RequestsPage:
    """The page requests/ below an organization."""

    def requests_view(self, request, organization):
        """Show the link and the open requests, or handle a button of that page.

        ?request=<key> shows the page on which one request is answered.
        """
        post = request.POST
        if "make_link" in post:
            return self._make_link(request, organization)
        if "remove_link" in post:
            return self._remove_link(request, organization)
        pk = post.get("request") or request.GET.get("request", "")
        if not is_primary_key(pk):
            return self._show_requests(request, organization)
        asked = find_open(organization).filter(pk=pk).first()
        if asked is None:
            return self._respond_to_gone(request, organization)
        try:
            return self._answer(request, organization, asked)
        except access_requests.RequestGone:
            return self._respond_to_gone(request, organization)

    def _show_requests(self, request, organization, link=""):
        """Show the page. `link` is a newly created link, which is shown only once."""
        return self.render_page(
            request,
            organization,
            "requests",
            _("Requests for access"),
            page=get_page(request, find_open(organization), size=REQUESTS_PER_PAGE),
            access_link=AccessLink.objects.filter(organization=organization).first(),
            new_link=link,
            lifetime=LIFETIME.days,
        )

    def _respond_to_gone(self, request, organization):
        url = self.get_page_url("requests", organization)
        return self.redirect_with_message(request, REQUEST_GONE, messages.WARNING, url)

    # The link

    def _make_link(self, request, organization):
        token = access_requests.make_link(organization, actor=request.user)
        path = reverse("request_access", args=[token])
        return self._show_requests(request, organization, settings.BASE_URL + path)

    def _remove_link(self, request, organization):
        access_requests.remove_link(organization, actor=request.user)
        text = _("The link was switched off. Nobody can use it any more.")
        return self.redirect_with_message(request, text)

    # Answers

    def _answer(self, request, organization, asked):
        """Approve or decline a request, or show the page that asks for an answer.

        Raises `RequestGone` if the request can no longer be answered.
        """
        permissions = get_gate(request).permissions_on(organization.pk)
        post = request.POST
        roles_form = ApproveForm(
            post if "approve" in post else None, permissions=permissions
        )
        roles_form.initial["role"] = choose_role(asked, roles_form)
        decline_form = DeclineForm(post if "decline" in post else None)
        if roles_form.is_valid():
            return self._approve(request, asked, roles_form)
        if decline_form.is_valid():
            return self._decline(request, asked, decline_form.cleaned_data["reason"])
        title = _("Answer the request of %s?") % quote(asked.user.label)
        return self.render_page(
            request,
            organization,
            "answer_request",
            title,
            asked=asked,
            roles_form=roles_form,
            form=decline_form,
        )

    def _approve(self, request, asked, form):
        role = access_requests.approve(
            asked,
            form.cleaned_data["role"],
            end=form.get_end(),
            actor=request.user,
        )
        text = _("“%(person)s” now has the role %(role)s in “%(organization)s”.")
        values = {
            "person": asked.user,
            "role": role.label,
            "organization": asked.organization,
        }
        url = self.get_page_url("people", asked.organization)
        return self.redirect_with_message(request, text % values, to=url)

    def _decline(self, request, asked, reason):
        access_requests.decline(asked, reason, actor=request.user)
        text = _("The request of “%s” was declined.") % asked.user
        url = self.get_page_url("requests", asked.organization)
        return self.redirect_with_message(request, text, to=url)


def find_open(organization):
    """Return the open requests of an organization with their users, oldest first."""
    requests = organization.access_requests.open()
    # Usually, there are no requests. A query that does not join the users is then
    # cheaper.
    return requests.prefetch_related("user").order_by("asked_at", "pk")


def choose_role(asked, form):
    """Return the key of the role to preselect in the form.

    This is the role that the person asked for, or else the one with the fewest
    permissions. Returns "" if the form does not offer any role.
    """
    keys = [key for key, _label in form.fields["role"].choices]
    if asked.role in keys:
        return asked.role
    return form.default_role

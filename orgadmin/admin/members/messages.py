"""The messages and questions of the People page about changes."""

from django.utils.translation import gettext as _, gettext_lazy, ngettext

from orgadmin.access.ends import show_end
from orgadmin.admin.quotes import list_quoted, quote

NO_MEMBER = gettext_lazy("No changes: this person is not a member.")

PAST_END = gettext_lazy(
    "Nothing was saved, because this last day of access has passed. Choose a later day."
)

PAST_OFFER = gettext_lazy(
    "No invitation was sent, because the access that it offers has already ended."
    " Invite the person again, with a later end."
)


def title_question(assignment):
    """Return the title of the page that asks whether to change or remove people."""
    organization = quote(assignment.organization)
    if assignment.role is not None:
        return _("Change role in %s?") % organization
    if len(assignment.users) == 1:
        values = {
            "person": quote(assignment.users[0].label_without_email),
            "organization": organization,
        }
        return _("Remove %(person)s from %(organization)s?") % values
    return _("Remove people from %s?") % organization


def describe_invitations(emails):
    """Return the message that invitations were sent.

    The message does not reveal whether an account with one of the addresses exists.
    """
    text = ngettext(
        "An invitation is on its way to %s.",
        "Invitations are on their way to %s.",
        len(emails),
    )
    return text % list_quoted(emails)


def describe_change(assignment):
    """Return the message about an assignment that was carried out."""
    names = list_quoted(user.label_without_email for user in assignment.users)
    if assignment.role is None:
        text = ngettext(
            "%(names)s was removed from “%(organization)s”.",
            "%(names)s were removed from “%(organization)s”.",
            len(assignment.users),
        )
        return text % {"names": names, "organization": assignment.organization}
    text = ngettext(
        "%(names)s is now %(role)s of “%(organization)s”.",
        "%(names)s now have the role %(role)s in “%(organization)s”.",
        len(assignment.users),
    )
    values = {
        "names": names,
        "role": assignment.role.label,
        "organization": assignment.organization,
    }
    if assignment.ends_at is None:
        return text % values
    end = _("Access ends on %s.") % show_end(assignment.ends_at)
    return f"{text % values} {end}"


def describe_given(change):
    """Return the message about a role that was given to one person."""
    values = {
        "person": quote(change.user.label),
        "role": change.role.label,
        "organization": quote(change.organization),
    }
    text = _("%(person)s is now %(role)s of %(organization)s.") % values
    if change.ends_at is None:
        return text
    end = _("Access ends on %s.") % show_end(change.ends_at)
    return f"{text} {end}"


def describe_no_change(assignment):
    """Return the message about an assignment that did not change anything."""
    if assignment.role is None or not assignment.users:
        return NO_MEMBER
    return _("No changes: they already have this role.")

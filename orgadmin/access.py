"""Who may enter, the rule's answers remembered for one request, and why somebody may or may not."""

from collections import defaultdict, namedtuple

from django.contrib.auth.models import Group
from django.utils.translation import gettext as _

from .models import Organization, User
from .roles import ACTIONS, ROLES

Explanation = namedtuple("Explanation", "may lines")


class Gate:
    """The rule's answers about one person. Lives as long as a request: the next one asks anew."""

    def __init__(self, user):
        self.user, self._any, self._rights = user, {}, {}

    @property
    def may_enter(self):
        """Whether the person may enter the admin: active, and platform staff or holding a right on an organization."""
        return self.user.is_active and (
            self.user.is_superuser or self.user.is_staff or self.holds_any("view")
        )

    def holds_any(self, action):
        """Whether there is an organization on which the person holds the right.
        Whoever may change one may view it: both questions are one query for org admins, two for reviewers."""
        if action not in self._any:
            self._any[action] = (
                any(
                    action in rights
                    for rights in (self.find_rights(None), *self._rights.values())
                )
                or (action == "view" and self.holds_any("change"))
                or Organization.objects.permitted(self.user, action).exists()
            )
        return self._any[action]

    def permits(self, action, pk):
        return action in self.find_rights(pk)

    def find_rights(self, pk):
        """Return the rights that the person holds on the organization `pk`, None for every one: at most one query."""
        if pk not in self._rights:
            self._rights[pk] = Organization.objects.permitted_actions(self.user, pk)
        return self._rights[pk]


def gate_of(request, anew=False):
    """Return the gate of the request's user, kept on the request; with `anew`, one that remembers no answer."""
    gate = getattr(request, "_gate", None)
    if anew or gate is None or gate.user is not request.user:
        gate = request._gate = Gate(request.user)
    return gate


def holds_more(user, than):
    """Tell whether `user`, were they active, may do anything that `than` may not: on the site or on an organization.
    Whoever sets somebody's password can act as that person, so nobody may edit a person who holds more."""
    if than.is_superuser:
        return False
    user = activate(user)  # a deactivated account can be activated
    if user.is_superuser or user.get_all_permissions() - than.get_all_permissions():
        return True
    rows = Organization.objects.order_by()
    more = (
        rows.permitted(user, act).exclude(pk__in=rows.permitted(than, act).values("pk"))
        for act in ACTIONS
    )
    return any(organizations.exists() for organizations in more)


def activate(user):
    """Return the user as if active, with no permissions remembered."""
    return User(
        pk=user.pk,
        is_active=True,
        is_staff=user.is_staff,
        is_superuser=user.is_superuser,
    )


def explain(user, organization, action="view"):
    """Explain why `user` may, or may not, do `action` with `organization`. Computed by the rule that enforces."""
    may = action in Organization.objects.permitted_actions(user, organization.pk)
    paths = find_paths([user], [organization])[user.pk, organization.pk]
    lines = [
        f"{right}: {'; '.join(paths.get(right) or [_('no path')])}"
        for right in dict.fromkeys(["view", action])
    ]
    if not user.is_active:
        lines.append(_("But the account is inactive, so nothing counts."))
    elif action in paths and "view" not in paths:
        lines.append(_("But no right counts without the right to view."))
    return Explanation(may, lines)


def find_paths(users, organizations, *, members_only=False):
    """Return {(user id, organization id): {right: [sentence]}}: by which paths people have rights, active or not.
    With `members_only`, only through the organization's own groups. Two queries, and those for staff's permissions."""
    organizations = {organization.pk: organization for organization in organizations}
    sources = Organization.objects.find_sources(
        [activate(user) for user in users], list(organizations)
    )
    found = {
        source.group
        for rights in sources.values()
        for held in rights.values()
        for source in held
    }
    groups, paths = Group.objects.in_bulk(found - {None}), defaultdict(dict)
    for (user, pk), rights in sources.items():
        for right, held in rights.items() if pk else ():
            told = [
                source
                for source in held
                if not members_only or source.group in organizations[pk].group_ids
            ]
            paths[user, pk][right] = [
                _describe(source, organizations[pk], groups) for source in told
            ]
    return paths


def describe_paths(paths):
    """Return the sentences of {right: [sentence]}, each once, with what it lets people do: [(sentence, [text])]."""
    rights = defaultdict(list)
    for right, text in ACTIONS.items():
        for sentence in paths.get(right, ()):
            rights[sentence].append(text)
    return list(rights.items())


def _describe(source, organization, groups):
    if role := dict(zip(organization.group_ids, ROLES)).get(source.group):
        return _("is in its %(role)s group") % {"role": role.label}
    return {
        "superuser": _("is a superuser"),
        "model": _("is staff and holds the permission for all organizations"),
        "group": _("is in the group “%s”, which was granted it")
        % groups.get(source.group),
        "person": _("was granted it in person"),
    }[source.kind]

"""Why somebody may or may not."""

from collections import defaultdict, namedtuple

from django.contrib.auth.models import Group
from django.utils.translation import gettext as _

from orgadmin.access.roles import ACTIONS, ROLES
from orgadmin.gate.answers import activate
from orgadmin.models import Organization

Explanation = namedtuple("Explanation", "may lines")


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

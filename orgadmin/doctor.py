"""Finds what breaks the promises about organizations and their groups, and mends it."""

from collections import defaultdict
from dataclasses import dataclass

from django.contrib.auth import get_permission_codename
from django.contrib.auth.models import Group
from django.db import models, transaction
from django.utils.translation import gettext as _

from .groups import create_groups, give_names
from .ledger import Event, append
from .models import (
    MembershipEvent,
    Organization,
    OrganizationGroupObjectPermission,
    OrganizationUserObjectPermission,
    User,
)
from .permissions import grant_permissions
from .roles import ADMIN, ROLES, ROLES_BY_KEY, is_generated

BATCH = 1_000  # organizations in one transaction


@dataclass(frozen=True)
class Finding:
    """What is wrong (`error`), or worth knowing, about one organization."""

    kind: str
    text: str
    organization: Organization
    error: bool = True


def examine(*, fix=False):
    """Yield a Finding for all that is wrong or worth knowing; with `fix`, the errors are mended when they are yielded.

    Some ten queries for 1,000 organizations; memory for one batch. A batch is mended in one transaction.
    """
    rows = Organization.objects.select_related(*(role.key for role in ROLES)).order_by("pk")
    last = 0
    while True:
        with transaction.atomic():
            batch = list(rows.filter(pk__gt=last)[:BATCH])
            findings = _Batch(batch, fix).run() if batch else []
        yield from findings
        if not batch:
            return
        last = batch[-1].pk


class _Batch:
    def __init__(self, organizations, fix):
        self.organizations, self.fix, self.findings = organizations, fix, []
        self.by_pk = {organization.pk: organization for organization in organizations}

    def run(self):
        self._find_shared_groups()
        self.owners = {
            getattr(organization, role.attname): (organization, role)
            for organization in self.organizations
            for role in ROLES
        }
        self._find_names()
        self._find_grants()
        self._find_model_permissions()
        self._compare_with_ledger()
        self._note_grants()
        self._note_members()
        return self.findings

    def _error(self, kind, text, organization):
        self.findings.append(Finding(kind, text, organization))

    def _note(self, kind, text, organization):
        self.findings.append(Finding(kind, text, organization, error=False))

    def _find_shared_groups(self):
        """A group that is the admin group of one organization and the reviewer group of another."""
        reviewers = {organization.reviewer_id: organization for organization in self.organizations}
        for group in Group.objects.filter(administrators_of__isnull=False, pk__in=reviewers):
            organization = reviewers[group.pk]
            self._error(
                "shared group", _("its reviewer group is the admin group of another organization"), organization
            )
            if self.fix:  # a new group, without members: they were let into the other organization
                fresh = Organization(name=organization.name)
                create_groups([fresh], using="default")
                fresh.admin.delete()
                models.QuerySet.update(Organization.objects.filter(pk=organization.pk), reviewer=fresh.reviewer_id)
                organization.reviewer = fresh.reviewer

    def _find_names(self):
        for organization in self.organizations:
            groups = {role: getattr(organization, role.key) for role in ROLES}
            wrong = {}
            for role, group in groups.items():
                if is_generated(group.name, organization.name, role, organization.pk):
                    continue
                if group.name.endswith(f" {role.suffix}"):
                    self._error("name", _("its group “%s” does not carry its name") % group, organization)
                    wrong[role] = group.pk
                else:
                    self._note("name by hand", _("its group “%s” was named by hand") % group, organization)
            if wrong and self.fix:
                give_names(organization, wrong, using="default")

    def _find_grants(self):
        held = defaultdict(set)
        grants = OrganizationGroupObjectPermission.objects.filter(group__in=self.owners)
        for group, pk, codename in grants.values_list("group", "content_object", "permission__codename"):
            held[group].add((pk, codename))
        broken = {}
        for group, (organization, role) in self.owners.items():
            codenames = {get_permission_codename(action, Organization._meta) for action in role.actions}
            expected = {(organization.pk, codename) for codename in codenames}
            for what, difference in (
                (_("lacks"), expected - held[group]),
                (_("holds too much"), held[group] - expected),
            ):
                if difference:
                    names = ", ".join(f"{codename} ({pk})" for pk, codename in sorted(difference))
                    text = _("its %(role)s group %(what)s: %(names)s")
                    values = {"role": role.label.lower(), "what": what, "names": names}
                    self._error("grants", text % values, organization)
                    broken[organization.pk] = organization
        if broken and self.fix:
            own = [pk for organization in broken.values() for pk in organization.group_ids]
            grants.filter(group__in=own).delete()
            grant_permissions(Organization, list(broken), using="default")

    def _find_model_permissions(self):
        through = Group.permissions.through.objects.filter(group__in=self.owners)
        for group, codename in through.values_list("group", "permission__codename"):
            organization, role = self.owners[group]
            text = _("its %(role)s group holds %(codename)s on everything") % {"role": role.label, "codename": codename}
            self._error("model-level permission", text, organization)
        if self.fix:
            through.delete()

    def _compare_with_ledger(self):
        """What reached the table of memberships behind everybody's back."""
        memberships = User.groups.through.objects.filter(group__in=self.owners)
        there, told = {}, {}
        for user, name, group in memberships.values_list("user", "user__username", "group"):
            organization, role = self.owners[group]
            there[user, organization.pk, role] = name
        for event in MembershipEvent.objects.filter(organization_key__in=self.by_pk).members_on():
            told[event.user_key, event.organization_key, ROLES_BY_KEY[event.role]] = event.user_name
        for event, members, others, text in (
            (Event.FOUND, there, told, _("the ledger does not know that %(user)s is in its %(role)s group")),
            (Event.LEFT, told, there, _("the ledger does not know that %(user)s left its %(role)s group")),
        ):
            events = []
            for user, pk, role in members.keys() - others.keys():
                name, organization = members[user, pk, role], self.by_pk[pk]
                self._error("ledger", text % {"user": name, "role": role.label.lower()}, organization)
                events.append((event, (user, name), (pk, organization.name), role))
            if self.fix:
                append(events, reason=_("Found by the doctor."))

    def _note_grants(self):
        users = OrganizationUserObjectPermission.objects.filter(content_object__in=self.by_pk)
        for pk, codename, user in users.values_list("content_object", "permission__codename", "user__username"):
            self._note(
                "direct grant", _("%(who)s was granted %(what)s") % {"who": user, "what": codename}, self.by_pk[pk]
            )
        groups = OrganizationGroupObjectPermission.objects.filter(content_object__in=self.by_pk)
        groups = groups.exclude(group__in=self.owners)
        for pk, codename, group in groups.values_list("content_object", "permission__codename", "group__name"):
            self._note(
                "grant of another group",
                _("“%(who)s” was granted %(what)s") % {"who": group, "what": codename},
                self.by_pk[pk],
            )

    def _note_members(self):
        memberships = User.groups.through.objects.filter(group__in=self.owners)
        active = set(memberships.filter(user__is_active=True).values_list("group", flat=True))
        for organization in self.organizations:
            if getattr(organization, ADMIN.attname) not in active:
                self._note("no active admin", _("nobody looks after it"), organization)
        for group, user in memberships.filter(user__is_active=False).values_list("group", "user__username"):
            organization, role = self.owners[group]
            text = _("%(user)s is in its %(role)s group and cannot sign in")
            self._note("inactive member", text % {"user": user, "role": role.label.lower()}, organization)

"""Finds what breaks the promises about organizations and their groups, and mends it."""

from collections import defaultdict, namedtuple
from functools import partial

from django.contrib.auth import get_permission_codename
from django.contrib.auth.models import Group
from django.db import models, transaction
from django.utils.translation import gettext_noop as _

from orgadmin.access.groups import (
    NameSeries,
    find_free_names,
    give_generated_names,
    grant_permissions,
)
from orgadmin.access.membership_log import Event, MembershipChange, write_changes
from orgadmin.access.roles import ADMIN, ROLES, ROLES_BY_KEY, is_generated
from orgadmin.models import (
    MembershipEvent,
    Organization,
    OrganizationGroupObjectPermission,
    OrganizationUserObjectPermission,
)
from orgadmin.people.membership import Membership

BATCH = 1_000  # organizations in one transaction


# What is wrong (`error`), or worth knowing, about one organization.
Issue = namedtuple("Finding", "kind text organization error", defaults=[True])


note = partial(Issue, error=False)


def examine(*, fix=False):
    """Yield a Issue for all that is wrong or worth knowing; with `fix`, the errors are mended when they are yielded.
    Some ten queries for 1,000 organizations; memory for one batch. A batch is mended in one transaction."""
    rows, last = (
        Organization.objects.select_related(*(role.key for role in ROLES)).order_by(
            "pk"
        ),
        0,
    )
    while last is not None:
        with transaction.atomic():
            batch = list(rows.filter(pk__gt=last)[:BATCH])
            findings = _Batch(batch, fix).run()
        yield from findings
        last = batch[-1].pk if batch else None


class _Batch:
    def __init__(self, organizations, fix):
        self.organizations, self.fix = organizations, fix
        self.by_pk = {organization.pk: organization for organization in organizations}

    def run(self):
        findings = list(self._find_shared_groups())
        self.owners = {
            getattr(row, role.attname): (row, role)
            for row in self.organizations
            for role in ROLES
        }
        members = Membership.objects.filter(group__in=self.owners)
        members = members.values_list(
            "group", "user", "user__username", "user__is_active"
        )
        self.members = [(*self.owners[group], *user) for group, *user in members]
        for find in (
            self._find_names,
            self._find_grants,
            self._find_model_permissions,
            self._compare_with_ledger,
        ):
            findings += find()
        return [
            *findings,
            *self._find_texts(),
            *self._note_grants(),
            *self._note_members(),
        ]

    def _find_shared_groups(self):
        """A group that is the admin group of one organization and the reviewer group of another."""
        reviewers = {
            organization.reviewer_id: organization
            for organization in self.organizations
        }
        for group in Group.objects.filter(
            administrators_of__isnull=False, pk__in=reviewers
        ):
            organization = reviewers[group.pk]
            yield Issue(
                "shared group",
                "its reviewer group is the admin group of another organization",
                organization,
            )
            if self.fix:  # a new group, without members: they were let into the other organization
                [name] = find_free_names(
                    [NameSeries.of(organization.name, ROLES_BY_KEY["reviewer"])],
                    using="default",
                )
                organization.reviewer = Group.objects.create(name=name)
                models.QuerySet.update(
                    Organization.objects.filter(pk=organization.pk),
                    reviewer=organization.reviewer,
                )

    def _find_names(self):
        for organization in self.organizations:
            wrong = {}
            for role in ROLES:
                group = getattr(organization, role.key)
                fits = is_generated(
                    group.name, organization.name, role, organization.pk
                )
                if not fits and group.name.endswith(f" {role.suffix}"):
                    yield Issue(
                        "name",
                        f"its group “{group}” does not carry its name",
                        organization,
                    )
                    wrong[role] = group.pk
                elif not fits:
                    yield note(
                        "name by hand",
                        f"its group “{group}” was named by hand",
                        organization,
                    )
            if self.fix and wrong:
                give_generated_names(organization, wrong, using="default")

    def _find_grants(self):
        held, broken = defaultdict(set), set()
        grants = OrganizationGroupObjectPermission.objects.filter(group__in=self.owners)
        for group, pk, codename in grants.values_list(
            "group", "content_object", "permission__codename"
        ):
            held[group].add((pk, codename))
        for group, (organization, role) in self.owners.items():
            expected = {
                (organization.pk, get_permission_codename(act, Organization._meta))
                for act in role.permissions
            }
            for what, difference in (
                ("lacks", expected - held[group]),
                ("holds too much", held[group] - expected),
            ):
                if difference:
                    names = ", ".join(
                        f"{codename} ({pk})" for pk, codename in sorted(difference)
                    )
                    yield Issue(
                        "grants", f"its {role.key} group {what}: {names}", organization
                    )
                    broken.add(organization)
        if broken and self.fix:
            grants.filter(
                group__in=[
                    pk for organization in broken for pk in organization.group_ids
                ]
            ).delete()
            grant_permissions(broken, using="default")

    def _find_model_permissions(self):
        through = Group.permissions.through.objects.filter(group__in=self.owners)
        for group, codename in through.values_list("group", "permission__codename"):
            organization, role = self.owners[group]
            yield Issue(
                "model-level permission",
                f"its {role.key} group holds {codename} on all",
                organization,
            )
        if self.fix:
            through.delete()

    def _compare_with_ledger(self):
        """What reached the table of memberships behind everybody's back."""
        there = {
            (user, row.pk, role): name
            for row, role, user, name, _active in self.members
        }
        told = MembershipEvent.objects.filter(
            organization_key__in=self.by_pk
        ).members_on()
        told = {
            (
                event.user_key,
                event.organization_key,
                ROLES_BY_KEY[event.role],
            ): event.user_name
            for event in told
        }
        for event, members, others, what in (
            (Event.FOUND, there, told, "is in"),
            (Event.LEFT, told, there, "left"),
        ):
            events = []
            for user, pk, role in members.keys() - others.keys():
                name, organization = members[user, pk, role], self.by_pk[pk]
                yield Issue(
                    "ledger",
                    f"the ledger does not tell that {name} {what} its {role.key}s",
                    organization,
                )
                events.append(
                    MembershipChange(event, user, name, pk, organization.name, role)
                )
            if self.fix:
                write_changes(events, reason=_("Found by the doctor."))

    def _find_texts(self):
        """What a release without the search text saved, beside one that has it."""
        field = Organization._meta.get_field("search_text")
        stale = [
            row for row in self.organizations if row.search_text != field.compute(row)
        ]
        for organization in stale:
            yield Issue(
                "search text",
                "searching does not find it by what it says now",
                organization,
            )
        if self.fix:
            Organization.objects.write_search_text([row.pk for row in stale], {"name"})

    def _note_grants(self):
        users = OrganizationUserObjectPermission.objects.filter(
            content_object__in=self.by_pk
        )
        groups = OrganizationGroupObjectPermission.objects.filter(
            content_object__in=self.by_pk
        )
        groups = groups.exclude(group__in=self.owners)
        kinds = (
            ("direct grant", users, "user__username"),
            ("grant of another group", groups, "group__name"),
        )
        for kind, grants, who in kinds:
            for pk, codename, name in grants.values_list(
                "content_object", "permission__codename", who
            ):
                yield note(kind, f"“{name}” was granted {codename}", self.by_pk[pk])

    def _note_members(self):
        tended = {
            getattr(row, role.attname)
            for row, role, _user, _name, active in self.members
            if active
        }
        for organization in self.organizations:
            if getattr(organization, ADMIN.attname) not in tended:
                yield note("no active admin", "nobody looks after it", organization)
        for organization, role, _user, name, active in self.members:
            if not active:
                yield note(
                    "inactive member",
                    f"{name} is in its {role.key} group and cannot sign in",
                    organization,
                )

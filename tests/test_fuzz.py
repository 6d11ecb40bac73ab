"""Random events in the life of organizations and people, checked against a model.

The model is a second, much simpler implementation of the access rule.
"""

import os
from dataclasses import dataclass, field

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.test import Client, TestCase
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orgadmin.access.roles import PERMISSIONS, ROLES
from orgadmin.gate.explain import explain
from orgadmin.models import Organization, User
from orgadmin.people.membership import set_groups
from tests.factories import NO_CONTACTS, create_user, grant, set_role

LIST = "/admin/orgadmin/organization/"
EXAMPLES = int(os.environ.get("FUZZ", "10"))
PEOPLE = range(4)
PEOPLE_STRATEGY = st.sampled_from(PEOPLE)

# Ids of organizations. There are few, so that they are used again after a deletion.
IDS = (1, 2, 3)
IDS_STRATEGY = st.sampled_from(IDS)

ROLE_PERMISSIONS = {
    "admin": {"view", "change", "view_confidential", "manage_members"},
    "reviewer": {"view"},
}

# Pages of an organization, and the permission that each requires.
PAGES = {"change": "view", "history": "view", "delete": "delete"}


@dataclass
class PersonModel:
    active: bool = True
    staff: bool = False
    superuser: bool = False
    model_permissions: set = field(default_factory=set)


class AccessModel:
    """Says who has which permissions."""

    def __init__(self):
        self.people = [PersonModel() for _ in PEOPLE]
        self.names = {}  # {organization id: name}
        self.roles = {}  # {(person, organization id): key of the role, or None}
        self.grants = set()  # {(person, organization id, permission)}

    def permissions(self, person, pk):
        facts = self.people[person]
        if not facts.active or pk not in self.names:
            return set()
        if facts.superuser:
            return set(PERMISSIONS)
        permissions = set(ROLE_PERMISSIONS.get(self.roles.get((person, pk)), ()))
        if facts.staff:
            permissions |= facts.model_permissions
        for permission in PERMISSIONS:
            if (person, pk, permission) in self.grants:
                permissions.add(permission)
        return permissions if "view" in permissions else set()

    def forget(self, pk):
        self.names.pop(pk, None)
        for person in PEOPLE:
            self.roles.pop((person, pk), None)
            for permission in PERMISSIONS:
                self.grants.discard((person, pk, permission))

    def may_enter(self, person):
        facts = self.people[person]
        if not facts.active:
            return False
        sees_any = any(self.permissions(person, pk) for pk in self.names)
        return facts.superuser or facts.staff or sees_any


class Life(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.transaction = transaction.atomic()
        self.transaction.__enter__()
        self.users = [create_user(f"user{person}") for person in PEOPLE]
        self.model = AccessModel()

    def teardown(self):
        transaction.set_rollback(True)
        self.transaction.__exit__(None, None, None)

    def find(self, pk):
        """Return the organization, or None if it does not exist."""
        return Organization.objects.filter(pk=pk).first()

    def reload(self, person):
        return User.objects.get(pk=self.users[person].pk)

    def sign_in(self, person):
        client = Client()
        client.force_login(self.reload(person))
        return client

    # What happens to organizations

    @rule(pk=IDS_STRATEGY, name=st.sampled_from(["Acme", "Beta"]))
    def create(self, pk, name):
        if pk not in self.model.names:
            Organization.objects.create(pk=pk, name=name)
            self.model.names[pk] = name

    @rule(pk=IDS_STRATEGY, name=st.sampled_from(["Acme", "Gamma", "x" * 60]))
    def rename(self, pk, name):
        organization = self.find(pk)
        if organization:
            organization.name = name
            organization.save()
            self.model.names[pk] = name

    @rule(pk=IDS_STRATEGY)
    def delete_instance(self, pk):
        organization = self.find(pk)
        if organization:
            organization.delete()
            self.model.forget(pk)

    @rule(pk=IDS_STRATEGY)
    def delete_queryset(self, pk):
        Organization.objects.filter(pk=pk).delete()
        self.model.forget(pk)

    # What happens to people

    @rule(person=PEOPLE_STRATEGY, pk=IDS_STRATEGY, role=st.sampled_from([*ROLES, None]))
    def change_role(self, person, pk, role):
        organization = self.find(pk)
        if organization:
            set_role(organization, [self.users[person]], role)
            self.model.roles[person, pk] = role.key if role else None

    @rule(person=PEOPLE_STRATEGY, pk=IDS_STRATEGY, role=st.sampled_from(ROLES))
    def add_group(self, person, pk, role):
        organization = self.find(pk)
        if organization:
            user = self.users[person]
            group = getattr(organization, role.key)
            set_groups(user, {*user.groups.all(), group}, actor=None)
            self.model.roles[person, pk] = role.key

    @rule(
        person=PEOPLE_STRATEGY,
        pk=IDS_STRATEGY,
        permission=st.sampled_from(["view", "change", "view_confidential"]),
    )
    def grant_on_organization(self, person, pk, permission):
        key = (person, pk, permission)
        organization = self.find(pk)
        if organization and key not in self.model.grants:
            grant(self.users[person], f"{permission}_organization", organization)
            self.model.grants.add(key)

    @rule(
        person=PEOPLE_STRATEGY, permission=st.sampled_from(["view", "change", "delete"])
    )
    def grant_everywhere(self, person, permission):
        stored = Permission.objects.get(codename=f"{permission}_organization")
        self.users[person].user_permissions.add(stored)
        self.model.people[person].model_permissions.add(permission)

    @rule(
        person=PEOPLE_STRATEGY,
        fact=st.sampled_from(["active", "staff", "superuser"]),
        value=st.booleans(),
    )
    def change_fact(self, person, fact, value):
        user = User.objects.filter(pk=self.users[person].pk)
        user.update(**{f"is_{fact}": value})
        setattr(self.model.people[person], fact, value)

    # What must hold

    @precondition(lambda self: self.model.names)
    @rule(person=PEOPLE_STRATEGY, pk=IDS_STRATEGY)
    def post(self, person, pk):
        """A posted form changes the organization only with the permission to do so."""
        permissions = self.model.permissions(person, pk)
        client = self.sign_in(person)
        data = {**NO_CONTACTS, "name": "Posted", "phone": "1"}
        response = client.post(f"{LIST}{pk}/change/", data)
        if pk in self.model.names:
            posted = Organization.objects.filter(pk=pk, name="Posted", phone="1")
            was_posted_before = self.model.names[pk] == "Posted"
            expected = "change" in permissions or was_posted_before
            assert posted.exists() == expected, (permissions, response)
            if "change" in permissions:
                self.model.names[pk] = "Posted"
        if not permissions:
            assert response.status_code in (302, 403), response

    @rule(person=PEOPLE_STRATEGY, pk=IDS_STRATEGY)
    def pages_and_explanation_agree(self, person, pk):
        permissions = self.model.permissions(person, pk)
        client = self.sign_in(person)
        may_enter = client.get("/admin/").status_code == 200
        assert may_enter == self.model.may_enter(person)
        for page, permission in PAGES.items():
            response = client.get(f"{LIST}{pk}/{page}/")
            is_open = response.status_code == 200
            assert is_open == (permission in permissions), page
        organization = self.find(pk)
        if organization:
            user = self.reload(person)
            for permission in PERMISSIONS:
                explanation = explain(user, organization, permission)
                assert explanation.may == (permission in permissions), permission

    @invariant()
    def lists_and_object_checks_agree(self):
        for person in PEOPLE:
            user = self.reload(person)
            for permission in PERMISSIONS:
                permitted = Organization.objects.permitted(user, permission)
                listed = set(permitted.values_list("pk", flat=True))
                expected = {
                    pk for pk in IDS if permission in self.model.permissions(person, pk)
                }
                assert listed == expected, (user, permission)
            for pk in self.model.names:
                permissions = Organization.objects.permissions_on(user, pk)
                assert permissions == self.model.permissions(person, pk), (user, pk)

    @invariant()
    def organizations_own_the_groups(self):
        pks = set(Organization.objects.values_list("pk", flat=True))
        assert pks == set(self.model.names)
        assert Group.objects.count() == 2 * len(pks)


class LifeTests(TestCase):
    def test_lists_object_checks_pages_and_explanations_agree_with_the_model(self):
        run_state_machine_as_test(
            Life,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=25,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

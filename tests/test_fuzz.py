"""A random life of organizations and people, held against a model of the rule of thirty lines."""

import os

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

from .factories import NO_CONTACTS, create_user, grant, set_role

LIST = "/admin/orgadmin/organization/"
PEOPLE = st.integers(0, 3)
PLACES = st.integers(1, 3)  # ids of organizations, used again and again
GRANTED = ("view", "change", "view_confidential")


class Model:
    """The rule, said again: who may do what."""

    RIGHTS = {
        "admin": {"view", "change", "view_confidential", "manage_members"},
        "reviewer": {"view"},
    }

    def __init__(self, people):
        self.people = {
            person: {"active": True, "super": False, "staff": False, "model": set()}
            for person in people
        }
        self.names = {}  # organization -> its name
        self.roles = {}  # (person, organization) -> role
        self.grants = set()  # (person, organization, right)

    def rights(self, person, organization):
        facts = self.people[person]
        if not facts["active"] or organization not in self.names:
            return set()
        if facts["super"]:
            return set(PERMISSIONS)
        rights = set(self.RIGHTS.get(self.roles.get((person, organization)), ()))
        rights |= facts["model"] if facts["staff"] else set()
        rights |= {
            right
            for who, where, right in self.grants
            if (who, where) == (person, organization)
        }
        return rights if "view" in rights else set()

    def forget(self, organization):
        self.names.pop(organization, None)
        self.roles = {
            key: role for key, role in self.roles.items() if key[1] != organization
        }
        self.grants = {key for key in self.grants if key[1] != organization}

    def may_enter(self, person):
        facts = self.people[person]
        sees = any(self.rights(person, organization) for organization in self.names)
        return facts["active"] and (facts["super"] or facts["staff"] or sees)


class Life(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.transaction = transaction.atomic()
        self.transaction.__enter__()
        self.users = [create_user(f"user{number}") for number in range(4)]
        self.model = Model(range(4))

    def teardown(self):
        transaction.set_rollback(True)
        self.transaction.__exit__(None, None, None)

    def get(self, organization):
        return Organization.objects.filter(pk=organization).first()

    @rule(organization=PLACES, name=st.sampled_from(["Acme", "Beta"]))
    def create(self, organization, name):
        if organization not in self.model.names:
            Organization.objects.create(pk=organization, name=name)
            self.model.names[organization] = name

    @rule(organization=PLACES, name=st.sampled_from(["Acme", "Gamma", "x" * 60]))
    def rename(self, organization, name):
        if found := self.get(organization):
            found.name = name
            found.save()
            self.model.names[organization] = name

    @rule(organization=PLACES, together=st.booleans())
    def delete(self, organization, together):
        if found := self.get(organization):
            (
                Organization.objects.filter(pk=organization) if together else found
            ).delete()
            self.model.forget(organization)

    @rule(person=PEOPLE, organization=PLACES, role=st.sampled_from([*ROLES, None]))
    def assign(self, person, organization, role):
        if found := self.get(organization):
            set_role(found, [self.users[person]], role)
            self.model.roles[person, organization] = role and role.key

    @rule(person=PEOPLE, organization=PLACES, role=st.sampled_from(ROLES))
    def assign_by_groups(self, person, organization, role):
        if found := self.get(organization):
            group = getattr(found, role.key)
            set_groups(self.users[person], {*self.users[person].groups.all(), group})
            self.model.roles[person, organization] = role.key

    @rule(person=PEOPLE, organization=PLACES, right=st.sampled_from(GRANTED))
    def grant_in_person(self, person, organization, right):
        if (found := self.get(organization)) and (
            person,
            organization,
            right,
        ) not in self.model.grants:
            codename = f"{right}_organization"
            grant(self.users[person], codename, found)
            self.model.grants.add((person, organization, right))

    @rule(
        person=PEOPLE,
        field=st.sampled_from(["active", "staff", "super"]),
        value=st.booleans(),
    )
    def flag(self, person, field, value):
        column = "is_superuser" if field == "super" else f"is_{field}"
        User.objects.filter(pk=self.users[person].pk).update(**{column: value})
        self.model.people[person][field] = value

    @rule(person=PEOPLE, right=st.sampled_from(["view", "change", "delete"]))
    def grant_everywhere(self, person, right):
        self.users[person].user_permissions.add(
            Permission.objects.get(codename=f"{right}_organization")
        )
        self.model.people[person]["model"].add(right)

    @precondition(lambda self: self.model.names)
    @rule(person=PEOPLE, organization=PLACES)
    def post(self, person, organization):
        rights = self.model.rights(person, organization)
        client = Client()
        client.force_login(self.users[person])
        response = client.post(
            f"{LIST}{organization}/change/",
            NO_CONTACTS | {"name": "Posted", "phone": "1"},
        )
        if organization in self.model.names:
            changed = Organization.objects.filter(
                pk=organization, name="Posted", phone="1"
            ).exists()
            assert changed == (
                "change" in rights or self.model.names[organization] == "Posted"
            ), (rights, response)
            if "change" in rights:
                self.model.names[organization] = "Posted"
        if not rights:
            assert response.status_code in (302, 403), response

    @invariant()
    def list_and_object_check_agree(self):
        for person, user in enumerate(self.users):
            user = User.objects.get(pk=user.pk)
            rights = {
                organization: self.model.rights(person, organization)
                for organization in (1, 2, 3)
            }
            for action in PERMISSIONS:
                listed = set(
                    Organization.objects.permitted(user, action).values_list(
                        "pk", flat=True
                    )
                )
                assert listed == {
                    pk for pk, held in rights.items() if action in held
                }, (user, action)
            for pk in self.model.names:
                assert Organization.objects.permissions_on(user, pk) == rights[pk], (
                    user,
                    pk,
                )

    @rule(person=PEOPLE, organization=PLACES)
    def pages_and_explanation_agree(self, person, organization):
        user, rights = (
            User.objects.get(pk=self.users[person].pk),
            self.model.rights(person, organization),
        )
        client = Client()
        client.force_login(user)
        assert (client.get("/admin/").status_code == 200) == self.model.may_enter(
            person
        )
        for page, right in (
            ("change", "view"),
            ("history", "view"),
            ("delete", "delete"),
        ):
            opened = client.get(f"{LIST}{organization}/{page}/").status_code == 200
            assert opened == (right in rights), page
        if found := self.get(organization):
            for action in PERMISSIONS:
                assert explain(user, found, action).may == (action in rights), action

    @invariant()
    def groups_are_whole(self):
        assert Group.objects.count() == 2 * len(self.model.names)
        assert set(Organization.objects.values_list("pk", flat=True)) == set(
            self.model.names
        )


class LifeTests(TestCase):
    def test_list_object_check_pages_and_explanation_agree_with_the_model(self):
        run_state_machine_as_test(
            Life,
            settings=settings(
                max_examples=int(os.environ.get("FUZZ", "10")),
                stateful_step_count=25,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

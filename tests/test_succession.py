"""When people leave, someone takes over their organizations."""

from datetime import timedelta
from functools import partial
from unittest import skipUnless

from django.db import connection
from django.test import TestCase, TransactionTestCase, override_settings, tag
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from orgadmin.models import Membership, MembershipEvent, Organization, User
from orgadmin.models.guards import LastAdminError
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.membership import change_roles, find_role
from orgadmin.people.offboarding import offboard
from orgadmin.people.succession import (
    SuccessionChanged,
    SuccessionRefused,
    SuccessorUnavailable,
    hand_over,
)
from tests.factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
)
from tests.mailing import queues_mail
from tests.together import run_together

USERS = "/admin/orgadmin/user/"


class SuccessionMixin:
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.acme = create_organization("Acme")
        cls.beta = create_organization("Beta")
        cls.shared = create_organization("Shared")
        cls.lea = create_user(
            "lea", email="lea@example.org", admin_of=[cls.acme, cls.beta, cls.shared]
        )
        cls.mary = create_user("mary", reviewer_of=[cls.acme])
        cls.tom = create_user("tom", admin_of=[cls.shared])
        cls.gone = create_user("gone", is_active=False)

    def setUp(self):
        self.client.force_login(self.root)

    def assert_nothing_changed(self):
        self.assertTrue(User.objects.get(pk=self.lea.pk).is_active)
        self.assertIs(find_role(self.acme, self.lea), ADMIN)
        self.assertIs(find_role(self.acme, self.mary), REVIEWER)


class HandOverTests(SuccessionMixin, TestCase):
    def test_a_reviewer_becomes_admin_and_the_log_says_why(self):
        offboard(
            self.lea,
            actor=self.root,
            successors={self.acme.pk: self.mary, self.beta.pk: self.tom},
        )
        self.assertIs(find_role(self.acme, self.mary), ADMIN)
        self.assertIs(find_role(self.beta, self.tom), ADMIN)
        self.assertFalse(User.objects.get(pk=self.lea.pk).is_active)
        event = MembershipEvent.objects.get(
            organization_key=self.beta.pk, user_key=self.tom.pk
        )
        self.assertEqual(event.reason, "Takes over from an admin who leaves.")

    @tag("C30")
    def test_someone_whose_access_would_end_takes_over_without_an_end(self):
        soon = timezone.now() + timedelta(days=3)
        change = RoleChange(self.mary, self.acme, REVIEWER, end=MembershipEnd(soon))
        change_roles([change])
        offboard(
            self.lea,
            actor=self.root,
            successors={self.acme.pk: self.mary},
            confirmed=[self.beta.pk],
        )
        membership = Membership.objects.get(user=self.mary, group=self.acme.admin_id)
        self.assertIsNone(membership.ends_at)

    def test_an_organization_without_successor_needs_confirmation(self):
        with self.assertRaises(LastAdminError):
            offboard(self.lea, actor=self.root, successors={self.acme.pk: self.mary})
        self.assert_nothing_changed()
        offboard(
            self.lea,
            actor=self.root,
            successors={self.acme.pk: self.mary},
            confirmed=[self.beta.pk],
        )
        self.assertIs(find_role(self.acme, self.mary), ADMIN)

    @tag("C30")
    def test_refuses_successors_who_cannot_administer(self):
        for user in (self.gone, self.lea):
            with self.subTest(user=user), self.assertRaises(SuccessorUnavailable):
                offboard(
                    self.lea,
                    actor=self.root,
                    successors={self.acme.pk: user},
                    confirmed=[self.acme.pk, self.beta.pk],
                )
            self.assert_nothing_changed()

    @tag("C30")
    def test_refuses_if_someone_else_became_admin(self):
        with self.assertRaises(SuccessionChanged):
            hand_over([self.lea], {self.shared.pk: self.mary}, actor=self.root)
        self.assertIsNone(find_role(self.shared, self.mary))

    @queues_mail()
    @override_settings(NOTIFY_ADMINS=True)
    def test_everyone_gets_one_mail(self):
        User.objects.filter(pk=self.mary.pk).update(
            email="mary@example.org", mail_people=False
        )
        offboard(
            self.lea,
            actor=self.root,
            successors={self.acme.pk: self.mary, self.beta.pk: self.mary},
        )
        paths = DBTaskResult.objects.values_list("task_path", flat=True)
        names = [path.rpartition(".")[2] for path in paths]
        self.assertEqual(names.count("tell_members"), 1)
        self.assertEqual(names.count("tell_admins"), 1)


@skipUnless(connection.vendor == "postgresql", "SQLite has one writer at a time")
class RaceTests(TransactionTestCase):
    @tag("C30")
    def test_a_successor_who_leaves_at_the_same_time(self):
        """The second person is refused: either order leaves an active admin."""
        root = create_superuser()
        for number in range(4):
            acme = create_organization(f"Acme {number}")
            lea = create_user(f"lea{number}", admin_of=[acme])
            mary = create_user(f"mary{number}", reviewer_of=[acme])
            with self.subTest(number=number):
                outcomes = run_together(
                    partial(self.try_to, lea, root, {acme.pk: mary}),
                    partial(self.try_to, mary, root, {}),
                )
                self.assertCountEqual(outcomes, [True, False])
                self.assertTrue(acme.admin.user_set.filter(is_active=True).exists())

    @tag("C30")
    def test_two_people_leave_to_each_other(self):
        root = create_superuser()
        for number in range(4):
            acme = create_organization(f"Acme {number}")
            beta = create_organization(f"Beta {number}")
            ann = create_user(f"ann{number}", admin_of=[acme])
            bob = create_user(f"bob{number}", admin_of=[beta])
            with self.subTest(number=number):
                outcomes = run_together(
                    partial(self.try_to, ann, root, {acme.pk: bob}),
                    partial(self.try_to, bob, root, {beta.pk: ann}),
                )
                self.assertCountEqual(outcomes, [True, False])
                for organization in (acme, beta):
                    admins = organization.admin.user_set.filter(is_active=True)
                    self.assertTrue(admins.exists())

    def try_to(self, user, actor, successors):
        try:
            offboard(user, actor=actor, successors=successors)
        except (LastAdminError, SuccessionRefused):
            return False
        return True


class LeavePageTests(SuccessionMixin, TestCase):
    def setUp(self):
        super().setUp()
        self.url = f"{USERS}{self.lea.pk}/leave/"

    def leave(self, **data):
        data.setdefault("successor_organizations", f"{self.acme.pk} {self.beta.pk}")
        return self.client.post(self.url, {"confirmed": "1", **data}, follow=True)

    def test_asks_who_takes_over_each_organization(self):
        response = self.client.get(self.url)
        self.assertContains(response, "Who takes over?")
        for organization in (self.acme, self.beta):
            self.assertContains(response, f'name="successor-{organization.pk}"')
        self.assertNotContains(response, f'name="successor-{self.shared.pk}"')

    def test_asks_nothing_about_someone_who_is_no_last_admin(self):
        response = self.client.get(f"{USERS}{self.mary.pk}/leave/")
        self.assertNotContains(response, "Who takes over?")

    def test_one_person_takes_over_all(self):
        self.assertContains(self.leave(successor="mary"), "was offboarded")
        self.assertIs(find_role(self.acme, self.mary), ADMIN)
        self.assertIs(find_role(self.beta, self.mary), ADMIN)
        self.assertIsNone(find_role(self.shared, self.mary))

    def test_each_can_have_someone_else(self):
        own = {f"successor-{self.beta.pk}": "tom"}
        self.assertContains(self.leave(successor="mary", **own), "was offboarded")
        self.assertIs(find_role(self.acme, self.mary), ADMIN)
        self.assertIs(find_role(self.beta, self.tom), ADMIN)
        self.assertIsNone(find_role(self.beta, self.mary))

    def test_nothing_happens_before_someone_is_chosen_or_it_is_confirmed(self):
        response = self.leave()
        self.assertContains(response, "Choose who takes over each organization")
        self.assert_nothing_changed()
        keys = f"{self.acme.pk} {self.beta.pk}"
        self.assertContains(self.leave(confirmed_organizations=keys), "was offboarded")
        self.assertIsNone(find_role(self.beta, self.lea))

    def test_says_beside_the_field_why_someone_cannot_take_over(self):
        unconfirmed = create_user("pat", email="pat@example.org")
        for name, text in {
            "nobody": "There is no account with the name or address “nobody”.",
            "gone": "The account of “gone” is inactive. Choose someone else.",
            "lea": "“lea@example.org” is leaving. Choose someone else.",
            "pat@example.org": f"enter #{unconfirmed.pk}.",
        }.items():
            with self.subTest(name=name):
                response = self.leave(successor=name)
                self.assertContains(response, text)
                self.assertContains(response, f'value="{name}"')
                self.assert_nothing_changed()

    def test_a_number_names_an_account(self):
        self.leave(successor=f"#{self.tom.pk}")
        self.assertIs(find_role(self.acme, self.tom), ADMIN)

    def test_a_new_organization_is_shown_before_anyone_gets_it(self):
        response = self.leave(
            successor="mary", successor_organizations=str(self.acme.pk)
        )
        self.assertContains(response, "have changed in the meantime")
        self.assert_nothing_changed()

    def test_queries_do_not_depend_on_the_number_of_organizations(self):
        with self.assertNumQueries(9):
            self.client.get(self.url)
        for number in range(20):
            organization = create_organization(f"More {number}")
            organization.admin.user_set.add(self.lea)
        with self.assertNumQueries(9):
            self.client.get(self.url)


class OtherPagesTests(SuccessionMixin, TestCase):
    """Each way in which a person can leave offers the same choice."""

    def test_deletion(self):
        url = f"{USERS}{self.lea.pk}/delete/"
        self.assertContains(self.client.get(url), 'name="successor"')
        shown = {"successor_organizations": f"{self.acme.pk} {self.beta.pk}"}
        response = self.client.post(
            url, {"post": "yes", "successor": "gone", **shown}, follow=True
        )
        self.assertContains(response, "The account of “gone” is inactive.")
        self.assert_nothing_changed()
        self.client.post(url, {"post": "yes", "successor": "mary", **shown})
        self.assertFalse(User.objects.filter(pk=self.lea.pk).exists())
        self.assertIs(find_role(self.beta, self.mary), ADMIN)

    def test_deletion_of_several(self):
        data = {
            "action": "delete_selected",
            "_selected_action": [self.lea.pk, self.tom.pk],
        }
        self.assertContains(self.client.post(USERS, data), 'name="successor"')
        pks = Organization.objects.values_list("pk", flat=True)
        shown = " ".join(str(pk) for pk in pks)
        data |= {"post": "yes", "successor_organizations": shown}
        self.client.post(USERS, data | {"successor": "tom"})
        self.assert_nothing_changed()
        self.client.post(USERS, data | {"successor": "mary"})
        for organization in (self.acme, self.beta, self.shared):
            self.assertIs(find_role(organization, self.mary), ADMIN)

    def test_erasure(self):
        url = f"{USERS}{self.lea.pk}/erase/"
        self.assertContains(self.client.get(url), 'name="successor"')
        shown = {"successor_organizations": f"{self.acme.pk} {self.beta.pk}"}
        self.client.post(url, {"username": "lea", "successor": "gone", **shown})
        self.assert_nothing_changed()
        self.client.post(url, {"username": "lea", "successor": "mary", **shown})
        self.assertFalse(User.objects.filter(username="lea").exists())
        self.assertIs(find_role(self.acme, self.mary), ADMIN)


class EditedPersonTests(SuccessionMixin, TestCase):
    """The form of a person asks the same before someone is deactivated."""

    def setUp(self):
        super().setUp()
        self.url = f"{USERS}{self.lea.pk}/change/"

    def save(self, **changes):
        form = self.client.get(self.url).context["adminform"].form
        data = {
            name: value
            for name, value in form.initial.items()
            if value not in (None, False) and name in form.fields
        }
        data["groups"] = [group.pk for group in form.initial["groups"]]
        data |= changes
        data = {name: value for name, value in data.items() if value is not None}
        return self.client.post(self.url, data)

    def test_deactivation(self):
        response = self.save(is_active=None)
        self.assertContains(response, "say below who takes over")
        keys = f"{self.acme.pk} {self.beta.pk}"
        for name, text in (("gone", "is inactive"), ("lea", "is leaving")):
            response = self.save(
                is_active=None, successor=name, confirmed_organizations=keys
            )
            self.assertContains(response, text)
            self.assert_nothing_changed()
        response = self.save(
            is_active=None, successor="mary", confirmed_organizations=keys
        )
        self.assertEqual(response.status_code, 302)
        self.assertFalse(User.objects.get(pk=self.lea.pk).is_active)
        self.assertIs(find_role(self.acme, self.mary), ADMIN)
        self.assertIs(find_role(self.beta, self.mary), ADMIN)

    def test_the_last_superuser_loses_roles(self):
        self.acme.admin.user_set.set([self.root])
        self.url = f"{USERS}{self.root.pk}/change/"
        response = self.save(
            groups=[], successor="mary", confirmed_organizations=str(self.acme.pk)
        )
        self.assertEqual(response.status_code, 302)
        self.assertIs(find_role(self.acme, self.mary), ADMIN)
        self.assertIsNone(find_role(self.acme, self.root))


class SuggestionTests(SuccessionMixin, TestCase):
    url = f"{USERS}suggest/"

    def test_superusers_get_people(self):
        response = self.client.get(self.url, {"suggest": "mar"})
        [found] = response.json()["suggestions"]
        self.assertEqual(found["name"], "mary")

    @tag("C31")
    def test_for_others_there_is_no_such_page(self):
        for user in (self.lea, self.mary):
            with self.subTest(user=user):
                self.client.force_login(user)
                response = self.client.get(self.url, {"suggest": "mar"})
                missing = self.client.get(f"{USERS}nothing/", {"suggest": "mar"})
                self.assertEqual(response.status_code, missing.status_code)
                self.assertEqual(
                    response["Location"],
                    missing["Location"].replace("nothing", "suggest"),
                )

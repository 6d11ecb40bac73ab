"""The doctor repairs a site while people work on it."""

import random
import threading
import time
from unittest import mock, skipUnless

from django.contrib.auth.models import Permission
from django.db import OperationalError, connection
from django.db.models import QuerySet
from django.test import TestCase, TransactionTestCase, tag

from orgadmin.models import MembershipEvent, Organization, User
from orgadmin.records.doctor import doctor
from orgadmin.records.doctor.key_check import examine_keys
from tests.factories import ADMIN, REVIEWER, create_organization, create_user, set_role

WRITERS = 8


class Writers:
    """Threads that change roles, rename, create and delete until they are stopped."""

    def __init__(self):
        self.stopped = threading.Event()
        self.errors = []
        self.changes = 0
        self.threads = [
            threading.Thread(target=self.work, args=[number])
            for number in range(WRITERS)
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def work(self, number):
        chance = random.Random(number)
        actions = [self.change_role] * 6
        actions += [self.use_manager, self.rename, self.replace, self.replace_user]
        try:
            while not self.stopped.is_set():
                try:
                    chance.choice(actions)(chance)
                    self.changes += 1
                except (Organization.DoesNotExist, User.DoesNotExist):
                    # Another writer has deleted it.
                    pass
                except OperationalError as error:
                    if error.__cause__.sqlstate != "40P01":
                        raise
        except Exception as error:
            self.errors.append(error)
        finally:
            connection.close()

    def choose(self, chance, model):
        pks = list(model.objects.order_by("pk").values_list("pk", flat=True))
        return model.objects.get(pk=chance.choice(pks))

    def change_role(self, chance):
        organization = self.choose(chance, Organization)
        user = self.choose(chance, User)
        set_role(
            organization,
            [user],
            chance.choice([ADMIN, REVIEWER, None]),
            notify=False,
        )

    def use_manager(self, chance):
        organization = self.choose(chance, Organization)
        user = self.choose(chance, User)
        user.groups.remove(organization.admin_id)

    def rename(self, chance):
        organization = self.choose(chance, Organization)
        organization.name = f"Name {chance.randrange(1_000)}"
        organization.save()

    def replace(self, chance):
        self.choose(chance, Organization).delete()
        create_organization(f"Name {chance.randrange(1_000)}")

    def replace_user(self, chance):
        self.choose(chance, User).delete()
        User.objects.create(username=f"user-{chance.getrandbits(60)}")


class ChangedMeanwhileTests(TestCase):
    """What changes between an examination and the repair is examined again."""

    def setUp(self):
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", admin_of=[self.acme])
        self.eve = create_user("eve", reviewer_of=[self.acme])

    def break_everything(self):
        User.groups.through.objects.filter(user=self.ada).delete()
        user = create_user("unlogged")
        User.groups.through.objects.create(user=user, group=self.acme.reviewer)
        self.acme.group_grants.all().delete()
        self.acme.reviewer.permissions.add(
            Permission.objects.get(codename="view_organization")
        )
        QuerySet(Organization).update(name="New")
        QuerySet(Organization).update(search_text="x")

    def examine_and_change(self, change):
        """Return the kinds of errors that are repaired if something changes first."""
        repair = doctor.repair_organizations

        def change_and_repair(*arguments):
            with mock.patch.object(doctor, "repair_organizations", repair):
                change()
            return repair(*arguments)

        with mock.patch.object(doctor, "repair_organizations", change_and_repair):
            issues = list(doctor.examine_organizations(fix=True))
        return {issue.kind for issue in issues if issue.is_error}

    def find_doctors_events(self):
        events = MembershipEvent.objects.filter(reason="Found by the doctor.")
        return sorted(events.values_list("user_name", "event"))

    def test_what_is_still_broken_is_repaired(self):
        self.break_everything()
        kinds = {
            "membership log",
            "permissions",
            "model-level permission",
            "group name",
            "search text",
        }
        self.assertEqual(self.examine_and_change(lambda: None), kinds)
        self.assertEqual(
            self.find_doctors_events(), [("ada", "left"), ("unlogged", "found")]
        )
        remaining = [
            issue for issue in doctor.examine_organizations() if issue.is_error
        ]
        self.assertEqual(remaining, [])

    @tag("G8")
    def test_what_someone_else_repaired_is_left_alone(self):
        self.break_everything()
        self.assertEqual(self.examine_and_change(self.repair_all), set())
        self.assertEqual(len(self.find_doctors_events()), 2)

    def repair_all(self):
        list(doctor.examine_organizations(fix=True))

    @tag("G8")
    def test_an_organization_that_was_deleted_is_skipped(self):
        self.break_everything()
        self.assertEqual(self.examine_and_change(self.acme.delete), set())
        self.assertEqual(self.find_doctors_events(), [])

    def test_a_person_who_joined_or_left_is_not_logged_twice(self):
        User.groups.through.objects.filter(user=self.ada).delete()
        self.assertEqual(self.examine_and_change(self.join_again), set())
        self.assertEqual(self.find_doctors_events(), [])

    def join_again(self):
        set_role(self.acme, [self.ada], ADMIN)

    def test_a_person_whose_memberships_break_meanwhile_is_locked_first(self):
        """A repair takes locks in the order of role changes, so it begins again."""
        User.groups.through.objects.filter(user=self.ada).delete()
        others = User.groups.through.objects.filter(user=self.eve)
        self.assertEqual(self.examine_and_change(others.delete), {"membership log"})
        self.assertEqual(self.find_doctors_events(), [("ada", "left"), ("eve", "left")])

    def test_a_deleted_user_leaves_once(self):
        User.groups.through.objects.filter(user=self.ada).delete()
        self.assertEqual(self.examine_and_change(self.ada.delete), {"membership log"})
        self.assertEqual(self.find_doctors_events(), [("ada", "left")])


@skipUnless(connection.vendor == "postgresql", "SQLite has one writer at a time")
class LiveSiteTests(TransactionTestCase):
    seconds = 4
    runs = 0

    def setUp(self):
        organizations = [create_organization(f"Acme {number}") for number in range(20)]
        for number in range(20):
            create_user(f"user-{number}", admin_of=organizations[number : number + 5])

    @tag("G8")
    def test_repairs_nothing_that_is_not_broken(self):
        found = []
        with Writers() as writers:
            end = time.monotonic() + self.seconds
            while time.monotonic() < end:
                found += [
                    issue
                    for issue in doctor.examine_organizations(fix=True)
                    if issue.is_error
                ]
                found += [
                    issue for issue in doctor.examine_organizations() if issue.is_error
                ]
                found += list(examine_keys(fix=True))
                self.runs += 1
        self.assertEqual(writers.errors, [])
        self.assertEqual([issue.text for issue in found], [])
        events = MembershipEvent.objects.filter(reason="Found by the doctor.")
        self.assertEqual(list(events), [])
        self.assertGreater(writers.changes, WRITERS)
        self.assertGreater(self.runs, 1)
        remaining = [
            issue for issue in doctor.examine_organizations() if issue.is_error
        ]
        self.assertEqual(remaining, [])

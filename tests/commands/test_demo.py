import io
import itertools
import re
import time
from datetime import timedelta
from unittest import mock

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from orgadmin.management import demo
from orgadmin.models import (
    AuditEvent,
    Contact,
    Invitation,
    MembershipEvent,
    MonthlyCount,
    Organization,
    User,
)
from tests.factories import create_organization, create_superuser

NAMES = ["demo-staff", "demo-admin", "demo-reviewer", "demo-support", "demo-newcomer"]


def run_demo(*options):
    """Run the command, and return what it prints, and {username: password} of it."""
    out = io.StringIO()
    call_command("demo", *options, stdout=out)
    passwords = dict(re.findall(r"(demo-\w+) +password (\S+)", out.getvalue()))
    return out.getvalue(), passwords


@override_settings(DEBUG=True)
class DemoTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        with override_settings(DEBUG=True):
            _text, cls.passwords = run_demo()

    def can_sign_in(self, username, password):
        data = {"username": username, "password": password}
        return self.client.post("/admin/login/", data).status_code == 302

    def open(self, username, path):
        self.client.force_login(User.objects.get(username=username))
        response = self.client.get(path)
        self.assertEqual(response.status_code, 200)
        return response

    def test_prints_passwords_that_work(self):
        self.assertEqual(list(self.passwords), NAMES)
        for username, password in self.passwords.items():
            self.assertTrue(self.can_sign_in(username, password))
            validate_password(password, User.objects.get(username=username))

    def test_a_second_run_changes_nothing_and_prints_no_passwords(self):
        organization = Organization.objects.first()
        Organization.objects.filter(pk=organization.pk).update(phone="mine")
        counts = self.count_rows()
        text, passwords = run_demo()
        self.assertEqual(passwords, {})
        self.assertIn("--new-passwords", text)
        self.assertEqual(self.count_rows(), counts)
        organization.refresh_from_db()
        self.assertEqual(organization.phone, "mine")
        self.assertTrue(self.can_sign_in("demo-admin", self.passwords["demo-admin"]))

    def count_rows(self):
        models = (User, Organization, MembershipEvent, AuditEvent, Invitation, Contact)
        return [model.objects.count() for model in models]

    def test_prints_new_passwords_on_demand(self):
        _text, passwords = run_demo("--new-passwords")
        self.assertEqual(list(passwords), NAMES)
        self.assertFalse(set(passwords.values()) & set(self.passwords.values()))
        self.assertTrue(self.can_sign_in("demo-admin", passwords["demo-admin"]))

    def test_accounts_have_the_access_that_is_printed(self):
        rows = {
            "demo-staff": (194, 194),
            "demo-admin": (3, 4),
            "demo-reviewer": (0, 2),
            "demo-support": (0, 194),
            "demo-newcomer": (0, 0),
        }
        total = Organization.objects.count()
        for username, (changed, viewed) in rows.items():
            user = User.objects.get(username=username)
            organizations = Organization.objects
            with self.subTest(username):
                self.assertEqual(
                    (
                        organizations.permitted(user, "change").count(),
                        organizations.permitted(user).count(),
                    ),
                    (min(changed, total), min(viewed, total)),
                )

    def test_months_have_passed(self):
        """Each log is in its order, and ends before now."""
        half_a_year_ago = timezone.now() - timedelta(days=180)
        for model in (MembershipEvent, AuditEvent):
            times = list(model.objects.order_by("pk").values_list("at", flat=True))
            with self.subTest(model):
                self.assertEqual(times, sorted(times))
                self.assertLess(times[0], half_a_year_ago)
                self.assertLess(times[-1], timezone.now())
        first = Organization.history.earliest().history_date
        self.assertLess(first, half_a_year_ago)
        for organization in Organization.objects.all():
            first = organization.history.earliest().history_date
            last = organization.history.latest().history_date
            self.assertEqual(organization.changed_at, last)
            self.assertEqual(organization.created_at, first)

    def test_the_home_page_shows_how_the_site_has_grown(self):
        counts = list(MonthlyCount.objects.order_by("month"))
        self.assertGreaterEqual(len(counts), 6)
        numbers = [count.organizations for count in counts]
        self.assertEqual(numbers, sorted(numbers))
        self.assertLess(numbers[0], Organization.objects.count() * 0.7)
        self.assertGreaterEqual(len(set(numbers)), 5)
        for month, following in itertools.pairwise(counts):
            with self.subTest(month=month):
                created = Organization.objects.filter(
                    created_at__date__lt=following.month
                )
                joined = User.objects.filter(date_joined__date__lt=following.month)
                self.assertEqual(month.organizations, created.count())
                self.assertEqual(month.people, joined.count())
        self.assertEqual(counts[-1].organizations, Organization.objects.count())
        self.assertContains(self.open("demo-staff", "/admin/"), "Growth")

    def test_every_kind_of_page_shows_something(self):
        first, second = Organization.objects.order_by("pk")[:2]
        page = f"/admin/orgadmin/organization/{first.pk}"
        people = self.open("demo-admin", f"{page}/people/")
        for text in ("Pia Petrova", "soon@example.com", "late@example.com", "expired"):
            self.assertContains(people, text)
        self.assertContains(self.open("demo-admin", f"{page}/change/"), "Carla")
        history = self.open("demo-admin", f"{page}/history/")
        self.assertContains(history, "demo-admin")
        self.assertContains(history, "+1 555 0199")
        newcomer = self.open("demo-newcomer", "/admin/no-organization/")
        self.assertContains(newcomer, second.name)
        for path in ("membershipevent/", "auditevent/", "user/", "contact/"):
            listed = self.open("demo-staff", f"/admin/orgadmin/{path}")
            self.assertNotContains(listed, "0 results")

    def test_accounts_have_several_states(self):
        self.assertFalse(User.objects.get(username="otto").is_active)
        self.assertFalse(User.objects.get(username="vera").has_verified_email)
        self.assertTrue(User.objects.get(username="pia@example.com").has_verified_email)
        leo = User.objects.get(username="leo")
        self.assertFalse(leo.is_active)
        self.assertFalse(leo.groups.exists())

    def test_someone_has_left_an_organization_without_an_admin(self):
        left = MembershipEvent.objects.filter(event="left", user_name="leo")
        [reason] = set(left.values_list("reason", flat=True))
        self.assertEqual(reason, "Left the company")
        keys = left.values_list("organization_key", flat=True)
        without_admin = Organization.objects.filter(pk__in=keys, admin__user=None)
        self.assertEqual(without_admin.get().reviewer.user_set.get().username, "mei")

    def test_the_doctor_finds_no_error(self):
        call_command("doctor", stdout=io.StringIO())


class RefusalTests(TestCase):
    def test_refuses_without_debug_and_changes_nothing(self):
        with self.assertRaisesMessage(CommandError, "it requires DEBUG=true"):
            call_command("demo")
        self.assertFalse(User.objects.exists())

    @override_settings(DEBUG=True)
    def test_refuses_a_database_that_is_used_for_something_else(self):
        """Someone may have set DEBUG on a real site, to look for an error."""
        for create in (create_superuser, create_organization):
            row = create()
            for options in ([], ["--new-passwords"]):
                with (
                    self.subTest(create=create, options=options),
                    self.assertRaisesMessage(CommandError, "needs an empty database"),
                ):
                    run_demo(*options)
            self.assertFalse(User.objects.filter(username__startswith="demo").exists())
            type(row).objects.filter(pk=row.pk).delete()

    @override_settings(DEBUG=True)
    def test_a_run_that_fails_leaves_nothing_and_can_be_repeated(self):
        with (
            mock.patch.object(demo, "tell_story", side_effect=ZeroDivisionError),
            self.assertRaises(ZeroDivisionError),
        ):
            run_demo()
        self.assertFalse(User.objects.exists())
        _text, passwords = run_demo()
        self.assertEqual(list(passwords), NAMES)


@override_settings(DEBUG=True)
class CommitTests(TransactionTestCase):
    def test_sends_no_mail_and_leaves_the_settings_and_the_clock_as_they_are(self):
        backend = settings.EMAIL_BACKEND
        run_demo()
        self.assertEqual(mail.outbox, [])
        self.assertEqual(settings.EMAIL_BACKEND, backend)
        self.assertLess(abs(timezone.now().timestamp() - time.time()), 5)
        self.assertFalse(AuditEvent.objects.filter(position=None).exists())

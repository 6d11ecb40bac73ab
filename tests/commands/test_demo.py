import io
import re

from django.contrib.auth.password_validation import validate_password
from django.core.management import CommandError, call_command
from django.test import TestCase, override_settings

from orgadmin.models import Organization, User


class DemoTests(TestCase):
    def run_demo(self):
        out = io.StringIO()
        call_command("demo", stdout=out)
        return dict(re.findall(r"(demo-\w+) +password (\S+)", out.getvalue()))

    def test_refuses_without_debug_and_changes_nothing(self):
        with self.assertRaisesMessage(CommandError, "it requires DEBUG=true"):
            call_command("demo")
        self.assertFalse(User.objects.exists())

    @override_settings(DEBUG=True)
    def test_prints_passwords_that_work(self):
        passwords = self.run_demo()
        self.assertEqual(list(passwords), ["demo-staff", "demo-admin", "demo-reviewer"])
        for username, password in passwords.items():
            self.assertTrue(self.can_sign_in(username, password))
            validate_password(password, User.objects.get(username=username))

    def can_sign_in(self, username, password):
        data = {"username": username, "password": password}
        response = self.client.post("/admin/login/", data, follow=True)
        return response.redirect_chain == [("/admin/", 302)]

    @override_settings(DEBUG=True)
    def test_a_second_run_keeps_what_people_did_and_gives_new_passwords(self):
        first = self.run_demo()
        count = Organization.objects.count()
        organization = Organization.objects.first()
        Organization.objects.filter(pk=organization.pk).update(phone="mine")
        second = self.run_demo()
        organization.refresh_from_db()
        self.assertEqual(
            (Organization.objects.count(), organization.phone), (count, "mine")
        )
        self.assertFalse(set(first.values()) & set(second.values()))
        self.assertTrue(self.can_sign_in("demo-admin", second["demo-admin"]))
        admin = User.objects.get(username="demo-admin")
        self.assertEqual(Organization.objects.permitted(admin, "change").count(), 3)
        self.assertEqual(Organization.objects.permitted(admin).count(), 4)

from unittest import mock

from django.core.exceptions import ValidationError
from django.db import DatabaseError, NotSupportedError, connection
from django.test import TestCase, tag
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.accounts.tokens import reset_tokens
from orgadmin.models import AuditEvent, User
from orgadmin.models.user import CredentialsChanged
from orgadmin.models.user_queryset import UserQuerySet
from tests.factories import create_superuser, create_user


def list_events():
    """Return the kinds of the recorded events, in their order."""
    return list(AuditEvent.objects.order_by("pk").values_list("event", flat=True))


class UserSaveTests(TestCase):
    def setUp(self):
        self.user = create_user(email="anna@example.com")

    def test_does_not_undo_what_someone_else_changed(self):
        outdated = User.objects.get(pk=self.user.pk)
        User.objects.filter(pk=self.user.pk).update(is_staff=True, first_name="Anna")
        outdated.last_name = "Ash"
        outdated.save()
        stored = User.objects.get(pk=self.user.pk)
        self.assertEqual(
            (stored.is_staff, stored.first_name, stored.last_name),
            (True, "Anna", "Ash"),
        )

    def test_does_not_insert_a_deleted_user_again(self):
        outdated = User.objects.get(pk=self.user.pk)
        User.objects.filter(pk=self.user.pk).delete()
        outdated.last_name = "Ash"
        with self.assertRaises(DatabaseError):
            outdated.save()
        self.assertFalse(User.objects.exists())

    def test_refuses_a_password_after_sessions_were_ended(self):
        outdated = User.objects.get(pk=self.user.pk)
        self.user.end_sessions()
        outdated.set_password("other")
        with self.assertRaises(CredentialsChanged):
            outdated.save()
        self.assertTrue(User.objects.get().check_password("secret"))

    def test_refuses_a_password_after_deactivation_and_activation(self):
        outdated = User.objects.get(pk=self.user.pk)
        User.objects.update(is_active=False)
        User.objects.update(is_active=True)
        outdated.set_password("other")
        with self.assertRaises(CredentialsChanged):
            outdated.save()

    def test_ends_sessions_when_credentials_change(self):
        changes = {
            "email": "ada@example.com",
            "is_active": False,
        }
        for name, value in changes.items():
            with self.subTest(name):
                before = self.user.get_session_auth_hash()
                setattr(self.user, name, value)
                self.user.save()
                self.assertNotEqual(self.user.get_session_auth_hash(), before)

    def test_keeps_sessions_when_a_name_changes(self):
        before = self.user.get_session_auth_hash()
        self.user.last_name = "Ash"
        self.user.save()
        self.assertEqual(self.user.get_session_auth_hash(), before)

    def test_ended_sessions_stay_ended_after_activation(self):
        before = self.user.get_session_auth_hash()
        User.objects.update(is_active=False)
        User.objects.update(is_active=True)
        self.assertNotEqual(User.objects.get().get_session_auth_hash(), before)

    def test_links_to_reset_the_password_end_with_the_sessions(self):
        token = reset_tokens.make_token(self.user)
        self.user.end_sessions()
        stored = User.objects.get()
        self.assertFalse(reset_tokens.check_token(stored, token))

    def test_a_new_address_is_not_verified(self):
        self.user.verify_email()
        self.user.email = "ada@example.com"
        self.user.save()
        self.user.email = "anna@example.com"
        self.user.save()
        self.assertFalse(User.objects.get().has_verified_email)

    def test_another_case_of_the_address_stays_verified(self):
        self.user.verify_email()
        self.user.email = "Anna@example.com"
        self.user.save()
        self.assertTrue(User.objects.get().has_verified_email)


class UserDeleteTests(TestCase):
    def setUp(self):
        self.user = create_user(is_active=False)
        self.bert = create_user("bert")

    @tag("C11", "G3")
    def test_deletes_only_people_whose_departure_it_has_recorded(self):
        """Someone else may be deactivated while the inactive people are deleted."""

        def deactivate_bert(queryset, pks):
            User.objects.filter(pk=self.bert.pk).update(is_active=False)

        with mock.patch.object(UserQuerySet, "_preserve_authors", deactivate_bert):
            deleted, _models = User.objects.filter(is_active=False).delete()
        self.assertEqual(deleted, 1)
        self.assertEqual(User.objects.get(), self.bert)
        events = AuditEvent.objects.filter(event=SecurityEvent.USER_DELETED)
        self.assertEqual(events.get().user_key, self.user.pk)

    def test_refuses_what_django_refuses(self):
        everybody = User.objects.all()
        with self.assertRaises(TypeError):
            everybody[:1].delete()
        with self.assertRaises(TypeError):
            everybody.values("pk").delete()
        with self.assertRaises(NotSupportedError):
            everybody.union(everybody).delete()
        self.assertEqual(User.objects.count(), 2)

    def test_forgets_the_rows_that_it_has_loaded(self):
        everybody = User.objects.all()
        self.assertEqual(len(everybody), 2)
        everybody.delete()
        self.assertEqual(len(everybody), 0)


class FindByEmailTests(TestCase):
    def setUp(self):
        self.user = create_user(email="Kim@example.com")

    @tag("D19")
    def test_finds_only_a_verified_address(self):
        self.assertEqual(User.objects.find_by_email("kim@example.com"), self.user)
        self.assertIsNone(User.objects.find_by_verified_email("kim@example.com"))
        self.user.verify_email()
        found = User.objects.find_by_verified_email("kim@example.com")
        self.assertEqual(found, self.user)

    @tag("D19")
    def test_does_not_find_an_earlier_address_that_was_verified(self):
        self.user.verify_email()
        self.user.email = "new@example.com"
        self.user.save()
        for email in ("kim@example.com", "new@example.com"):
            with self.subTest(email):
                self.assertIsNone(User.objects.find_by_verified_email(email))

    @tag("D19")
    def test_an_empty_address_is_nobody(self):
        create_user("nobody")
        self.assertIsNone(User.objects.find_by_email(""))
        self.assertIsNone(User.objects.find_by_verified_email(""))

    @tag("D19")
    def test_a_character_that_only_looks_the_same_is_another(self):
        kelvin_sign = "\N{KELVIN SIGN}im@example.com"
        self.assertIsNone(User.objects.find_by_email(kelvin_sign))
        self.user.verify_email()
        self.user.email = kelvin_sign
        self.user.save()
        self.assertFalse(User.objects.get().has_verified_email)

    def test_uses_the_index(self):
        with CaptureQueriesContext(connection) as queries:
            User.objects.find_by_email("kim@example.com")
        explain = "EXPLAIN QUERY PLAN "
        if connection.vendor == "postgresql":
            explain = "EXPLAIN "
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                # A table with one row is read without an index if that is allowed.
                cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(explain + queries[0]["sql"])
            self.assertIn("unique_user_email", str(cursor.fetchall()))


@tag("G3")
class AuditTests(TestCase):
    def setUp(self):
        self.user = create_user(email="anna@example.com")
        self.before = AuditEvent.objects.count()

    def new_events(self):
        return list_events()[self.before :]

    def test_records_changes_of_credentials_and_flags(self):
        superuser = create_superuser()
        self.before = AuditEvent.objects.count()
        self.user.changed_by = superuser
        self.user.email = "ada@example.com"
        self.user.is_staff = True
        self.user.is_active = False
        self.user.set_password("other")
        self.user.save()
        self.assertCountEqual(
            self.new_events(),
            [
                SecurityEvent.PASSWORD_CHANGED,
                SecurityEvent.EMAIL_CHANGED,
                SecurityEvent.DEACTIVATED,
                SecurityEvent.FLAGS_CHANGED,
            ],
        )
        event = AuditEvent.objects.first()
        self.assertEqual(event.actor_key, superuser.pk)
        self.assertEqual(event.user_key, self.user.pk)

    @tag("G3")
    def test_records_a_new_username(self):
        """Otherwise, someone could act under the name of another person."""
        self.user.changed_by = create_superuser()
        self.before = AuditEvent.objects.count()
        old_name = self.user.username
        self.user.username = "someone-else"
        self.user.save()
        self.assertEqual(self.new_events(), [SecurityEvent.USERNAME_CHANGED])
        event = AuditEvent.objects.first()
        self.assertEqual(event.actor_key, self.user.changed_by.pk)
        names = {"old_username": old_name, "new_username": "someone-else"}
        self.assertEqual(event.personal, names)

    def test_records_changes_through_a_queryset(self):
        User.objects.update(is_superuser=True, is_staff=True)
        self.assertEqual(self.new_events(), [SecurityEvent.FLAGS_CHANGED])
        details = {"is_staff": True, "is_superuser": True}
        self.assertEqual(AuditEvent.objects.first().details, details)

    def test_records_nothing_when_only_the_hash_is_upgraded(self):
        with self.settings(
            PASSWORD_HASHERS=[
                "django.contrib.auth.hashers.ScryptPasswordHasher",
                "django.contrib.auth.hashers.MD5PasswordHasher",
            ]
        ):
            self.assertTrue(self.user.check_password("secret"))
        self.assertTrue(User.objects.get().password.startswith("scrypt"))
        self.assertEqual(self.new_events(), [])

    @tag("G1")
    def test_events_of_a_deleted_account_remain(self):
        self.user.changed_by = self.user
        self.user.set_password("other")
        self.user.save()
        pk = self.user.pk
        self.user.delete()
        self.assertEqual(
            self.new_events(),
            [SecurityEvent.PASSWORD_CHANGED, SecurityEvent.USER_DELETED],
        )
        self.assertEqual(AuditEvent.objects.filter(user_key=pk).count(), 3)


class PreferenceTests(TestCase):
    def test_by_default_the_browser_decides_and_all_mail_comes(self):
        user = create_user()
        user.refresh_from_db()
        self.assertEqual((user.language, user.time_zone), ("", ""))
        self.assertTrue(user.mail_own_roles)
        self.assertTrue(user.mail_people)
        self.assertTrue(user.mail_accepted)
        user.full_clean()

    def test_the_database_has_the_defaults_for_the_previous_release(self):
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO orgadmin_user (
                    username, password, first_name, last_name, email, is_superuser,
                    is_staff, is_active, date_joined
                )
                VALUES ('old', '', '', '', '', %(no)s, %(no)s, %(yes)s, %(now)s)
                """,
                {"no": False, "yes": True, "now": timezone.now()},
            )
        user = User.objects.get(username="old")
        self.assertEqual((user.language, user.time_zone), ("", ""))
        self.assertTrue(user.mail_own_roles and user.mail_people and user.mail_accepted)

    def test_only_languages_of_the_site_and_known_time_zones_are_valid(self):
        user = create_user(language="de", time_zone="Pacific/Chatham")
        user.full_clean()
        wrong = {
            "language": ["xx", "DE", "../de"],
            "time_zone": ["Mars/Olympus", "Europe", "../etc/passwd", "europe/berlin"],
        }
        for field, values in wrong.items():
            for value in values:
                changed = User.objects.get(pk=user.pk)
                setattr(changed, field, value)
                with self.subTest(field=field, value=value):
                    with self.assertRaises(ValidationError) as raised:
                        changed.full_clean()
                    self.assertEqual(list(raised.exception.message_dict), [field])

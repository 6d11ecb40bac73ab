"""How sessions begin, how long they last, and what ends them."""

import time
from pathlib import Path
from unittest import mock

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.models import Session
from django.core import mail
from django.db import OperationalError, connection
from django.test import Client, SimpleTestCase, TestCase, override_settings, tag
from django.test.utils import CaptureQueriesContext

from orgadmin.accounts.sessions import sessions
from orgadmin.accounts.sessions.session_store import SessionStore
from orgadmin.models import AuditEvent, Organization, User
from orgadmin.people.offboarding import offboard
from tests.auditing import list_events
from tests.factories import (
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
)
from tests.runner import SEEN_EVERY
from tests.test_sign_in import (
    CREDENTIALS,
    ENTER_CODE,
    LOGIN,
    RECOVERY_CODES,
    REMOVE,
    SignInCase,
    make_code,
)

LIST = "/admin/orgadmin/organization/"
PEOPLE = "/admin/orgadmin/user/"
ELSEWHERE = "/admin/sign-out-elsewhere/"


def leave_idle(client, minutes):
    """Set the last request of a client's session to some minutes ago."""
    session = client.session
    session["last_seen"] -= minutes * 60
    session.save()


class StoreTests(TestCase):
    """What is raised if a session cannot be saved."""

    def setUp(self):
        self.store = SessionStore()
        self.store["seen"] = 1
        self.store.save()

    def test_an_outage_is_not_taken_for_a_session_that_has_ended(self):
        outage = OperationalError("the connection is closed")
        with mock.patch.object(Session, "save", side_effect=outage):
            with self.assertRaises(OperationalError):
                self.store.save()

    def test_a_session_that_has_ended_is_not_created_again(self):
        Session.objects.all().delete()
        with self.assertRaises(UpdateError):
            self.store.save()


@override_settings(SECOND_FACTOR="optional")
class FactorTests(SignInCase):
    """What a change of the second factor ends."""

    def setUp(self):
        self.ada = create_user(
            "ada", email="ada@example.com", admin_of=[create_organization()]
        )
        self.sign_in()
        self.secret, self.codes = self.set_up()
        self.other = Client()
        self.other.post(LOGIN, CREDENTIALS)
        self.other.post(ENTER_CODE, {"code": make_code(self.secret, 1)})
        self.assert_goes_on(self.other)

    def assert_goes_on(self, client):
        self.assertEqual(client.get(LIST).status_code, 200)

    def assert_ended(self, client):
        self.assertEqual(client.get(LIST).status_code, 302)

    @tag("D27")
    def test_a_change_does_not_keep_a_session_that_someone_else_ends_meanwhile(self):
        def end_meanwhile(request, user):
            User.objects.get(pk=user.pk).end_sessions()
            return ""

        with mock.patch(
            "orgadmin.accounts.second_factor.views.find_device", end_meanwhile
        ):
            self.client.post(f"{RECOVERY_CODES}generate/")
        self.assert_ended(self.client)

    @tag("D27")
    def test_a_session_remembers_the_factor_that_it_used(self):
        app = Authenticator.objects.get(type="totp")
        used = {"id": app.pk, "type": "totp"}
        for client in (self.client, self.other):
            self.assertEqual(client.session["second_factor"], used)
        self.client.logout()
        self.sign_in()
        self.enter_code(self.codes[0])
        factor = self.client.session["second_factor"]
        self.assertEqual(factor["type"], "recovery_codes")

    @tag("D5", "D30")
    def test_nothing_of_an_unfinished_sign_in_remains(self):
        self.client.logout()
        self.sign_in()
        session = self.client.session
        session["planted"] = "1"
        session.save()
        self.enter_code(self.codes[0])
        self.assertTrue(self.is_signed_in())
        self.assertNotIn("planted", self.client.session)
        self.assertNotEqual(self.client.session.session_key, session.session_key)

    @tag("D27")
    def test_removing_it_ends_the_other_sessions(self):
        self.client.post(REMOVE)
        self.assertFalse(Authenticator.objects.exists())
        self.assert_goes_on(self.client)
        self.assert_ended(self.other)
        self.assertIn("factor removed", list_events(self.ada))

    @tag("D27")
    def test_setting_one_up_ends_the_other_sessions(self):
        self.client.post(REMOVE)
        self.other.post(LOGIN, CREDENTIALS)
        self.assert_goes_on(self.other)
        self.set_up()
        self.assert_goes_on(self.client)
        self.assert_ended(self.other)
        self.assertEqual(list_events(self.ada).count("factor added"), 2)

    @tag("D27")
    def test_new_recovery_codes_end_the_other_sessions(self):
        self.client.post(f"{RECOVERY_CODES}generate/")
        self.assert_goes_on(self.client)
        self.assert_ended(self.other)

    @tag("G3", "G6")
    def test_new_recovery_codes_are_recorded_and_mailed(self):
        with self.captureOnCommitCallbacks(execute=True):
            self.client.post(f"{RECOVERY_CODES}generate/")
        event = AuditEvent.objects.get(event="recovery codes created")
        self.assertEqual([event.user_key, event.actor_key], [self.ada.pk] * 2)
        message = mail.outbox[-1]
        self.assertEqual(message.to, ["ada@example.com"])
        self.assertEqual(
            message.subject, "New recovery codes were created for your account"
        )

    @tag("G3")
    def test_each_view_of_the_recovery_codes_is_recorded(self):
        # They were shown when the app was set up.
        shown = 1
        for page in ("", "download/"):
            with self.subTest(page):
                shown += 1
                response = self.client.get(f"{RECOVERY_CODES}{page}")
                self.assertContains(response, self.codes[0])
                events = list_events(self.ada)
                self.assertEqual(events.count("recovery codes viewed"), shown)

    @tag("G3")
    def test_a_page_without_recovery_codes_records_nothing(self):
        Authenticator.objects.filter(type="recovery_codes").delete()
        for page in ("", "download/"):
            response = self.client.get(f"{RECOVERY_CODES}{page}")
            self.assertEqual(response.status_code, 404)
        self.assertEqual(list_events(self.ada).count("recovery codes viewed"), 1)

    @tag("D27")
    def test_superusers_who_remove_it_end_the_sessions(self):
        root = create_superuser()
        staff = Client()
        staff.force_login(root)
        data = {
            "action": "remove_second_factor",
            "_selected_action": [self.ada.pk],
            "post": "yes",
        }
        staff.post(PEOPLE, data)
        for client in (self.client, self.other):
            self.assert_ended(client)
        event = AuditEvent.objects.get(event="factor removed")
        self.assertEqual(event.actor_key, root.pk)
        self.assertEqual(event.details, {"factors": ["recovery_codes", "totp"]})

    @tag("D27")
    def test_offboarding_records_it_and_ends_the_sessions(self):
        confirmed = Organization.objects.values_list("pk", flat=True)
        offboard(self.ada, actor=create_superuser(), confirmed=confirmed)
        for client in (self.client, self.other):
            self.assert_ended(client)
        self.assertIn("factor removed", list_events(self.ada))

    @tag("D28")
    def test_an_unfinished_sign_in_ends_with_the_sessions(self):
        changes = {
            "deactivated": lambda user: self.change(user, is_active=False),
            "deactivated and activated": self.deactivate_and_activate,
            "new email address": lambda user: self.change(user, email="a@example.com"),
            "new password": self.set_password,
            "signed out everywhere": lambda user: user.end_sessions(),
        }
        for number, (name, change) in enumerate(changes.items()):
            with self.subTest(name):
                self.client.logout()
                User.objects.filter(pk=self.ada.pk).update(is_active=True)
                user = User.objects.get(pk=self.ada.pk)
                user.set_password("secret")
                user.save()
                self.assertRedirects(self.sign_in(), ENTER_CODE)
                change(User.objects.get(pk=self.ada.pk))
                self.enter_code(self.codes[number])
                self.assertFalse(self.is_signed_in())

    def change(self, user, **values):
        for name, value in values.items():
            setattr(user, name, value)
        user.save()

    def deactivate_and_activate(self, user):
        self.change(user, is_active=False)
        self.change(user, is_active=True)

    def set_password(self, user):
        user.set_password("another secret")
        user.save()

    @tag("D28")
    def test_an_unfinished_sign_in_ends_with_the_factor(self):
        self.client.logout()
        self.sign_in()
        superuser = Client()
        superuser.force_login(create_superuser())
        data = {
            "action": "remove_second_factor",
            "_selected_action": [self.ada.pk],
            "post": "yes",
        }
        superuser.post(PEOPLE, data)
        Authenticator.objects.create(
            user=self.ada, type="recovery_codes", data={"seed": "a" * 80}
        )
        self.enter_code("12345678")
        self.assertFalse(self.is_signed_in())
        self.assertEqual(self.client.get(LIST).status_code, 302)


class LimitTests(SignInCase):
    """How long a session lasts."""

    def setUp(self):
        acme = create_organization()
        self.people = {
            "ada": create_user("ada", admin_of=[acme]),
            "root": create_superuser("root"),
            "staff": create_user("staff", is_staff=True),
        }

    def is_open(self):
        """Return whether the session still exists."""
        return self.client.get("/admin/password_change/").status_code == 200

    @tag("D29")
    def test_unused_sessions_end(self):
        cases = [("ada", 59, 61), ("root", 29, 31), ("staff", 29, 31)]
        for username, before, after in cases:
            with self.subTest(username):
                self.client.force_login(self.people[username])
                leave_idle(self.client, before)
                self.assertTrue(self.is_open())
                leave_idle(self.client, after)
                self.assertFalse(self.is_open())
                self.assertFalse(self.is_signed_in())

    @tag("D29")
    def test_sessions_that_are_used_end_too(self):
        cases = [("ada", 12 * 60), ("root", 8 * 60), ("staff", 8 * 60)]
        for username, minutes in cases:
            with self.subTest(username):
                self.client.force_login(self.people[username])
                age_sign_in(self.client, minutes - 1)
                self.assertTrue(self.is_open())
                age_sign_in(self.client, 1)
                self.assertFalse(self.is_open())
                self.assertFalse(self.is_signed_in())

    @tag("D29")
    @override_settings(SESSION_IDLE_MINUTES=5, STAFF_SESSION_HOURS=1)
    def test_the_limits_are_settings(self):
        self.client.force_login(self.people["ada"])
        leave_idle(self.client, 6)
        self.assertFalse(self.is_open())
        self.client.force_login(self.people["root"])
        age_sign_in(self.client, 60)
        self.assertFalse(self.is_open())

    @tag("D29")
    def test_people_sign_in_and_continue_where_they_were(self):
        self.client.force_login(self.people["ada"])
        leave_idle(self.client, 61)
        response = self.client.get(LIST, follow=True)
        self.assertRedirects(response, f"{LOGIN}?next={LIST}")
        self.assertContains(response, "You were signed out after a while")
        response = self.client.post(LOGIN, CREDENTIALS | {"next": LIST})
        self.assertRedirects(response, LIST)

    @tag("D29")
    def test_a_session_without_a_sign_in_has_expired(self):
        self.client.force_login(self.people["ada"])
        session = self.client.session
        del session["signed_in"]
        session.save()
        self.assertFalse(self.is_open())

    @tag("D29")
    def test_sessions_of_the_previous_release_go_on(self):
        self.client.force_login(self.people["ada"])
        session = self.client.session
        del session["last_seen"]
        session.save()
        self.assertTrue(self.is_open())
        self.assertIn("last_seen", self.client.session)

    @tag("D29")
    @mock.patch.object(sessions, "SEEN_EVERY", SEEN_EVERY)
    def test_use_is_stored_once_a_minute(self):
        self.client.force_login(self.people["ada"])
        with mock.patch.object(sessions.time, "time", return_value=time.time() + 50):
            with self.assertNumQueries(3):
                self.client.get("/admin/jsi18n/")
        before = self.client.session["last_seen"]
        leave_idle(self.client, 2)
        self.client.get("/admin/jsi18n/")
        self.assertGreaterEqual(self.client.session["last_seen"], before)

    @tag("D29")
    def test_the_database_forgets_sessions(self):
        self.client.get(LOGIN)
        self.sign_in(password="wrong")
        session = self.client.session
        session["x"] = 1
        session.save()
        self.assertLessEqual(session.get_expiry_age(), 60 * 60)
        self.sign_in()
        self.assertEqual(self.client.session.get_expiry_age(), 12 * 60 * 60)
        cookie = self.client.cookies["sessionid"]
        self.assertEqual(cookie["max-age"], 12 * 60 * 60)

    @tag("D29")
    def test_the_health_checks_read_no_session(self):
        self.client.force_login(self.people["ada"])
        with self.assertNumQueries(0):
            self.client.get("/livez")


class SignInTests(SignInCase):
    def setUp(self):
        self.ada = create_user("ada", admin_of=[create_organization()])

    @tag("D5", "D30")
    def test_nothing_of_the_visitor_remains(self):
        self.client.get(LOGIN)
        session = self.client.session
        session["planted"] = "1"
        session.save()
        before = self.client.session.session_key
        self.sign_in()
        self.assertTrue(self.is_signed_in())
        self.assertNotIn("planted", self.client.session)
        self.assertNotEqual(self.client.session.session_key, before)
        self.assertFalse(Session.objects.filter(pk=before).exists())

    @tag("D30")
    def test_signing_out_clears_what_the_browser_has_stored(self):
        self.sign_in()
        response = self.client.post("/admin/logout/")
        self.assertEqual(response["Clear-Site-Data"], '"cache"')

    @tag("D30")
    def test_people_sign_out_on_their_other_devices(self):
        other = Client()
        for client in (self.client, other):
            client.force_login(self.ada)
        for url in ("/admin/password_change/", "/admin/activity/", "/admin/account/"):
            self.assertContains(self.client.get(url), f'action="{ELSEWHERE}"')
        self.assertEqual(self.client.get(ELSEWHERE).status_code, 405)
        self.assertEqual(other.get(LIST).status_code, 200)
        self.assertRedirects(self.client.post(ELSEWHERE), "/admin/account/")
        self.assertEqual(other.get(LIST).status_code, 302)
        self.assertEqual(self.client.get(LIST).status_code, 200)
        self.assertIn("sessions ended", list_events(self.ada))

    @tag("D30")
    def test_signing_out_elsewhere_does_not_keep_a_session_that_someone_else_ends(self):
        """A person who has stolen a session could send such requests all the time."""
        self.client.force_login(self.ada)

        def end_meanwhile(request, user):
            User.objects.get(pk=user.pk).end_sessions()
            return ""

        with mock.patch("orgadmin.accounts.views.find_device", end_meanwhile):
            self.client.post(ELSEWHERE)
        self.assertEqual(self.client.get(LIST).status_code, 302)

    @tag("D30")
    def test_superusers_sign_out_others_everywhere(self):
        root = create_superuser("root")
        staff = Client()
        staff.force_login(root)
        self.sign_in()
        url = f"{PEOPLE}{self.ada.pk}/sign_out/"
        self.assertContains(staff.get(f"{PEOPLE}{self.ada.pk}/overview/"), url)
        self.assertContains(staff.get(url), "Sign out ada")
        self.assertEqual(self.client.get(LIST).status_code, 200)
        staff.post(url)
        self.assertEqual(self.client.get(LIST).status_code, 302)
        event = AuditEvent.objects.get(event="sessions ended")
        self.assertEqual([event.user_key, event.actor_key], [self.ada.pk, root.pk])

    @tag("D30")
    def test_only_superusers_sign_out_others(self):
        manager = create_user(
            "manager", is_staff=True, permissions=["view_user", "change_user"]
        )
        self.sign_in()
        staff = Client()
        staff.force_login(manager)
        url = f"{PEOPLE}{self.ada.pk}/sign_out/"
        self.assertRedirects(staff.post(url), "/admin/")
        self.assertEqual(self.client.get(LIST).status_code, 200)


@override_settings(SECOND_FACTOR="optional")
class RecordTests(SignInCase):
    """What the audit log has about sign-ins."""

    def setUp(self):
        self.ada = create_user("ada", admin_of=[create_organization()])

    def last_event(self):
        return AuditEvent.objects.order_by("pk").last()

    @tag("D31")
    def test_sign_ins_and_sign_outs(self):
        self.sign_in()
        event = self.last_event()
        self.assertEqual(event.event, "signed in")
        self.assertEqual([event.user_key, event.actor_key], [self.ada.pk, self.ada.pk])
        self.assertEqual(event.details, {"method": "password", "factor": ""})
        self.client.post("/admin/logout/")
        self.assertEqual(self.last_event().event, "signed out")
        self.assertEqual(self.last_event().user_key, self.ada.pk)

    @tag("D31")
    def test_the_second_factor(self):
        self.sign_in()
        secret, _codes = self.set_up()
        self.client.post("/admin/logout/")
        self.sign_in()
        self.assertEqual(list_events(self.ada)[-1], "signed out")
        self.enter_code("000000")
        self.assertEqual(self.last_event().event, "sign-in failed")
        self.assertEqual(self.last_event().details, {"step": "second factor"})
        self.enter_code(make_code(secret, 1))
        self.assertEqual(
            self.last_event().details, {"method": "password", "factor": "totp"}
        )

    @tag("D31")
    def test_a_failed_sign_in_names_the_account_but_never_what_was_typed(self):
        self.sign_in(password="wrong")
        event = self.last_event()
        self.assertEqual(event.event, "sign-in failed")
        self.assertEqual([event.user_key, event.user_name], [self.ada.pk, "ada"])
        self.assertIsNone(event.actor_key)
        self.sign_in(username="my secret password", password="x")
        event = self.last_event()
        self.assertEqual(event.event, "sign-in failed")
        self.assertEqual([event.user_key, event.user_name], [None, ""])

    @tag("A39", "D31")
    def test_a_failed_sign_in_runs_the_same_queries_for_unknown_names(self):
        with self.assertNumQueries(self.count_queries("ada")):
            self.sign_in(username="nobody", password="wrong")

    def count_queries(self, username):
        self.sign_in(username="warm up", password="wrong")
        with CaptureQueriesContext(connection) as queries:
            self.sign_in(username=username, password="wrong")
        return len(queries)

    @tag("D31")
    def test_people_without_access(self):
        create_user("nobody")
        self.sign_in(username="nobody")
        self.assertEqual(self.last_event().event, "signed in")
        self.client.logout()
        self.sign_in(username="nobody", password="wrong")
        self.assertEqual(self.last_event().event, "sign-in failed")

    @tag("D31")
    def test_the_end_of_a_session_by_time(self):
        self.sign_in()
        leave_idle(self.client, 61)
        self.client.get(LIST)
        self.assertEqual(self.last_event().event, "signed out")
        self.assertEqual(self.last_event().details, {"reason": "idle"})


class FactorCodeTests(SimpleTestCase):
    @tag("D27")
    def test_only_one_module_removes_second_factors(self):
        """All others call it, so that the sessions end and the event is recorded."""
        app = Path(settings.BASE_DIR, "orgadmin")
        for path in set(app.rglob("*.py")) - {app / "people/second_factors.py"}:
            text = path.read_text()
            self.assertNotRegex(text, r"authenticator_set|Authenticator.*delete", path)

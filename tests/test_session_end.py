"""When a session ends, and how people extend it."""

import re
import time
from unittest import mock

from django.test import Client, TestCase, override_settings, tag

from orgadmin.accounts.sessions import sessions
from orgadmin.models import User
from tests.factories import (
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
)
from tests.runner import SEEN_EVERY
from tests.test_sessions import leave_idle

URL = "/admin/stay-signed-in/"
LIST = "/admin/orgadmin/organization/"
ENDED = {"seconds": 0, "is_last": True}


@tag("D52")
class SessionEndTests(TestCase):
    def setUp(self):
        self.acme = create_organization()
        self.ada = create_user("ada", admin_of=[self.acme])
        self.client.force_login(self.ada)

    def ask(self, client=None, user=None):
        data = {"session_of": (user or self.ada).pk}
        return (client or self.client).get(URL, data).json()

    def extend(self, client=None, user=None):
        data = {"session_of": (user or self.ada).pk}
        return (client or self.client).post(URL, data).json()

    def assert_left(self, state, minutes, *, is_last):
        self.assertAlmostEqual(state["seconds"], minutes * 60, delta=5)
        self.assertIs(state["is_last"], is_last)

    def test_tells_when_the_session_ends(self):
        self.assert_left(self.ask(), 60, is_last=False)
        leave_idle(self.client, 58)
        self.assert_left(self.ask(), 2, is_last=False)
        age_sign_in(self.client, 12 * 60 - 1)
        self.assert_left(self.ask(), 1, is_last=True)

    @mock.patch.object(sessions, "SEEN_EVERY", SEEN_EVERY)
    def test_a_page_tells_how_long_it_lasts_at_least(self):
        cases = [(0, 59), (12 * 60 - 30, 29), (30 - 2, 1), (1, 0)]
        for minutes_later, expected in cases:
            age_sign_in(self.client, minutes_later)
            for url in (LIST, "/admin/password_change/"):
                page = self.client.get(url)
                self.assertContains(page, f'data-seconds="{expected * 60}"')

    @mock.patch.object(sessions, "SEEN_EVERY", SEEN_EVERY)
    def test_a_page_does_not_change_from_second_to_second(self):
        self.client.get(LIST)
        now = time.time()
        numbers = set()
        for seconds in range(0, 60, 7):
            with mock.patch.object(sessions.time, "time", return_value=now + seconds):
                page = self.client.get(LIST).content.decode()
            numbers.add(re.search(r'data-seconds="(\d+)"', page)[1])
        self.assertEqual(numbers, {"3540"})

    def test_visitors_have_no_notice(self):
        for url in ("/admin/login/", "/admin/password_reset/"):
            self.assertNotContains(Client().get(url), "session-end")

    def test_asking_is_no_use_of_the_session(self):
        leave_idle(self.client, 59)
        for _time in range(2):
            self.assert_left(self.ask(), 1, is_last=False)
        leave_idle(self.client, 2)
        self.assertEqual(self.ask(), ENDED)
        self.assertEqual(self.client.get(LIST).status_code, 302)

    def test_people_extend_their_session(self):
        leave_idle(self.client, 59)
        self.assert_left(self.extend(), 60, is_last=False)
        self.assert_left(self.ask(), 60, is_last=False)
        self.assertEqual(self.client.get(LIST).status_code, 200)

    def test_no_session_is_extended_beyond_the_last_hour(self):
        age_sign_in(self.client, 12 * 60 - 1)
        self.assert_left(self.extend(), 1, is_last=True)
        age_sign_in(self.client, 1)
        self.assertEqual(self.extend(), ENDED)
        self.assertEqual(self.client.get(LIST).status_code, 302)

    def test_a_session_that_has_ended_does_not_begin_again(self):
        leave_idle(self.client, 61)
        self.assertEqual(self.extend(), ENDED)
        self.assertEqual(self.client.get(LIST).status_code, 302)
        User.objects.get(pk=self.ada.pk).end_sessions()
        self.assertEqual(self.extend(), ENDED)

    def test_only_the_person_of_the_page_extends_a_session(self):
        eve = create_user("eve", admin_of=[self.acme])
        leave_idle(self.client, 59)
        self.assertEqual(self.extend(user=eve), ENDED)
        self.assertEqual(self.client.post(URL).json(), ENDED)
        self.assertEqual(self.client.post(URL, {"session_of": "x"}).json(), ENDED)
        self.assert_left(self.ask(), 1, is_last=False)

    def test_visitors_learn_nothing(self):
        visitor = Client()
        self.assertEqual(self.ask(visitor), ENDED)
        self.assertEqual(self.extend(visitor), ENDED)
        self.assertFalse(visitor.cookies)

    @tag("D8")
    def test_another_site_cannot_extend_a_session(self):
        client = Client(enforce_csrf_checks=True)
        client.force_login(self.ada)
        response = client.post(URL, {"session_of": self.ada.pk})
        self.assertEqual(response.status_code, 403)

    def test_only_get_and_post(self):
        self.assertEqual(self.client.put(URL).status_code, 405)

    def test_the_page_needs_no_query_to_tell_it(self):
        self.client.get(LIST)
        with self.assertNumQueries(2):
            # The session and the person.
            self.ask()

    @override_settings(SECOND_FACTOR="staff")
    def test_platform_staff_who_have_no_second_factor_yet_are_told(self):
        root = create_superuser("root")
        self.client.force_login(root)
        self.assert_left(self.ask(user=root), 30, is_last=False)

    def test_says_that_a_session_has_ended_only_if_it_has(self):
        now = time.time()
        session = self.client.session
        session["signed_in"] = now - 12 * 60 * 60 + 0.1
        session.save()
        with mock.patch.object(sessions.time, "time", lambda: now):
            self.assertEqual(self.ask(), {"seconds": 1, "is_last": True})
        with mock.patch.object(sessions.time, "time", lambda: now + 0.2):
            self.assertEqual(self.ask(), ENDED)

"""The language and the time zone that people choose, and where they apply."""

from datetime import timedelta
from zoneinfo import ZoneInfo

from django.test import Client, TestCase, override_settings, tag
from django.utils import timezone
from django.utils.formats import date_format

from orgadmin.models import MembershipEvent, User
from tests.factories import create_organization, create_user

PAGE = "/admin/account/"
LIST = "/admin/orgadmin/organization/"
COOKIE = "django_language"
GERMAN = "Abmelden"
ENGLISH = "Sign out"


class PreferenceCase(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.anna = create_user("anna", admin_of=[self.acme])
        self.client.force_login(self.anna)

    def choose(self, language="", time_zone=""):
        data = {"language-language": language, "language-time_zone": time_zone}
        return self.client.post(PAGE, {"section": "language", **data})

    def assert_german(self, client, url=LIST, **options):
        response = client.get(url, **options)
        self.assertContains(response, '<html lang="de"')

    def assert_english(self, client, url=LIST, **options):
        response = client.get(url, **options)
        self.assertContains(response, '<html lang="en')


class LanguageTests(PreferenceCase):
    def test_it_applies_at_once_and_on_all_devices(self):
        other = Client(headers={"Accept-Language": "en"})
        other.force_login(self.anna)
        self.assert_english(other)
        response = self.choose("de")
        self.assertRedirects(response, f"{PAGE}#language")
        self.assert_german(self.client)
        self.assert_german(other)
        self.choose("")
        self.assert_english(self.client)
        self.assert_english(other)

    def test_without_a_choice_the_browser_decides(self):
        german = {"Accept-Language": "de,en;q=0.5"}
        self.assert_german(self.client, headers=german)
        self.assert_english(self.client)
        self.choose("en")
        self.assert_english(self.client, headers=german)

    def test_the_sign_in_page_follows_a_cookie_and_else_the_browser(self):
        self.choose("de")
        self.client.post("/admin/logout/")
        self.assert_german(self.client, "/admin/login/")
        self.assert_english(Client(), "/admin/login/")

    def test_the_cookie_of_someone_else_decides_nothing(self):
        self.client.cookies[COOKIE] = "de"
        self.assert_english(self.client)
        self.assertEqual(self.client.cookies[COOKIE].value, "")

    def test_pages_that_do_not_exist_follow_it_too(self):
        self.choose("de")
        response = self.client.get("/nothing/")
        self.assertContains(response, '<html lang="de"', status_code=404)

    def test_a_script_in_another_language_is_not_taken_from_the_cache(self):
        """Browsers compare the cookies, because the response varies by them."""
        self.choose("de")
        response = self.client.get("/admin/jsi18n/")
        self.assertIn("Cookie", response["Vary"])
        self.assertEqual(self.client.cookies[COOKIE].value, "de")
        cookie = self.client.cookies[COOKIE]
        self.assertTrue(cookie["httponly"])
        self.assertEqual(cookie["samesite"], "Lax")

    def test_only_languages_and_time_zones_of_the_list_are_accepted(self):
        for values in ({"language": "xx"}, {"time_zone": "Mars/Olympus"}):
            with self.subTest(**values):
                response = self.choose(**values)
                self.assertContains(response, 'class="errorlist"')
        anna = User.objects.get(pk=self.anna.pk)
        self.assertEqual((anna.language, anna.time_zone), ("", ""))

    def test_what_is_stored_and_unknown_changes_nothing(self):
        User.objects.filter(pk=self.anna.pk).update(
            language="xx", time_zone="../Europe/Berlin"
        )
        self.assert_english(self.client)

    def test_it_runs_no_query(self):
        self.client.get(LIST)
        with self.assertNumQueries(6):
            self.client.get(LIST)
        self.choose("de", "Asia/Tokyo")
        self.client.get(LIST)
        with self.assertNumQueries(6):
            self.client.get(LIST)


# 25 hours apart, so that it is never the same day in both.
SITE = "Pacific/Kiritimati"
PERSON = "Pacific/Midway"


@override_settings(TIME_ZONE=SITE)
class TimeZoneTests(PreferenceCase):
    def setUp(self):
        super().setUp()
        self.log = f"{LIST}{self.acme.pk}/ledger/"
        self.joined = MembershipEvent.objects.get().at
        self.today = self.joined.astimezone(ZoneInfo(SITE)).date()

    def show(self, zone):
        """Return when the person joined, as pages show it in a time zone."""
        return date_format(self.joined.astimezone(ZoneInfo(zone)), "DATETIME_FORMAT")

    def test_times_on_pages_are_those_of_the_person(self):
        self.assertContains(self.client.get(self.log), self.show(SITE))
        self.choose(time_zone=PERSON)
        response = self.client.get(self.log)
        self.assertContains(response, self.show(PERSON))
        self.assertNotContains(response, self.show(SITE))

    def test_the_next_request_of_someone_else_is_not_affected(self):
        self.choose(time_zone=PERSON)
        other = Client()
        other.force_login(create_user("ben", admin_of=[self.acme]))
        self.client.get(self.log)
        self.assertContains(other.get(self.log), self.show(SITE))
        self.client.get(self.log)
        self.client.get("/livez")
        self.assertEqual(timezone.get_current_timezone_name(), SITE)

    def test_members_on_a_day_are_those_of_the_site(self):
        self.choose(time_zone=PERSON)
        response = self.client.get(self.log, {"on": self.today})
        self.assertContains(response, "1 person was a member")
        self.assertContains(response, SITE)
        day_before = self.today - timedelta(days=1)
        response = self.client.get(self.log, {"on": day_before})
        self.assertContains(response, "0 people were members")

    def test_today_is_the_day_of_the_site(self):
        self.choose(time_zone=PERSON)
        tomorrow = self.today + timedelta(days=1)
        response = self.client.get(self.log, {"on": tomorrow})
        self.assertContains(response, "This day is in the future")

    def test_exports_keep_the_time_zone_of_the_site(self):
        self.choose(time_zone=PERSON)
        response = self.client.get(self.log, {"csv": "1"})
        text = b"".join(response.streaming_content).decode()
        self.assertIn(f"{self.today}T", text)
        self.assertIn("+14:00", text)
        self.assertIn(f"{self.today}.csv", response["Content-Disposition"])

    @tag("D48")
    def test_times_of_sessions_are_those_of_the_person(self):
        self.choose(time_zone=PERSON)
        now = timezone.now().astimezone(ZoneInfo(PERSON))
        self.assertContains(self.client.get(PAGE), date_format(now, "DATE_FORMAT"))

"""How a browser goes to a provider and comes back."""

from django.test import Client, override_settings, tag

from orgadmin.accounts.round_trips import MAX_TRIPS
from tests.identity import leave
from tests.test_company import CALLBACK, SIGN_IN, CompanyCase
from tests.test_sign_in import ENTER_CODE, LOGIN, make_code

WANTED = "/admin/orgadmin/contact/"
DOCUMENT = {"Sec-Fetch-Dest": "document"}


class RoundTripCase(CompanyCase):
    def depart(self, client=None, wanted=WANTED, **data):
        """Press the button, and return the address of the departure page."""
        response = (client or self.client).post(SIGN_IN, {"next": wanted, **data})
        return response["Location"]

    def find_url(self, departure):
        return self.client.get(departure).context["onward_url"]


class DepartureTests(RoundTripCase):
    @tag("D70")
    def test_the_page_leads_to_the_provider_with_and_without_scripts(self):
        page = self.client.get(self.depart())
        url = page.context["onward_url"]
        self.assertTrue(url.startswith(f"{self.server.address}/authorization?"))
        escaped = url.replace("&", "&amp;")
        self.assertContains(page, f'<a href="{escaped}" data-departure>')
        self.assertContains(page, f'content="0; url={escaped}"')
        self.assertIn("no-store", page["Cache-Control"])

    @tag("D70")
    def test_no_page_allows_forms_to_lead_to_another_host(self):
        for page in (LOGIN, self.depart()):
            policy = self.client.get(page)["Content-Security-Policy"]
            self.assertIn("form-action 'self';", f"{policy};")
            self.assertNotIn(self.server.address, policy)

    @tag("D70")
    def test_leads_nowhere_in_another_browser(self):
        departure = self.depart()
        response = Client().get(departure)
        self.assertRedirects(response, LOGIN, fetch_redirect_response=False)

    @tag("D70")
    def test_leads_nowhere_for_a_provider_that_does_not_exist(self):
        departure = self.depart().replace("company", "other")
        self.assertEqual(self.client.get(departure).status_code, 404)

    @tag("D70")
    def test_remembers_a_few_trips(self):
        departures = [self.depart() for _number in range(MAX_TRIPS + 1)]
        first = self.client.get(departures[0])
        self.assertRedirects(first, LOGIN, fetch_redirect_response=False)
        for departure in departures[1:]:
            self.assertEqual(self.client.get(departure).status_code, 200)

    @tag("D25")
    def test_asks_which_account_to_use_if_the_person_wants_another_one(self):
        url = leave(self.client, SIGN_IN, {"another_account": "1"})
        self.assertIn("&prompt=select_account", url)
        self.assertNotIn("prompt", leave(self.client, SIGN_IN))


class ReturnTests(RoundTripCase):
    def test_the_departure_page_then_leads_to_the_wanted_page(self):
        departure = self.depart()
        answer = self.visit(self.find_url(departure))
        page = self.client.get(CALLBACK, answer, headers=DOCUMENT)
        self.assertContains(page, f'<a href="{WANTED}" data-return>')
        self.assertContains(page, f'content="0; url={WANTED}"')
        self.assertTrue(self.is_signed_in())
        self.assertRedirects(self.client.get(departure), WANTED)

    def test_the_departure_page_leads_to_the_answer_of_people_who_are_refused(self):
        departure = self.depart()
        answer = self.visit(self.find_url(departure), email="nobody@example.com")
        page = self.client.get(CALLBACK, answer, headers=DOCUMENT)
        self.assertRedirects(
            self.client.get(departure),
            page.context["onward_url"],
            fetch_redirect_response=False,
        )

    @override_settings(SECOND_FACTOR="optional")
    def test_the_departure_page_leads_on_to_the_second_factor(self):
        self.come()
        secret, _codes = self.set_up()
        self.client.logout()
        departure = self.depart()
        answer = self.visit(self.find_url(departure))
        self.client.get(CALLBACK, answer, headers=DOCUMENT)
        self.assertRedirects(self.client.get(departure), ENTER_CODE)
        self.assertRedirects(self.enter_code(make_code(secret, 1)), WANTED)

    def test_the_session_keeps_no_address_of_the_provider(self):
        first = self.depart()
        self.depart()
        self.client.get(CALLBACK, self.visit(self.find_url(first)))
        trips = self.client.session["round_trips"]
        self.assertEqual(len(trips), 2)
        self.assertNotIn(self.server.address, str(trips))


class SignedInTests(RoundTripCase):
    """People who come to the pages of the sign-in when they are signed in."""

    def test_the_sign_in_page_leads_to_the_wanted_page(self):
        self.client.force_login(self.ada)
        response = self.client.get(f"{LOGIN}?next={WANTED}")
        self.assertRedirects(response, WANTED)

    def test_the_sign_in_page_does_not_lead_to_another_site(self):
        self.client.force_login(self.ada)
        response = self.client.get(f"{LOGIN}?next=https://evil.example/")
        self.assertRedirects(response, "/admin/")

    def test_what_is_no_address_of_a_page_is_ignored(self):
        self.client.force_login(self.ada)
        for wanted in ("x", "logout", "?x", "./x", "http://testserver/admin/"):
            with self.subTest(wanted):
                response = self.client.get(LOGIN, {"next": wanted})
                self.assertRedirects(response, "/admin/")
                departure = self.depart(wanted=wanted)
                answer = {"state": departure.split("/")[-2], "error": "access_denied"}
                response = self.client.get(CALLBACK, answer)
                self.assertRedirects(response, "/admin/")
                self.assertRedirects(self.client.get(departure), "/admin/")

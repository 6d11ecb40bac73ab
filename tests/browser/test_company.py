"""Going to a company's provider and back, over several hosts, in a real browser."""

from urllib.parse import parse_qsl, urlencode, urlsplit

from playwright.sync_api import expect

from orgadmin.people.invitations import invite
from tests.browser import PHONE, BrowserTestCase
from tests.browser.test_signin import use_company_server
from tests.factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_user,
    set_role,
)
from tests.identity import Answer
from tests.mailing import read_link, send_invitation

PAGE = "/admin/orgadmin/organization/"
BUTTON = "Sign in with Example"


class RoundTripCase(BrowserTestCase):
    """The issuer is on 127.0.0.1. Browsers find any name below "localhost" there, too.

    The site is on "localhost".
    """

    def setUp(self):
        super().setUp()
        self.acme = create_organization("Acme")
        self.ada = create_user(
            "ada", first_name="Ada", email="ada@example.com", admin_of=[self.acme]
        )
        self.ada.verify_email()
        self.server = use_company_server(self, "ada@example.com")
        self.login_host = self.name_host("login.localhost")
        self.broker_host = self.name_host("broker.localhost")
        self.other_servers = (self.server.address, self.login_host, self.broker_host)
        self.hosts = []
        self.page.on("request", self.note_host)

    def name_host(self, name):
        return f"http://{name}:{self.server.server_port}"

    def note_host(self, request):
        host = urlsplit(request.url).hostname
        if request.is_navigation_request() and host not in self.hosts[-1:]:
            self.hosts.append(host)

    def use_endpoint(self, host):
        """Make the provider sign people in on another host than the issuer's host."""
        self.server.discovery_changes = {
            "authorization_endpoint": f"{host}/authorization"
        }

    def use_broker(self):
        """Make the endpoint redirect at once to a third host, which signs people in."""
        self.use_endpoint(self.broker_host)
        self.server.answers = {
            "/authorization": self.redirect_on,
            "/third": lambda handler: handler.redirect_back(),
        }

    def redirect_on(self, handler):
        query = urlsplit(handler.path).query
        handler.send(Answer("", 302, Location=f"{self.login_host}/third?{query}"))

    def use_form(self):
        """Make people press a button at the provider."""
        self.used = set()
        self.server.answers = {
            "/authorization": self.show_form,
            "/press": self.use_up_form,
        }

    def show_form(self, handler):
        query = dict(parse_qsl(urlsplit(handler.path).query))
        if query["state"] in self.used:
            handler.send(Answer("This page has expired.", 400))
            return
        button = f'<a href="/press?{urlencode(query)}">Allow</a>'
        handler.send(Answer(button, **{"Content-Type": "text/html"}))

    def use_up_form(self, handler):
        query = dict(parse_qsl(urlsplit(handler.path).query))
        self.used.add(query["state"])
        handler.redirect_back()

    def press_button(self, page=None):
        (page or self.page).get_by_role("button", name=BUTTON).click()

    def expect_acme(self, page=None):
        acme = (page or self.page).get_by_role("link", name="Acme", exact=True)
        expect(acme).to_be_visible()


class HostTests(RoundTripCase):
    def test_an_endpoint_on_another_host_than_the_issuer(self):
        self.use_endpoint(self.login_host)
        self.page.goto(PAGE)
        self.press_button()
        self.expect_acme()
        self.assertEqual(self.hosts, ["localhost", "login.localhost", "localhost"])

    def test_a_broker_that_redirects_at_once_to_a_third_host(self):
        self.use_broker()
        self.page.goto(PAGE)
        self.press_button()
        self.expect_acme()
        self.assertEqual(
            self.hosts,
            ["localhost", "broker.localhost", "login.localhost", "localhost"],
        )

    def test_a_browser_without_scripts(self):
        self.use_broker()
        page = self.open_page(java_script_enabled=False)
        page.goto(PAGE)
        self.press_button(page)
        self.expect_acme(page)


class SignOutTests(RoundTripCase):
    def end(self, handler):
        """Sign someone out, and lead them back as they asked."""
        query = dict(parse_qsl(urlsplit(handler.path).query))
        self.assertEqual(query["id_token_hint"].count("."), 2)
        url = f"{query['post_logout_redirect_uri']}?state={query['state']}"
        handler.send(Answer("", 302, Location=url))

    def redirect_to_end(self, handler):
        query = urlsplit(handler.path).query
        handler.send(Answer("", 302, Location=f"{self.broker_host}/third?{query}"))

    def test_signing_out_there_as_well_over_two_more_hosts(self):
        self.server.discovery_changes = {
            "end_session_endpoint": f"{self.login_host}/end"
        }
        self.server.answers = {"/end": self.redirect_to_end, "/third": self.end}
        self.page.goto(PAGE)
        self.press_button()
        self.expect_acme()
        self.hosts.clear()
        self.sign_out(self.page)
        self.page.get_by_role("button", name="Sign out of Example").click()
        done = self.page.get_by_text("signed out of this site and of Example")
        expect(done).to_be_visible()
        self.assertEqual(
            self.hosts,
            ["localhost", "login.localhost", "broker.localhost", "localhost"],
        )
        self.page.go_back()
        expect(self.page.get_by_role("heading", name="signed out")).to_be_visible()


class HistoryTests(RoundTripCase):
    def sign_in(self):
        self.use_form()
        self.page.goto("/admin/login/")
        self.page.goto(PAGE)
        self.press_button()
        self.page.get_by_text("Allow").click()
        self.expect_acme()

    def test_back_does_not_lead_to_the_pages_of_the_provider(self):
        self.sign_in()
        for _ in range(2):
            self.page.go_back()
            self.expect_signed_in(self.page)
        self.assertEqual(self.hosts[-1], "localhost")

    def test_back_from_the_provider_leads_to_the_sign_in_page(self):
        self.use_form()
        self.page.goto(PAGE)
        self.press_button()
        expect(self.page.get_by_text("Allow")).to_be_visible()
        self.page.go_back()
        expect(self.page.get_by_role("link", name="Continue")).to_be_visible()
        self.page.go_back()
        expect(self.page.get_by_role("button", name=BUTTON)).to_be_visible()
        self.press_button()
        self.page.get_by_text("Allow").click()
        self.expect_acme()


class TabTests(RoundTripCase):
    def test_a_second_tab_gets_to_its_page(self):
        second = self.page.context.new_page()
        for tab in (self.page, second):
            tab.goto(PAGE)
        for tab in (self.page, second):
            self.press_button(tab)
            self.expect_acme(tab)

    def test_two_tabs_at_the_provider(self):
        self.use_form()
        second = self.page.context.new_page()
        for tab in (self.page, second):
            tab.goto(PAGE)
            self.press_button(tab)
            expect(tab.get_by_text("Allow")).to_be_visible()
        for tab in (self.page, second):
            tab.get_by_text("Allow").click()
            self.expect_acme(tab)

    def test_the_address_of_the_answer_again(self):
        answers = []
        self.page.on("request", lambda request: answers.append(request.url))
        self.page.goto(PAGE)
        self.press_button()
        self.expect_acme()
        [answer] = [url for url in answers if "/callback/" in url]
        self.page.goto(answer)
        self.expect_acme()


class InvitationTests(RoundTripCase):
    viewport = PHONE

    def test_accepting_with_the_company_account(self):
        set_role(self.acme, [self.ada], ADMIN)
        send_invitation(invite(self.acme, "nora@example.com", REVIEWER, actor=self.ada))
        self.server.person = {"sub": "2", "email": "nora@example.com"}
        self.page.goto(read_link())
        self.page.get_by_role("button", name="Accept with Example").click()
        problem = self.page.get_by_text("does not confirm that you receive mail")
        expect(problem).to_be_visible()
        self.server.person["email_verified"] = True
        self.page.get_by_role("button", name="Use another account").click()
        self.page.wait_for_url(f"**{PAGE}{self.acme.pk}/overview/")
        done = self.page.get_by_text("You now have access to “Acme”.")
        expect(done).to_be_visible()

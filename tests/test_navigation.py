"""The frame of the pages: navigation, titles, and the language switch."""

import re

from django.test import Client, TestCase, tag

from orgadmin.models import User
from tests.factories import create_organization, create_superuser, create_user

NAVIGATION = re.compile(r'<nav class="side".*?</nav>', re.DOTALL)
LINK = re.compile(r'<a href="([^"]*)"( aria-current="(?:page|true)")?')
HOME = "/admin/"
LIST = "/admin/orgadmin/organization/"
CONTACTS = "/admin/orgadmin/contact/"
PEOPLE = "/admin/orgadmin/user/"
OVERSIGHT = [
    "/admin/orgadmin/membershipevent/",
    "/admin/orgadmin/auditevent/",
    "/admin/orgadmin/accessreview/",
    "/admin/auth/group/",
    f"{LIST}import/",
    "/admin/unsent-mail/",
]


class NavigationTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")

    def find_links(self, user, url=HOME):
        """Return the links of the navigation, and those marked as current."""
        self.client.force_login(user)
        [navigation] = NAVIGATION.findall(self.client.get(url).content.decode())
        links = LINK.findall(navigation)
        marked = [(link, mark) for link, mark in links if mark]
        return [link for link, _mark in links], marked

    @tag("A32")
    def test_links_only_to_what_the_person_may_open(self):
        superuser = create_superuser()
        everything = [HOME, LIST, PEOPLE, CONTACTS, *OVERSIGHT]
        viewer = create_user("v", is_staff=True, permissions=["view_organization"])
        manager = create_user("m", is_staff=True, permissions=["view_user"])
        admin = create_user("a", admin_of=[self.acme])
        for user, expected in (
            (superuser, everything),
            (viewer, [HOME, LIST, CONTACTS]),
            (manager, [HOME, PEOPLE]),
            (admin, [HOME, LIST, CONTACTS]),
            (create_user("s", is_staff=True), [HOME]),
        ):
            with self.subTest(user=user):
                links, _marked = self.find_links(user)
                self.assertEqual(links, expected)
                for link in links:
                    self.assertEqual(self.client.get(link).status_code, 200, link)

    def test_people_without_access_have_no_navigation(self):
        self.client.force_login(create_user("outsider"))
        response = self.client.get("/admin/account/")
        self.assertNotContains(response, 'class="side"')
        self.assertNotContains(response, 'role="search"')

    def test_marks_where_the_person_is(self):
        root = create_superuser()
        page = ' aria-current="page"'
        below = ' aria-current="true"'
        for url, expected in (
            (HOME, [(HOME, page)]),
            (LIST, [(LIST, page)]),
            (f"{LIST}{self.acme.pk}/change/", [(LIST, below)]),
            (f"{LIST}{self.acme.pk}/people/", [(LIST, below)]),
            (f"{LIST}import/", [(f"{LIST}import/", page)]),
            ("/admin/orgadmin/import/", [(f"{LIST}import/", below)]),
            ("/admin/account/", []),
        ):
            with self.subTest(url=url):
                _links, marked = self.find_links(root, url)
                self.assertEqual(marked, expected)

    def test_popups_have_no_frame(self):
        self.client.force_login(create_superuser())
        response = self.client.get(f"{LIST}add/?_popup=1")
        for part in ('class="side"', 'id="header"', 'class="trail"', "object-tools"):
            self.assertNotContains(response, part)


class TitleTests(TestCase):
    def test_name_the_object_first(self):
        acme = create_organization("Acme & Sons")
        self.client.force_login(create_superuser())
        for page, title in (
            ("", "Organizations – Organizations"),
            (f"{acme.pk}/change/", "Acme &amp; Sons · Change organization – "),
            (f"{acme.pk}/history/", "Acme &amp; Sons · "),
            (f"{acme.pk}/delete/", "Acme &amp; Sons · "),
        ):
            with self.subTest(page=page):
                response = self.client.get(f"{LIST}{page}")
                self.assertContains(response, f"<title>{title}")


class LanguageSwitchTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.anna = create_user("anna", admin_of=[self.acme])

    def switch(self, client, language, to=LIST):
        data = {"language": language, "next": to}
        return client.post("/admin/language/", data)

    def test_visitors_get_a_cookie_and_stay_on_their_page(self):
        page = "/admin/password_reset/?a=1"
        response = self.switch(self.client, "de", page)
        self.assertRedirects(response, page)
        self.assertContains(self.client.get("/admin/login/"), '<html lang="de"')
        self.switch(self.client, "en", page)
        self.assertContains(self.client.get("/admin/login/"), '<html lang="en')

    def test_people_keep_their_choice_on_all_devices(self):
        self.client.force_login(self.anna)
        self.assertRedirects(self.switch(self.client, "de"), LIST)
        self.assertEqual(User.objects.get(pk=self.anna.pk).language, "de")
        other = Client()
        other.force_login(self.anna)
        self.assertContains(other.get(LIST), '<html lang="de"')

    def test_the_switch_names_each_language_in_itself_and_keeps_the_page(self):
        self.client.force_login(self.anna)
        response = self.client.get(f"{LIST}?q=a&o=1")
        self.assertContains(response, '<button name="language" value="de" lang="de">')
        self.assertContains(response, "Deutsch</button>")
        self.assertContains(response, 'name="next" value="/admin/orgadmin/organization')
        self.assertContains(response, "?q=a&amp;o=1")

    def test_unknown_languages_change_nothing(self):
        self.client.force_login(self.anna)
        for language in ("xx", "", "de-nothing", "\0"):
            self.switch(self.client, language)
        self.assertEqual(User.objects.get(pk=self.anna.pk).language, "")

    @tag("D14")
    def test_leads_to_no_other_site(self):
        for client in (Client(), self.client):
            if client is self.client:
                client.force_login(self.anna)
            for to in (
                "https://evil.example/",
                "//evil.example/",
                "/\\evil.example",
                "javascript:alert(1)",
                "http:///evil.example",
            ):
                with self.subTest(to=to):
                    response = self.switch(client, "de", to)
                    self.assertEqual(response.headers["Location"], "/")

    @tag("D8")
    def test_needs_a_token_and_a_form(self):
        client = Client(enforce_csrf_checks=True)
        client.force_login(self.anna)
        self.assertEqual(self.switch(client, "de").status_code, 403)
        self.assertEqual(self.client.get("/admin/language/").status_code, 405)
        self.assertEqual(User.objects.get(pk=self.anna.pk).language, "")

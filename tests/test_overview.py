"""The page on which people read an organization, and the tabs of its pages."""

from django.test import TestCase, override_settings, tag
from django.urls import reverse

from orgadmin.models import Invitation
from orgadmin.people.invitations import invite

from .factories import (
    NO_CONTACTS,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    grant,
)

ALL_TABS = ["Overview", "People", "Contacts", "Access", "History"]
TABS_OF_REVIEWERS = ["Overview", "Contacts", "History"]


def get_url(organization, page="overview"):
    return reverse(f"admin:orgadmin_organization_{page}", args=[organization.pk])


class OverviewMixin:
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.acme = create_organization(
            "Acme",
            reference="R-7",
            website="https://acme.example",
            email="office@acme.example",
            phone="+4930998877",
            tax_id="Secret tax",
        )
        cls.admin = create_user(
            "ada", first_name="Ada", last_name="Stone", admin_of=[cls.acme]
        )
        cls.reviewer = create_user("remi", reviewer_of=[cls.acme])
        cls.contact = cls.acme.contacts.create(
            name="Charlie", email="charlie@acme.example", phone="+4930998878"
        )

    def open(self, user, page="overview"):
        self.client.force_login(user)
        return self.client.get(get_url(self.acme, page))

    def change(self, user, **values):
        self.acme.refresh_from_db()
        for name, value in values.items():
            setattr(self.acme, name, value)
        self.acme._history_user = user
        self.acme.save()


class OverviewTests(OverviewMixin, TestCase):
    def test_shows_stored_values_with_links(self):
        response = self.open(self.reviewer)
        self.assertContains(response, '<a href="https://acme.example"')
        self.assertContains(response, '<a href="mailto:office@acme.example"')
        self.assertContains(response, '<a href="tel:+49-30-998877"')
        self.assertContains(response, "+49 30 998877")
        self.assertContains(response, "R-7")
        self.assertContains(response, "Charlie")
        self.assertContains(response, '<a href="tel:+49-30-998878"')

    def test_an_address_that_no_browser_should_open_is_no_link(self):
        type(self.acme).objects.update(website="javascript:alert(1)", phone="ask Eve")
        self.contact.delete()
        response = self.open(self.root)
        self.assertContains(response, "javascript:alert(1)")
        self.assertNotContains(response, 'href="javascript')
        self.assertContains(response, "ask Eve")
        self.assertNotContains(response, 'href="tel:')

    def test_empty_fields_are_listed_once_as_missing(self):
        response = self.open(self.admin)
        self.assertNotContains(response, "<dt>Address</dt>")
        self.assertContains(response, "1 field missing")
        self.assertContains(response, "Address.")
        self.assertContains(response, "Complete the record")
        response = self.open(self.reviewer)
        self.assertContains(response, "1 field missing")
        self.assertNotContains(response, "Complete the record")

    @tag("A44")
    def test_confidential_fields_are_shown_only_to_those_who_may_see_them(self):
        response = self.open(self.admin)
        self.assertContains(response, "Secret tax")
        self.assertContains(response, '<span class="badge">Confidential</span>')
        editor = create_user("eddie")
        for codename in ("view_organization", "change_organization"):
            grant(editor, codename, self.acme)
        for user in (self.reviewer, editor):
            response = self.open(user)
            self.assertNotContains(response, "Secret tax")
            self.assertNotContains(response, "Confidential")

    @tag("A44")
    def test_nobody_learns_that_a_confidential_field_is_empty_or_has_changed(self):
        editor = create_user("eddie")
        for codename in ("view_organization", "change_organization"):
            grant(editor, codename, self.acme)
        self.change(self.admin, phone="+4930998879")
        pages = {}
        for user in (self.reviewer, editor):
            pages[user] = self.read_facts(user)
        self.change(self.root, tax_id="")
        self.change(self.root, notes="New")
        for user in (self.reviewer, editor):
            with self.subTest(user=user):
                self.assertEqual(self.read_facts(user), pages[user])
        self.assertContains(self.open(self.admin), "2 fields missing")

    def read_facts(self, user):
        """Return what the page says, except for what differs each time."""
        context = self.open(user).context
        change = context["last_change"]
        changes = [entry.get_change_message() for entry in context["changes"]]
        return (
            [detail.text for detail in context["details"]],
            [str(label) for label in context["missing"]],
            changes,
            (change.action_time, change.author),
        )

    def test_does_not_name_an_author_who_is_not_known(self):
        response = self.open(self.root)
        self.assertContains(response, "Changed on")
        self.assertNotContains(response, "unknown")

    def test_names_who_made_the_last_change_as_far_as_people_may_know(self):
        self.change(self.admin, phone="+4930998879")
        self.assertContains(self.open(self.admin), "by Ada")
        self.assertContains(self.open(self.reviewer), "An admin of this organization")
        self.change(self.root, phone="+4930998870")
        self.assertContains(self.open(self.root), "by root")
        for user in (self.admin, self.reviewer):
            response = self.open(user)
            self.assertContains(response, "by Platform staff")
            self.assertNotContains(response, "root")

    @tag("A44")
    def test_admins_are_named_to_those_who_manage_people(self):
        response = self.open(self.admin)
        self.assertContains(response, "Who looks after it")
        self.assertContains(response, "Ada Stone")
        self.assertContains(response, "Admin since")
        response = self.open(self.reviewer)
        self.assertNotContains(response, "Who looks after it")
        self.assertNotContains(response, "Ada Stone")

    @tag("A44")
    @override_settings(REVIEWERS_SEE_ADMINS=True)
    def test_admins_are_named_to_reviewers_if_a_setting_allows_it(self):
        create_user("gone", first_name="Gone", admin_of=[self.acme], is_active=False)
        response = self.open(self.reviewer)
        self.assertContains(response, "Ada Stone")
        self.assertNotContains(response, "Gone")
        self.assertNotContains(response, get_url(self.acme, "people"))

    @tag("A44")
    def test_pending_invitations_are_shown_to_those_who_manage_people(self):
        invite(self.acme, "new@example.com", REVIEWER, actor=self.admin)
        response = self.open(self.admin)
        self.assertContains(response, "new@example.com")
        self.assertContains(response, "expires on")
        self.assertNotContains(self.open(self.reviewer), "new@example.com")
        Invitation.objects.update(sent_at="2020-01-01T00:00Z")
        self.assertContains(self.open(self.admin), "Expired")

    def test_offers_what_the_person_may_do(self):
        edit = f'href="{get_url(self.acme, "change")}">Edit'
        delete = get_url(self.acme, "delete")
        for user, may_edit, may_delete in (
            (self.root, True, True),
            (self.admin, True, False),
            (self.reviewer, False, False),
        ):
            content = self.open(user).content.decode()
            with self.subTest(user=user):
                self.assertEqual(edit in content, may_edit)
                self.assertEqual(delete in content, may_delete)

    def test_takes_the_same_queries_whatever_there_is(self):
        numbers = {self.reviewer: 9, self.admin: 15, self.root: 14}
        self.change(self.admin, phone="1")
        self.open(self.admin)
        for start in (0, 100):
            for user, number in numbers.items():
                self.client.force_login(user)
                with self.subTest(user=user), self.assertNumQueries(number):
                    self.client.get(get_url(self.acme))
            for number in range(start, start + 10):
                self.acme.contacts.create(name=f"Contact {number}")
                create_user(f"user {number}", admin_of=[self.acme])
                self.change(self.admin, phone=str(number))

    def test_the_page_to_edit_takes_fewer_queries_than_the_overview(self):
        """It shows no people, invitations and changes."""
        self.open(self.admin, "change")
        with self.assertNumQueries(5):
            self.client.get(get_url(self.acme, "change"))


class TabTests(OverviewMixin, TestCase):
    def list_tabs(self, response):
        return [str(entry.label) for entry in response.context["tabs"]]

    def test_each_page_has_the_tabs_that_the_person_may_open(self):
        record = self.acme.history.last()
        pages = [*(name.lower() for name in ALL_TABS), "change", "ledger"]
        for page in pages:
            for user in (self.root, self.admin):
                with self.subTest(page=page, user=user):
                    response = self.open(user, page)
                    self.assertEqual(self.list_tabs(response), ALL_TABS)
                    self.assertContains(response, get_url(self.acme))
        self.client.force_login(self.admin)
        url = f"{get_url(self.acme, 'restore')}?to={record.pk}"
        self.assertEqual(self.list_tabs(self.client.get(url)), ALL_TABS)
        for page in ("overview", "contacts", "history", "change"):
            with self.subTest(page=page):
                response = self.open(self.reviewer, page)
                self.assertEqual(self.list_tabs(response), TABS_OF_REVIEWERS)
                self.assertEqual(response.status_code, 200)

    def test_the_tab_of_the_page_is_marked(self):
        current = {"overview": "Overview", "change": "Overview", "ledger": "People"}
        for page, label in current.items():
            tabs = self.open(self.admin, page).context["tabs"]
            marked = [str(entry.label) for entry in tabs if entry.is_current]
            self.assertEqual(marked, [label])

    def test_saving_leads_to_the_overview(self):
        self.client.force_login(self.admin)
        data = NO_CONTACTS | {"name": "Acme", "phone": "1"}
        response = self.client.post(get_url(self.acme, "change"), data, follow=True)
        self.assertRedirects(response, get_url(self.acme))
        self.assertContains(response, "was changed successfully")
        url = get_url(self.acme, "change")
        response = self.client.post(url, data | {"_continue": "1"})
        self.assertRedirects(response, url)

    def test_adding_leads_to_the_overview(self):
        self.client.force_login(self.root)
        url = reverse("admin:orgadmin_organization_add")
        response = self.client.post(url, NO_CONTACTS | {"name": "New"})
        new = type(self.acme).objects.get(name="New")
        self.assertRedirects(response, get_url(new))
        response = self.client.post(
            url, NO_CONTACTS | {"name": "Newer", "_addanother": "1"}
        )
        self.assertRedirects(response, url)


class RefusalTests(OverviewMixin, TestCase):
    """Pages that a person cannot open, of an organization that they can view."""

    PAGES = {
        "people": "People",
        "ledger": "Membership log",
        "access": "Access",
        "restore": "Restore an earlier version",
        "delete": "Archive",
    }

    @tag("A45")
    def test_say_that_the_role_does_not_include_the_page(self):
        self.client.force_login(self.reviewer)
        for page, label in self.PAGES.items():
            for method in (self.client.get, self.client.post):
                with self.subTest(page=page, method=method.__name__):
                    response = method(get_url(self.acme, page), {"post": "yes"})
                    self.assertContains(
                        response,
                        "Your role in “Acme” is Reviewer. It does not include"
                        f" “{label}”.",
                        status_code=403,
                    )
                    self.assertNotContains(response, "Ada Stone", status_code=403)
        response = self.client.post(get_url(self.acme, "change"), {"name": "New"})
        self.assertContains(response, "It does not include “Edit”.", status_code=403)
        self.assertContains(
            response, "Ask an admin of this organization.", status_code=403
        )

    @tag("A45")
    @override_settings(REVIEWERS_SEE_ADMINS=True)
    def test_name_admins_only_if_the_person_may_know_them(self):
        response = self.open(self.reviewer, "people")
        self.assertContains(response, "<bdi>Ada Stone</bdi>", status_code=403)

    @tag("A45")
    def test_name_platform_staff_for_what_no_role_includes(self):
        response = self.open(self.admin, "delete")
        self.assertContains(
            response, "Only platform staff can do this.", status_code=403
        )
        self.assertNotContains(response, "root", status_code=403)

    @tag("A45")
    def test_are_refused_to_people_without_a_role_in_other_words(self):
        viewer = create_user("vera", is_staff=True, permissions=["view_organization"])
        self.assertContains(
            self.open(viewer, "people"),
            "You can view “Acme”, but your permissions do not include “People”.",
            status_code=403,
        )

    @tag("A45")
    def test_of_a_contact_name_the_role_in_its_organization(self):
        self.client.force_login(self.reviewer)
        for page in ("change", "delete"):
            url = reverse(f"admin:orgadmin_contact_{page}", args=[self.contact.pk])
            response = self.client.post(url, {"post": "yes", "name": "x"})
            self.assertContains(
                response, "Your role in “Acme” is Reviewer.", status_code=403
            )

    @tag("A1", "A45")
    def test_of_hidden_organizations_answer_like_those_of_missing_ones(self):
        hidden = create_organization("Canary")
        missing_pk = hidden.pk + 1
        contact = hidden.contacts.create(name="Canary")
        urls = [get_url(hidden, page) for page in [*self.PAGES, "change", "overview"]]
        urls = [(url, url.replace(f"/{hidden.pk}/", "/MISSING/")) for url in urls]
        self.client.force_login(self.reviewer)
        for method in (self.client.get, self.client.post):
            for url, pattern in urls:
                missing = pattern.replace("MISSING", str(missing_pk))
                texts = []
                for address, key in ((url, hidden.pk), (missing, missing_pk)):
                    response = method(address, {"post": "yes"}, follow=True)
                    self.assertNotContains(
                        response, "Canary", status_code=response.status_code
                    )
                    text = response.content.decode().replace(f"“{key}”", "“KEY”")
                    text = text.replace(f"/{key}/", "/KEY/")
                    texts.append((response.status_code, remove_token(text)))
                with self.subTest(url=url, method=method.__name__):
                    self.assertEqual(*texts)
        texts = []
        for key in (contact.pk, contact.pk + 1):
            url = reverse("admin:orgadmin_contact_delete", args=[key])
            response = self.client.get(url)
            texts.append((response.status_code, response.content))
        self.assertEqual(*texts)


def remove_token(text):
    lines = text.splitlines()
    return [line for line in lines if "csrfmiddlewaretoken" not in line]

from django.db import connection
from django.test import TestCase, tag
from django.test.utils import CaptureQueriesContext

from orgadmin.front import CARDS, NAMED
from orgadmin.models import Contact, Organization

from .factories import create_organization, create_superuser, create_user

FRONT = "/admin/"


class CardTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme", website="https://acme.example", phone="1", address="1 Road")
        self.beta = create_organization("Beta", tax_id="SECRET")
        create_organization("Foreign", phone="CANARY")
        self.ada = create_user("ada", first_name="Ada", admin_of=[self.acme], reviewer_of=[self.beta])
        self.client.force_login(self.ada)

    def read(self):
        response = self.client.get(FRONT)
        return response, {card.name: card for card in response.context["cards"]}

    @tag("A42")
    def test_tell_of_ones_own_organizations_what_the_role_there_lets_one_know(self):
        create_user("bob", first_name="Bob", last_name="Builder", admin_of=[self.acme])
        create_user("gone", is_active=False, reviewer_of=[self.acme])
        create_user("zoe", admin_of=[self.beta])
        response, cards = self.read()
        self.assertEqual(list(cards), ["Acme", "Beta"])
        acme, beta = cards.values()
        self.assertEqual((acme.role.key, beta.role.key), ("admin", "reviewer"))
        self.assertEqual([person.username for person in acme.people], ["bob"])
        self.assertEqual([str(name) for name in acme.missing], ["e-mail", "tax ID"])
        self.assertEqual(acme.changed_at, self.acme.history.latest().history_date)
        for what in ("people", "more", "missing", "changed_at"):
            self.assertFalse(hasattr(beta, what), what)
        self.assertContains(response, "Bob Builder")
        for hidden in ("zoe", "gone", "CANARY", "Foreign", "SECRET"):
            self.assertNotContains(response, hidden)

    def test_name_a_few_people_and_count_the_others(self):
        for number in range(NAMED + 2):
            create_user(f"person-{number}", admin_of=[self.acme])
        response, cards = self.read()
        self.assertEqual((len(cards["Acme"].people), cards["Acme"].more), (NAMED, 2))
        self.assertContains(response, "and 2 more")

    def test_cost_the_same_for_one_and_for_many(self):
        queries = self.count()
        rows = Organization.objects.bulk_create(Organization(name=f"Many {number}") for number in range(30))
        self.ada.groups.add(*(row.admin for row in rows))
        _response, cards = self.read()
        self.assertEqual(len(cards), CARDS)
        self.assertEqual(self.count(), queries)
        self.assertLessEqual(queries, 9)

    def count(self):
        with CaptureQueriesContext(connection) as queries:
            self.client.get(FRONT)
        return len(queries)

    def test_are_none_for_who_may_see_all(self):
        for user in (create_superuser(), create_user("staff", is_staff=True, permissions=["view_organization"])):
            self.client.force_login(user)
            self.assertEqual(self.client.get(FRONT).context["cards"], [])


class SearchTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme Müller", reference="R1")
        Contact.objects.create(organization=self.acme, name="Muller, Eva")
        self.ada = create_user("muller", email="ada@example.com", admin_of=[self.acme])

    def find(self, user, text):
        self.client.force_login(user)
        found = self.client.get(FRONT, {"q": text}).context["found"]
        return {model_admin.opts.model_name: [str(row) for row in rows] for model_admin, rows in found}

    def test_finds_organizations_contacts_and_people_for_superusers(self):
        staff = create_superuser()
        found = {"organization": ["Acme Müller"], "contact": ["Muller, Eva"], "user": ["muller"]}
        self.assertEqual(self.find(staff, "muller"), found)
        self.assertEqual(self.find(staff, ""), {})
        self.assertContains(self.client.get(FRONT, {"q": "nobody"}), "Nothing found.")

    @tag("A42")
    def test_finds_nothing_that_one_may_not_see(self):
        outsider = create_user("out", admin_of=[create_organization("Other")])
        self.assertEqual(self.find(outsider, "muller"), {"organization": [], "contact": []})
        self.assertEqual(self.find(self.ada, "muller")["organization"], ["Acme Müller"])

    def test_shows_superusers_what_others_changed(self):
        self.client.force_login(self.ada)
        data = {"contacts-TOTAL_FORMS": "0", "contacts-INITIAL_FORMS": "0", "name": "Acme Müller", "phone": "2"}
        self.client.post(f"/admin/orgadmin/organization/{self.acme.pk}/change/", data)
        self.client.force_login(create_superuser())
        self.assertContains(self.client.get(FRONT), "Changed Phone.")

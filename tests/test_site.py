from django.db import connection
from django.test import TestCase, tag
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orgadmin.accounts import throttle
from orgadmin.admin.home import CARDS, NAMED_PER_ROLE
from orgadmin.models import Contact, Organization, SignInAttempt, User

from .factories import create_organization, create_superuser, create_user

LOGIN, FRONT = "/admin/login/", "/admin/"


class SignInTests(TestCase):
    def sign_in(self, username, password="secret"):
        return self.client.post(
            LOGIN, {"username": username, "password": password, "next": "/admin/"}
        )

    @tag("D1")
    def test_lets_in_whoever_holds_a_right_or_is_platform_staff(self):
        acme = create_organization()
        create_superuser("root")
        create_user("staff", is_staff=True)
        create_user("admin", admin_of=[acme])
        create_user("reviewer", reviewer_of=[acme])
        for username in ("root", "staff", "admin", "reviewer"):
            with self.subTest(username=username):
                self.assertRedirects(self.sign_in(username), "/admin/")
                self.client.logout()

    @tag("D2")
    def test_refuses_everybody_else_in_the_words_of_a_wrong_password(self):
        acme = create_organization()
        create_user("outsider")
        create_user("inactive", admin_of=[acme], is_active=False)
        create_user("admin", admin_of=[acme])
        attempts = [
            ("outsider", "secret"),
            ("inactive", "secret"),
            ("admin", "wrong"),
            ("nobody", "secret"),
        ]
        bodies = set()
        for username, password in attempts:
            response = self.sign_in(username, password)
            self.assertEqual(response.status_code, 200)
            self.assertNotIn("_auth_user_id", self.client.session)
            bodies.add(str(response.context["form"].errors).replace(username, ""))
        self.assertEqual(len(bodies), 1)

    def test_the_page_is_there_for_everybody(self):
        for user in (
            None,
            create_user("outsider"),
            create_user("inactive", is_active=False),
        ):
            if user:
                self.client.force_login(user)
            response = self.client.get(LOGIN)
            self.assertContains(response, 'name="username"')
            self.assertContains(response, 'name="password"')

    @tag("D14")
    def test_leads_on_only_within_the_site(self):
        create_superuser("root")
        for target in (
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
        ):
            response = self.client.post(
                LOGIN, {"username": "root", "password": "secret", "next": target}
            )
            self.assertEqual(response["Location"], "/admin/")

    def test_the_root_leads_to_the_admin(self):
        self.assertRedirects(
            self.client.get("/"), "/admin/", fetch_redirect_response=False
        )


class GuessingTests(TestCase):
    def sign_in(self, password, username="root", **extra):
        self.client.post(LOGIN, {"username": username, "password": password}, **extra)
        signed_in = "_auth_user_id" in self.client.session
        self.client.logout()
        return signed_in

    @tag("D7")
    def test_ends_after_some_failures_and_reads_like_a_wrong_password(self):
        create_superuser("root")
        first = self.client.post(LOGIN, {"username": "root", "password": "wrong"})
        for number in range(throttle.LIMIT - 1):
            self.assertFalse(self.sign_in(f"wrong {number}"))
            for nothing in ("", "\0"):  # asks nothing, and so forgets nothing
                self.sign_in(nothing)
        self.assertFalse(self.sign_in("secret"))
        last = self.client.post(LOGIN, {"username": "ROOT", "password": "secret"})
        self.assertEqual(first.context["form"].errors, last.context["form"].errors)
        self.assertTrue(self.sign_in("secret", REMOTE_ADDR="192.0.2.1"))

    def test_begins_anew_after_a_while_and_after_a_success(self):
        create_superuser("root")
        for _ in range(3):
            for number in range(throttle.LIMIT - 1):
                self.sign_in(f"wrong {number}")
            self.assertTrue(self.sign_in("secret"))
        for number in range(throttle.LIMIT):
            self.sign_in(f"wrong {number}")
        self.assertFalse(self.sign_in("secret"))
        SignInAttempt.objects.update(since=timezone.now() - throttle.WINDOW)
        self.assertTrue(self.sign_in("secret"))
        self.assertFalse(self.sign_in("wrong", username="another"))
        self.assertEqual(SignInAttempt.objects.count(), 1)

    def test_counts_names_that_nobody_has_alike(self):
        for _ in range(throttle.LIMIT):
            self.sign_in("wrong", username="nobody")
        self.assertFalse(throttle.count_attempt("sign-in", "NOBODY\n127.0.0.1"))
        self.assertTrue(throttle.count_attempt("sign-in", "NOBODY\n127.0.0.2"))


class EntryTests(TestCase):
    def test_a_signed_in_person_without_rights_is_asked_to_sign_in(self):
        self.client.force_login(create_user("outsider"))
        for url in (
            "/admin/",
            "/admin/orgadmin/organization/",
            "/admin/password_change/",
            "/admin/jsi18n/",
        ):
            self.assertRedirects(self.client.get(url), f"{LOGIN}?next={url}")

    @tag("A33")
    def test_members_change_their_password(self):
        self.client.force_login(create_user(admin_of=[create_organization()]))
        new = "correct horse battery"
        data = {"old_password": "secret", "new_password1": new, "new_password2": new}
        self.assertEqual(
            self.client.post("/admin/password_change/", data).status_code, 302
        )
        self.assertTrue(User.objects.get().check_password(new))


class CardTests(TestCase):
    def setUp(self):
        self.acme = create_organization(
            "Acme", website="https://acme.example", phone="1", address="1 Road"
        )
        self.beta = create_organization("Beta", tax_id="SECRET")
        create_organization("Foreign", phone="CANARY")
        self.ada = create_user(
            "ada", first_name="Ada", admin_of=[self.acme], reviewer_of=[self.beta]
        )
        self.client.force_login(self.ada)

    def read(self):
        response = self.client.get(FRONT)
        cards = response.context["cards"]
        return response, {card.organization.name: card for card in cards}

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
        self.assertEqual([str(name) for name in acme.missing], ["email", "tax ID"])
        self.assertEqual(acme.changed_at, self.acme.history.latest().history_date)
        for name in ("people", "more", "missing", "changed_at"):
            self.assertIsNone(getattr(beta, name), name)
        self.assertContains(response, "Bob Builder")
        for hidden in ("zoe", "gone", "CANARY", "Foreign", "SECRET"):
            self.assertNotContains(response, hidden)

    def test_name_a_few_people_and_count_the_others(self):
        for number in range(NAMED_PER_ROLE + 2):
            create_user(f"person-{number}", admin_of=[self.acme])
        response, cards = self.read()
        acme = cards["Acme"]
        self.assertEqual((len(acme.people), acme.more), (NAMED_PER_ROLE, 2))
        self.assertContains(response, "and 2 more")

    def test_cost_the_same_for_one_and_for_many(self):
        queries = self.count()
        rows = Organization.objects.bulk_create(
            Organization(name=f"Many {number}") for number in range(30)
        )
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
        for user in (
            create_superuser(),
            create_user("staff", is_staff=True, permissions=["view_organization"]),
        ):
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
        return {
            results.model_admin.opts.model_name: [str(row) for row in results.rows]
            for results in found
        }

    def test_finds_organizations_contacts_and_people_for_superusers(self):
        staff = create_superuser()
        found = {
            "organization": ["Acme Müller"],
            "contact": ["Muller, Eva"],
            "user": ["muller"],
        }
        self.assertEqual(self.find(staff, "muller"), found)
        self.assertEqual(self.find(staff, ""), {})
        self.assertContains(self.client.get(FRONT, {"q": "nobody"}), "Nothing found.")

    @tag("A42")
    def test_finds_nothing_that_one_may_not_see(self):
        outsider = create_user("out", admin_of=[create_organization("Other")])
        self.assertEqual(
            self.find(outsider, "muller"), {"organization": [], "contact": []}
        )
        self.assertEqual(self.find(self.ada, "muller")["organization"], ["Acme Müller"])

    def test_shows_superusers_what_others_changed(self):
        self.client.force_login(self.ada)
        data = {
            "contacts-TOTAL_FORMS": "0",
            "contacts-INITIAL_FORMS": "0",
            "name": "Acme Müller",
            "phone": "2",
        }
        self.client.post(f"/admin/orgadmin/organization/{self.acme.pk}/change/", data)
        self.client.force_login(create_superuser())
        self.assertContains(self.client.get(FRONT), "Changed Phone.")

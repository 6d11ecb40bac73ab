"""How pages name people, so that readers know who they are."""

from django.test import TestCase, tag

from orgadmin.models import User
from orgadmin.models.naming import mark_namesakes
from orgadmin.people.find_namesakes import mark_namesakes_among_members
from tests.factories import (
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)


class LabelTests(TestCase):
    def test_is_the_full_name_or_else_an_address(self):
        user = User(username="mary", email="mary@example.com")
        self.assertEqual(user.label, "mary@example.com")
        self.assertEqual(user.label_without_email, "mary")
        user.email = ""
        self.assertEqual(user.label, "mary")
        user.first_name, user.last_name = "Mary", "Ng"
        self.assertEqual(user.label, "Mary Ng")
        self.assertEqual(user.label_without_email, "Mary Ng")

    @tag("A50")
    def test_says_who_it_is_if_the_name_means_something_else(self):
        for name in (
            "Platform staff",
            "PLATFORM  STAFF",
            "Рlatform staff",
            "Someone",
            "Import by Mary",
            "Command assign",
            "mary@example.com",
        ):
            with self.subTest(name=name):
                user = User(username="eve", first_name=name, email="eve@example.com")
                self.assertEqual(user.label, f"{name} (eve@example.com)")
                self.assertEqual(user.label_without_email, f"{name} (eve)")
        for name in ("Commander Keen", "Importance", "Mary Staff"):
            self.assertEqual(User(username="m", first_name=name).label, name)

    @tag("A50")
    def test_names_that_look_the_same_are_told_apart(self):
        mary = User(pk=1, username="mary", first_name="Mary", last_name="Ng")
        copy = User(pk=2, username="eve", first_name="Маry", last_name="Ng")
        other = User(pk=3, username="zoe", first_name="Zoe")
        same = User(pk=3, username="zoe", first_name="Zoe")
        mark_namesakes([mary, copy, other, same])
        self.assertEqual(mary.label_without_email, "Mary Ng (mary)")
        self.assertEqual(copy.label_without_email, "Маry Ng (eve)")
        self.assertEqual(other.label_without_email, "Zoe")


class NamesOnPagesTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme")
        cls.other = create_organization("Other")
        cls.ada = create_user("ada-l", first_name="Ada", admin_of=[cls.acme])
        cls.mary = create_user(
            "mary-1", first_name="Mary", last_name="Ng", email="mary@example.com"
        )
        set_role(cls.acme, [cls.mary], REVIEWER, actor=cls.ada, notify=False)
        cls.base = f"/admin/orgadmin/organization/{cls.acme.pk}/"

    def read(self, path, user=None):
        self.client.force_login(user or self.ada)
        response = self.client.get(f"{self.base}{path}")
        self.assertEqual(response.status_code, 200)
        return response

    def test_pages_show_no_usernames_of_people_with_a_name(self):
        for path in (
            "people/",
            f"people/?remove={self.mary.pk}",
            f"people/?change={self.mary.pk}",
            f"people/?end={self.mary.pk}",
            "ledger/",
            "access/",
            "overview/",
        ):
            with self.subTest(path=path):
                page = self.read(path)
                if path != "overview/":
                    self.assertContains(page, "Mary Ng")
                self.assertNotContains(page, "mary-1")
                self.assertNotContains(page, "mary@example.com")

    def test_the_button_names_the_person(self):
        page = self.read(f"people/?remove={self.mary.pk}")
        self.assertContains(page, "Remove Mary Ng from Acme</button>")

    @tag("A50")
    def test_tells_members_apart_who_are_called_the_same(self):
        double = create_user("mary-2", first_name="mary", last_name="ng")
        self.assertContains(
            self.read(f"people/?remove={self.mary.pk}"), "Remove Mary Ng from"
        )
        set_role(self.acme, [double], REVIEWER, notify=False)
        page = self.read(f"people/?remove={self.mary.pk}")
        self.assertContains(page, "Remove Mary Ng (mary-1) from Acme")
        self.assertContains(self.read("people/"), "mary ng (mary-2)")

    def test_people_of_other_organizations_make_no_difference(self):
        create_user("mary-2", first_name="Mary", last_name="Ng", admin_of=[self.other])
        self.assertNotContains(self.read("people/"), "(mary-1)")
        mary = User.objects.get(pk=self.mary.pk)
        mark_namesakes_among_members([mary], [self.acme])
        self.assertFalse(mary.has_namesake)

    def test_the_log_names_people_who_left_as_it_stored_them(self):
        set_role(self.acme, [self.mary], None, actor=self.ada, notify=False)
        User.objects.filter(pk=self.mary.pk).update(last_name="Newname")
        page = self.read("ledger/")
        self.assertContains(page, "mary-1")
        self.assertNotContains(page, "Newname")

    def test_superusers_read_the_address_beside_the_name(self):
        root = create_superuser()
        self.assertContains(self.read("ledger/", root), "Mary Ng (mary@example.com)")
        page = self.read("people/", root)
        self.assertContains(page, "mary@example.com")
        self.assertNotContains(page, "mary-1")

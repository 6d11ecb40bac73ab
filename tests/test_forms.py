"""Two people edit the same organization at once."""

from django.test import TestCase, tag

from orgadmin.models import Contact

from .factories import create_organization, create_superuser, create_user


class MergingTests(TestCase):
    def setUp(self):
        self.acme = create_organization(
            "Acme", phone="1", address="1 Road\n2 Road", tax_id="T"
        )
        self.url = f"/admin/orgadmin/organization/{self.acme.pk}/change/"
        self.ada = create_user(
            "ada", first_name="Ada", last_name="L", admin_of=[self.acme]
        )
        self.bob = create_user("bob", admin_of=[self.acme])

    def open(self, user):
        """Return what a browser would send back from the page, as it was opened."""
        self.client.force_login(user)
        response = self.client.get(self.url)
        data = {}
        for inline in response.context["inline_admin_formsets"]:
            formset = inline.formset
            for form in [formset.management_form, *formset.initial_forms]:
                for field in form:
                    value = "" if field.value() is None else field.value()
                    data[field.html_name] = value
                    data[field.html_initial_name] = value
        for field in response.context["adminform"].form:
            if field.name in ("namesake", "freed_reference"):
                continue
            value = (field.value() or "").replace("\n", "\r\n")
            data[field.html_name] = value
            data[field.html_initial_name] = value
            self.assertContains(response, f'name="{field.html_initial_name}"')
        return data

    def send(self, user, data, **values):
        self.client.force_login(user)
        return self.client.post(self.url, data | values)

    def read(self):
        self.acme.refresh_from_db()
        return self.acme.phone, self.acme.email

    def test_both_changes_are_kept_and_the_second_person_is_told(self):
        first = self.open(self.ada)
        second = self.open(self.bob)
        self.send(self.ada, first, phone="2")
        response = self.client.get(
            self.send(self.bob, second, email="a@example.com")["Location"]
        )
        self.assertContains(
            response,
            "Someone else changed Phone while you were editing. Their change was kept;",
        )
        self.assertEqual(self.read(), ("2", "a@example.com"))
        self.assertEqual(self.acme.history.count(), 3)

    def test_if_both_changed_a_field_the_second_person_sees_who_did_and_decides(self):
        first = self.open(self.ada)
        second = self.open(self.bob)
        self.send(self.ada, first, phone="2", email="ada@example.com")
        response = self.send(self.bob, second, phone="3", address="Mine")
        form = response.context["adminform"].form
        text = (
            "Ada L changed this to “2” after you opened the page. Save again to"
            " replace it with your text."
        )
        self.assertEqual(form.errors, {"phone": [text]})
        self.assertEqual(form["phone"].value(), "3")
        self.assertEqual(form["address"].value(), "Mine")
        self.assertEqual(self.read(), ("2", "ada@example.com"))
        again = {name: form.data[name] for name in second}
        self.assertEqual(self.send(self.bob, second, **again).status_code, 302)
        self.assertEqual(self.read(), ("3", "ada@example.com"))
        self.assertEqual(self.acme.address, "Mine")

    def test_a_further_change_is_asked_about_again(self):
        first = self.open(self.ada)
        second = self.open(self.bob)
        self.send(self.ada, first, phone="2")
        form = self.send(self.bob, second, phone="3").context["adminform"].form
        again = second | {"initial-phone": form.data["initial-phone"], "phone": "3"}
        self.send(self.ada, self.open(self.ada), phone="4")
        self.assertContains(self.send(self.bob, again), "Ada L changed this to “4”")

    def test_the_same_change_by_both_is_no_conflict(self):
        first = self.open(self.ada)
        second = self.open(self.bob)
        self.send(self.ada, first, phone="2")
        self.assertEqual(self.send(self.bob, second, phone="2").status_code, 302)

    @tag("A43")
    def test_an_org_admin_is_not_told_the_names_of_platform_staff(self):
        staff = create_superuser("secret-staff")
        second = self.open(self.bob)
        self.send(staff, self.open(staff), phone="2", tax_id="T2")
        response = self.send(self.bob, second, phone="3")
        self.assertContains(response, "Platform staff changed this to “2”")
        self.assertNotContains(response, "secret-staff")

    def test_the_line_endings_of_browsers_change_nothing(self):
        self.assertEqual(self.send(self.ada, self.open(self.ada)).status_code, 302)
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.address, "1 Road\n2 Road")
        self.assertEqual(self.acme.history.count(), 1)

    def test_contacts_are_merged_too(self):
        contact = Contact.objects.create(organization=self.acme, name="Eva", phone="1")
        first = self.open(self.ada)
        second = self.open(self.bob)
        self.send(self.ada, first, **{"contacts-0-phone": "2"})
        response = self.send(self.bob, second, **{"contacts-0-phone": "3"})
        self.assertContains(response, "Someone else changed this to “2”")
        self.assertEqual(
            self.send(self.bob, second, **{"contacts-0-role": "Chair"}).status_code, 302
        )
        contact.refresh_from_db()
        self.assertEqual(contact.phone, "2")
        self.assertEqual(contact.role, "Chair")

    def test_forged_values_seen_do_not_open_other_fields(self):
        data = self.open(self.ada)
        self.send(
            self.ada,
            data,
            reference="R",
            **{"initial-reference": "X", "initial-admin": "1", "admin": "1"},
        )
        before = self.acme.admin_id
        self.acme.refresh_from_db()
        self.assertIsNone(self.acme.reference)
        self.assertEqual(self.acme.admin_id, before)

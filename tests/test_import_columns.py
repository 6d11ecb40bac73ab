"""Choosing the fields for the columns of a file."""

from django.test import SimpleTestCase

from orgadmin.models import ColumnMapping, Import, Organization
from orgadmin.records.imports.file_columns import make_mapping, preview_columns
from orgadmin.records.imports.file_records import Record
from orgadmin.records.imports.header import TitleReader

from .factories import create_superuser
from .test_stored_imports import StoredCase


def make_records(text):
    lines = text.splitlines()
    return [Record(number, line.split(",")) for number, line in enumerate(lines, 1)]


def read_columns(text, **mapping):
    return preview_columns(make_records(text), TitleReader(mapping))


class DescriptionTests(SimpleTestCase):
    def describe(self, text, **mapping):
        return [
            (column.title, column.field) for column in read_columns(text, **mapping)
        ]

    def test_known_titles_become_fields(self):
        text = "Firma,Straße,PLZ,Colour\nAcme,Weg 1,10115,red\n"
        self.assertEqual(
            self.describe(text),
            [
                ("Firma", "name"),
                ("Straße", "street"),
                ("PLZ", "postal_code"),
                ("Colour", ""),
            ],
        )

    def test_a_choice_replaces_the_title(self):
        text = "Firma,Colour\nAcme,red\n"
        self.assertEqual(
            self.describe(text, Colour="notes", Firma=""),
            [("Firma", ""), ("Colour", "notes")],
        )

    def test_three_different_values_are_samples(self):
        text = "name\n" + "a\na\n\nb\nc\nd\n"
        [column] = read_columns(text)
        self.assertEqual(column.samples, ["a", "b", "c"])

    def test_titles_that_appear_twice_or_are_missing_cannot_be_chosen(self):
        columns = read_columns("name,,Colour,colour\na,b,c,d\n")
        choosable = [column.is_choosable for column in columns]
        self.assertEqual(choosable, [True, False, False, False])

    def test_ids_of_an_export_cannot_be_chosen(self):
        columns = read_columns("id,id_key,name\n1,x,Acme\n")
        choosable = [column.is_choosable for column in columns]
        self.assertEqual(choosable, [False, False, True])

    def test_a_mapping_is_about_all_columns(self):
        columns = read_columns("Firma,Colour\nAcme,red\n")
        self.assertEqual(
            make_mapping(columns, {"Colour": "notes"}),
            {"Firma": "name", "Colour": "notes"},
        )


class PageTests(StoredCase):
    def choose(self, page, **data):
        url = page.request["PATH_INFO"]
        data |= {"preview": "1"}
        return self.client.post(url, data, follow=True)

    def test_shows_the_columns_with_their_first_values(self):
        page = self.upload("Firma,Colour\nAcme,red\nBeta,green\n")
        for text in ("Colour", "red", "green", "Not used"):
            self.assertContains(page, text)
        self.assertContains(page, '<option value="name" selected>Name</option>')

    def test_a_column_becomes_what_was_chosen(self):
        page = self.upload("Firma,Colour\nNew,red\n")
        page = self.choose(page, column_0="name", column_1="notes")
        self.assertContains(page, "notes: “red”")
        self.confirm(page, column_0="name", column_1="notes")
        self.assertEqual(Organization.objects.get(name="New").notes, "red")

    def test_a_column_can_be_left_out(self):
        page = self.upload("name,phone\nNew,1\n")
        page = self.choose(page, column_0="name", column_1="")
        self.assertNotContains(page, "phone: “1”")
        self.confirm(page)
        self.assertEqual(Organization.objects.get(name="New").phone, "")

    def test_another_choice_shows_a_preview_before_anything_is_imported(self):
        page = self.upload("name,phone\nNew,1\n")
        page = self.confirm(page, column_1="notes", column_0="name")
        self.assertContains(page, "Nothing was imported yet.")
        self.assertContains(page, "notes: “1”")

    def test_a_file_without_a_known_title_can_be_imported(self):
        page = self.upload("Wie es heißt,Was es ist\nNew,red\n")
        self.assertContains(page, "There is no column “name”.")
        page = self.choose(page, column_0="name", column_1="")
        self.assertContains(page, "Create 1 organization")
        self.confirm(page)
        self.assertTrue(Organization.objects.filter(name="New").exists())

    def test_two_columns_cannot_become_the_same(self):
        page = self.upload("name,phone,Colour\nNew,1,2\n")
        page = self.choose(page, column_0="name", column_1="phone", column_2="phone")
        self.assertContains(page, "both contain “phone”")
        page = self.choose(page, column_0="name", column_1="phone", column_2="")
        self.assertContains(page, "Create 1 organization")

    def test_nothing_else_can_be_chosen(self):
        page = self.upload("name,Colour\nNew,1\n")
        for value in ("id", "search_text", "admin", "nonsense"):
            response = self.choose(page, column_1=value)
            self.assertContains(response, "Select a valid choice.")
        self.assertEqual(Import.objects.get().choices["mapping"], {})

    def test_what_was_not_changed_stays_recognized_by_its_title(self):
        page = self.upload("name,phone\nNew,1\n")
        self.choose(page, column_0="name", column_1="phone")
        self.assertEqual(Import.objects.get().choices["mapping"], {})


class SavedTests(StoredCase):
    def press(self, page, button, **data):
        url = page.request["PATH_INFO"]
        return self.client.post(url, {button: "1", **data}, follow=True)

    def save(self, **data):
        page = self.upload("Wie es heißt,Farbe\nNew,red\n")
        data = {"column_0": "name", "column_1": "notes", "save_as": "Our CRM"} | data
        return self.press(page, "save_columns", **data)

    def test_columns_are_saved_and_used_for_another_file(self):
        page = self.save()
        self.assertContains(page, "The columns were saved as “Our CRM”.")
        self.assertContains(page, "Create 1 organization")
        self.client.force_login(create_superuser("other"))
        page = self.upload("Wie es heisst?,Neu,Farbe\nOther,x,blue\n")
        self.assertContains(page, "There is no column “name”.")
        page = self.upload("FARBE,Neu,Wie es heißt\nblue,x,Other\n")
        saved = ColumnMapping.objects.get()
        page = self.press(page, "use_columns", saved=saved.pk)
        self.assertContains(page, "notes: “blue”")
        self.confirm(page)
        self.assertEqual(Organization.objects.get(name="Other").notes, "blue")

    def test_saving_again_replaces_them(self):
        self.save()
        self.save(column_1="phone")
        self.assertEqual(
            ColumnMapping.objects.get().fields,
            {"Wie es heißt": "name", "Farbe": "phone"},
        )

    def test_they_need_a_name(self):
        self.assertContains(self.save(save_as=""), "Enter a name for the columns.")
        self.assertFalse(ColumnMapping.objects.exists())

    def test_they_can_be_deleted(self):
        page = self.save()
        saved = ColumnMapping.objects.get()
        page = self.press(page, "delete_columns", saved=saved.pk)
        self.assertContains(page, "The saved columns “Our CRM” were deleted.")
        self.assertFalse(ColumnMapping.objects.exists())

    def test_a_field_that_no_longer_exists_is_not_used(self):
        ColumnMapping.objects.create(name="Old", fields={"Farbe": "gone"})
        page = self.upload("name,Farbe\nNew,red\n")
        self.press(page, "use_columns", saved=ColumnMapping.objects.get().pk)
        self.assertNotIn("gone", Import.objects.get().choices["mapping"].values())

    def test_they_can_be_chosen_with_the_file(self):
        fields = {"Wie es heißt": "name", "Farbe": "notes"}
        saved = ColumnMapping.objects.create(name="Our CRM", fields=fields)
        page = self.upload("Neu,Wie es heißt,Farbe\nx,Other,blue\n", saved=saved.pk)
        self.assertContains(page, "notes: “blue”")
        # Without a column that the file lacks.
        page = self.upload("Wie es heißt\nThird\n", saved=saved.pk)
        self.assertContains(page, "Create 1 organization")

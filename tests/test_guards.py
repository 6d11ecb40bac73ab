"""Nothing leaves an organization without an admin, or the site without a superuser."""

import io
import re
from functools import partial
from unittest import mock, skipUnless

from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import connection
from django.http import HttpRequest
from django.test import Client, TestCase, TransactionTestCase, tag

from orgadmin.access.origin import current_request
from orgadmin.access.roles import PERMISSIONS, codename
from orgadmin.models import Invitation, MembershipEvent, User
from orgadmin.models.guards import LastAdminError, LastSuperuserError
from orgadmin.people import invitations, offboarding
from orgadmin.records.erasure import erase_person
from orgadmin.records.imports.options import ImportOptions
from orgadmin.records.imports.organizations import ImportRefused, import_organizations
from tests.factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    id_cells,
    set_role,
)
from tests.together import run_together

USERS = "/admin/orgadmin/user/"

# What the form of a person sends besides what a test is about.
DATES = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}

# A user manager who may edit admins of organizations, and sees all of these.
EVERYTHING = [codename(permission) for permission in PERMISSIONS]


def describe(user):
    """Return what the form of a person sends if nothing is changed."""
    data = {"username": user.username, "email": user.email, **DATES}
    for flag in ("is_active", "is_staff", "is_superuser"):
        if getattr(user, flag):
            data[flag] = "on"
    data["groups"] = list(user.groups.values_list("pk", flat=True))
    return data


# The import of someone who agrees that an admin loses this role.
ACCEPTING = ImportOptions(accepts_warnings=True)


class GuardCase(TestCase):
    def setUp(self):
        self.root = create_superuser("root")
        self.acme = create_organization("Acme")
        self.beta = create_organization("Beta")
        self.anna = create_user("anna", admin_of=[self.acme, self.beta])
        self.bert = create_user("bert", admin_of=[self.beta])
        self.client.force_login(self.root)

    def url(self, user, page):
        return f"{USERS}{user.pk}/{page}/"

    def change(self, user, **values):
        data = describe(user) | values
        for name, value in values.items():
            if value is None:
                del data[name]
        return self.client.post(self.url(user, "change"), data, follow=True)

    def delete_selected(self, users, **values):
        data = {
            "action": "delete_selected",
            "_selected_action": [user.pk for user in users],
            **values,
        }
        return self.client.post(USERS, data, follow=True)

    def assert_active(self, *users):
        for user in users:
            stored = User.objects.filter(pk=user.pk).first()
            self.assertIsNotNone(stored, user.username)
            self.assertTrue(stored.is_active, user.username)

    def assert_admin_stays(self):
        self.assert_active(self.anna)
        self.assertIn(self.anna, self.acme.admin.user_set.all())


class LastAdminTests(GuardCase):
    """Superusers see which organizations would have no active admin, and confirm it."""

    @tag("C11")
    def test_deactivating_is_confirmed_by_saving_again(self):
        response = self.change(self.anna, is_active=None)
        self.assertContains(response, "No active admin would be left in “Acme”")
        self.assertNotContains(response, f"({self.acme.pk}), “Beta”")
        self.assert_admin_stays()
        field = f'name="confirmed_organizations" value="{self.acme.pk}"'
        self.assertContains(response, field)
        self.change(self.anna, is_active=None, confirmed_organizations=self.acme.pk)
        self.assertFalse(User.objects.get(pk=self.anna.pk).is_active)

    @tag("C11")
    def test_deactivating_asks_once_for_both_fields(self):
        """The form asks about lost roles and about the deactivation in one step."""
        self.bert.groups.clear()
        groups = [self.beta.admin_id]
        response = self.change(self.anna, is_active=None, groups=groups)
        value = response.context["adminform"].form["confirmed_organizations"].value()
        self.assertEqual(set(value.split()), {str(self.acme.pk), str(self.beta.pk)})
        self.change(
            self.anna, is_active=None, groups=groups, confirmed_organizations=value
        )
        self.assertFalse(User.objects.get(pk=self.anna.pk).is_active)

    @tag("C11")
    def test_deactivating_an_admin_who_is_not_the_last_asks_nothing(self):
        self.change(self.bert, is_active=None)
        self.assertFalse(User.objects.get(pk=self.bert.pk).is_active)

    @tag("C11")
    def test_an_inactive_admin_does_not_count_as_one_who_stays(self):
        User.objects.filter(pk=self.bert.pk).update(is_active=False)
        response = self.change(self.anna, is_active=None)
        self.assertContains(response, "“Beta”")
        self.assert_admin_stays()

    @tag("C11")
    def test_deleting_is_confirmed_on_the_page_that_asks(self):
        url = self.url(self.anna, "delete")
        response = self.client.get(url)
        self.assertContains(response, "This organization will have no active admin:")
        self.assertContains(response, "Delete anna</button>")
        self.assertContains(response, "<bdi>Acme</bdi>")
        self.assertNotContains(response, "<bdi>Beta</bdi>")
        response = self.client.post(url, {"post": "yes"}, follow=True)
        self.assertContains(response, "no active admin would be left in “Acme”")
        self.assert_admin_stays()
        confirmed = {"post": "yes", "confirmed_organizations": f"{self.acme.pk} "}
        self.client.post(url, confirmed)
        self.assertFalse(User.objects.filter(pk=self.anna.pk).exists())

    @tag("C11")
    def test_deleting_several_is_confirmed_for_all_together(self):
        both = [self.anna, self.bert]
        response = self.delete_selected(both)
        self.assertContains(response, "<bdi>Acme</bdi>")
        self.assertContains(response, "<bdi>Beta</bdi>")
        for confirmed in ("", str(self.acme.pk), f"{self.beta.pk} x"):
            response = self.delete_selected(
                both, post="yes", confirmed_organizations=confirmed
            )
            self.assertContains(response, "Nothing was changed")
            self.assert_active(*both)
        self.assertFalse(
            self.root.logentry_set.exists(), "it was logged, but nothing was deleted"
        )
        confirmed = f"{self.acme.pk} {self.beta.pk}"
        self.delete_selected(both, post="yes", confirmed_organizations=confirmed)
        self.assertFalse(User.objects.filter(pk__in=[self.anna.pk, self.bert.pk]))

    @tag("C11")
    def test_the_field_that_confirms_names_what_the_page_shows(self):
        pages = {
            "delete": self.client.get(self.url(self.anna, "delete")),
            "delete_selected": self.delete_selected([self.anna]),
            "leave": self.client.get(self.url(self.anna, "leave")),
            "erase": self.client.get(self.url(self.anna, "erase")),
            "people": self.client.post(
                f"/admin/orgadmin/organization/{self.acme.pk}/people/",
                {"user": self.anna.pk, "remove": ""},
            ),
        }
        value = f'value="{self.acme.pk} ?"'
        field = re.compile(rf'name="confirmed_organizations"[^>]* {value}>')
        for name, response in pages.items():
            with self.subTest(page=name):
                self.assertRegex(response.content.decode(), field)

    @tag("C11")
    def test_offboarding_and_erasing_are_confirmed(self):
        """Each page refuses what its person did not see."""
        for page, data, text in (
            ("leave", {"confirmed": "1"}, "Choose who takes over each organization"),
            ("erase", {"username": "anna"}, "no active admin would be left in “Acme”"),
        ):
            with self.subTest(page=page):
                url = self.url(self.anna, page)
                response = self.client.post(url, data, follow=True)
                self.assertContains(response, text)
                self.assert_admin_stays()
        self.client.post(url, data | {"confirmed_organizations": self.acme.pk})
        self.assertFalse(User.objects.get(pk=self.anna.pk).is_active)

    @tag("C11")
    def test_an_import_is_refused(self):
        self.anna.email = "anna@example.com"
        self.anna.save()
        self.anna.verify_email()
        for actor in (self.root, None):
            cells = id_cells(self.acme.pk)
            text = f"id,id_key,name,reviewers\n{cells},Acme,anna@example.com\n"
            file = io.BytesIO(text.encode())
            if actor is None:
                import_organizations(file, actor=None, options=ACCEPTING)
                self.assertFalse(self.acme.admin.user_set.exists())
                continue
            with self.assertRaises(ImportRefused) as refused:
                import_organizations(file, actor=actor, options=ACCEPTING)
            [problem] = refused.exception.problems
            self.assertIn("“Acme” without an active admin", str(problem))
            self.assert_admin_stays()

    @tag("C11")
    def test_replacing_the_last_admin_in_one_step_asks_nothing(self):
        self.anna.email = "anna@example.com"
        self.anna.save()
        self.anna.verify_email()
        self.bert.email = "bert@example.com"
        self.bert.save()
        self.bert.verify_email()
        text = (
            "id,id_key,name,admins,reviewers\n"
            f"{id_cells(self.acme.pk)},Acme,bert@example.com,anna@example.com\n"
        )
        file = io.BytesIO(text.encode())
        import_organizations(file, actor=self.root, options=ACCEPTING)
        self.assertEqual(list(self.acme.admin.user_set.all()), [self.bert])

    @tag("C11")
    def test_a_page_that_forgets_to_name_the_actor_is_refused(self):
        """In a request, no actor does not mean a command."""
        with (
            mock.patch("orgadmin.models.guards.current_request") as request,
            self.assertRaises(LastAdminError),
        ):
            request.get.return_value = object()
            self.anna.delete()
        self.assert_admin_stays()

    def test_a_command_may(self):
        self.anna.is_active = False
        self.anna.save()
        self.assertFalse(User.objects.get(pk=self.anna.pk).is_active)

    @tag("C11")
    def test_every_way_through_the_models_is_refused(self):
        """Without a confirmation, a superuser has no way around the guard."""
        anna = User.objects.get(pk=self.anna.pk)
        anna.changed_by = self.root
        anna.is_active = False
        ways = {
            "save": anna.save,
            "delete": lambda: User.objects.filter(pk=anna.pk).delete(actor=self.root),
            "delete all": lambda: User.objects.filter(username__in=["anna"]).delete(
                actor=self.root
            ),
            "offboard": lambda: offboarding.offboard(self.anna, actor=self.root),
            "erase": lambda: erase_person(self.anna, actor=self.root),
            "role": lambda: set_role(self.acme, [self.anna], REVIEWER, actor=self.root),
        }
        for name, end_access in ways.items():
            with self.subTest(way=name), self.assertRaises(LastAdminError):
                end_access()
            self.assert_admin_stays()


class UserManagerTests(GuardCase):
    """Staff who manage people are refused, and learn no names that they do not know."""

    def setUp(self):
        super().setUp()
        self.manager = create_user(
            "manager", is_staff=True, permissions=["view_user", "change_user"]
        )
        self.client.force_login(self.manager)

    def give_everything(self):
        self.manager.user_permissions.add(
            *Permission.objects.filter(codename__in=EVERYTHING)
        )

    @tag("C11")
    def test_deactivating_the_last_admin_is_refused(self):
        self.give_everything()
        for confirmed in ("", str(self.acme.pk)):
            response = self.change(
                self.anna, is_active=None, confirmed_organizations=confirmed
            )
            self.assertContains(response, "no active admin would be left in “Acme”")
            self.assertContains(response, "or ask a superuser")
            self.assertNotContains(response, "Save again")
            self.assert_admin_stays()
        self.change(self.bert, is_active=None)
        self.assertFalse(User.objects.get(pk=self.bert.pk).is_active)

    @tag("C11")
    def test_the_message_names_no_organization_that_they_may_not_view(self):
        # People whose permissions they lack cannot be edited at all. Only if that
        # changes while the form is open, the guard gets to answer.
        with mock.patch(
            "orgadmin.admin.people.users.holds_more_than", return_value=False
        ):
            response = self.change(self.anna, is_active=None)
        self.assertContains(response, "only active admin of an organization")
        self.assertContains(response, "Ask a superuser")
        self.assertNotContains(response, "Acme")
        self.assert_admin_stays()

    @tag("C11")
    def test_it_is_refused_although_the_form_found_nothing(self):
        """The guard asks again when the change is written."""
        self.give_everything()
        with mock.patch("orgadmin.admin.forms.find_orphaned_by", return_value=[]):
            response = self.change(self.anna, is_active=None)
        self.assertContains(response, "no active admin would be left in “Acme”")
        self.assert_admin_stays()


class LastSuperuserTests(GuardCase):
    """Someone can always administer the site."""

    def assert_superuser(self, user):
        stored = User.objects.get(pk=user.pk)
        self.assertTrue(stored.is_active and stored.is_superuser)

    @tag("C12")
    def test_cannot_demote_or_deactivate_themselves(self):
        for flag in ("is_superuser", "is_active"):
            response = self.change(self.root, **{flag: None})
            self.assertContains(response, "The last active superuser must keep")
            self.assertIn(flag, response.context["adminform"].form.errors)
            self.assert_superuser(self.root)

    @tag("C12")
    def test_cannot_delete_themselves(self):
        url = self.url(self.root, "delete")
        page = self.client.get(url)
        self.assertContains(page, "this is the last active superuser")
        self.assertNotContains(page, 'value="Delete')
        response = self.client.post(url, {"post": "yes"}, follow=True)
        self.assertContains(response, "The last active superuser must keep")
        everybody = [self.root, self.anna]
        page = self.delete_selected(everybody)
        self.assertContains(page, "no active superuser would be left")
        self.assertNotContains(page, 'value="Delete')
        confirmed = str(self.acme.pk)
        response = self.delete_selected(
            everybody, post="yes", confirmed_organizations=confirmed
        )
        self.assertContains(response, "The last active superuser must keep")
        self.assert_superuser(self.root)
        self.assert_active(self.anna)

    @tag("C12")
    def test_every_way_through_the_models_is_refused(self):
        create_superuser("away", is_active=False)
        demoted = User.objects.get(pk=self.root.pk)
        demoted.changed_by = self.anna
        demoted.is_superuser = False
        deactivated = User.objects.get(pk=self.root.pk)
        deactivated.changed_by = self.root
        deactivated.is_active = False
        everybody = User.objects.all()
        ways = {
            "demote": demoted.save,
            "deactivate": deactivated.save,
            "delete all": lambda: everybody.delete(actor=self.root),
            "offboard": lambda: offboarding.offboard(self.root, actor=self.root),
            "erase": lambda: erase_person(self.root),
        }
        for name, end_access in ways.items():
            with self.subTest(way=name), self.assertRaises(LastSuperuserError):
                end_access()
            self.assert_superuser(self.root)

    @tag("C12")
    def test_a_request_that_names_no_actor_is_refused(self):
        token = current_request.set(HttpRequest())
        self.addCleanup(current_request.reset, token)
        roots = User.objects.filter(pk=self.root.pk)
        with self.assertRaises(LastSuperuserError):
            roots.update(is_superuser=False)
        with self.assertRaises(LastSuperuserError):
            roots.delete()

    def test_code_without_an_actor_may_remove_the_last(self):
        User.objects.filter(pk=self.root.pk).update(is_superuser=False)
        self.assertFalse(User.objects.filter(is_superuser=True).exists())

    @tag("C12")
    def test_a_superuser_who_is_not_the_last_can_go(self):
        second = create_superuser("second")
        self.change(second, is_superuser=None)
        self.assertFalse(User.objects.get(pk=second.pk).is_superuser)
        third = create_superuser("third")
        self.client.post(self.url(third, "delete"), {"post": "yes"})
        self.assertFalse(User.objects.filter(pk=third.pk).exists())

    @tag("C12")
    def test_the_erasure_explains_itself(self):
        with self.assertRaisesMessage(CommandError, "last active superuser"):
            call_command("erase_person", "root", "--yes")
        self.assert_superuser(self.root)


class SentInvitationTests(GuardCase):
    """Invitations end with the access of the person who sent them."""

    def setUp(self):
        super().setUp()
        self.second = create_superuser("second")
        invitations.invite(self.beta, "new@example.com", REVIEWER, actor=self.bert)
        invitations.invite(self.acme, "other@example.com", REVIEWER, actor=self.anna)

    def assert_revoked(self, reason, actor):
        emails = list(Invitation.objects.values_list("email", flat=True))
        self.assertEqual(emails, ["other@example.com"])
        event = MembershipEvent.objects.get(event="withdrawn")
        self.assertEqual(event.user_name, "new@example.com")
        self.assertEqual(event.organization_key, self.beta.pk)
        self.assertEqual(event.actor_name, actor)
        self.assertEqual(event.reason, reason)

    @tag("D37")
    def test_offboarding_revokes_them(self):
        url = self.url(self.bert, "leave")
        self.assertContains(self.client.get(url), "An invitation that they sent")
        self.client.post(url, {"confirmed": "1"})
        self.assert_revoked("The person who sent it was offboarded.", "root")

    @tag("D37")
    def test_deactivating_revokes_them(self):
        self.change(self.bert, is_active=None)
        self.assert_revoked("The person who sent it was deactivated.", "root")

    @tag("D37")
    def test_deleting_revokes_them(self):
        self.client.post(self.url(self.bert, "delete"), {"post": "yes"})
        self.assert_revoked("The person who sent it was deleted.", "root")

    @tag("D37")
    def test_erasing_revokes_them(self):
        erase_person(self.bert, actor=self.root)
        self.assert_revoked("The person was erased.", "root")

    @tag("D37")
    def test_a_refused_deactivation_revokes_nothing(self):
        self.change(self.anna, is_active=None)
        self.assertEqual(Invitation.objects.count(), 2)

    @tag("D37")
    def test_the_link_says_whom_to_ask(self):
        token = Invitation.objects.get(email="new@example.com").make_token()
        offboarding.offboard(self.bert, actor=self.root)
        response = Client().get(f"/admin/invitation/{token}/")
        self.assertContains(response, "or another admin of the organization")

    @tag("D37")
    def test_a_lost_role_is_noticed_when_the_invitation_is_accepted(self):
        token = Invitation.objects.get(email="new@example.com").make_token()
        set_role(self.beta, [self.bert], REVIEWER)
        data = {
            "new_password1": "correct horse battery",
            "new_password2": "correct horse battery",
        }
        response = Client().post(f"/admin/invitation/{token}/", data)
        self.assertContains(response, "can no longer give you this role")
        self.assertContains(response, "Ask another admin of the organization")
        self.assertFalse(User.objects.filter(email="new@example.com").exists())


class InvitedMemberTests(GuardCase):
    """People who invite a member learn this, and can change the role instead."""

    def setUp(self):
        super().setUp()
        self.people = f"/admin/orgadmin/organization/{self.beta.pk}/people/"
        self.carl = create_user("carl", reviewer_of=[self.beta], email="c@example.com")
        self.carl.verify_email()
        self.client.force_login(self.bert)

    def invite(self, email, role):
        data = {"add": "1", "add-who": email, "add-role": role}
        return self.client.post(self.people, data, follow=True)

    @tag("C5")
    def test_offers_to_change_the_role(self):
        response = self.invite("C@example.com", "admin")
        self.assertContains(response, "“carl” already has the role Reviewer in “Beta”")
        self.assertContains(response, "Make carl Admin")
        self.assertFalse(Invitation.objects.exists())
        self.client.post(self.people, {"user": self.carl.pk, "role": "admin"})
        self.assertIn(self.carl, self.beta.admin.user_set.all())

    @tag("C5")
    def test_offers_nothing_if_they_have_the_role(self):
        response = self.invite("c@example.com", "reviewer")
        self.assertContains(response, "“carl” already has the role Reviewer in “Beta”")
        self.assertNotContains(response, 'role="alert"><form')
        self.assertFalse(Invitation.objects.exists())

    @tag("C5")
    def test_offers_no_change_of_the_last_admin(self):
        set_role(self.beta, [self.anna], None)
        self.bert.email = "bert@example.com"
        self.bert.save()
        self.bert.verify_email()
        self.client.force_login(self.bert)
        response = self.invite("bert@example.com", "reviewer")
        self.assertContains(response, "“bert” already has the role Admin in “Beta”")
        self.assertContains(response, "This is the only active admin.")
        self.assertNotContains(response, f'name="user" value="{self.bert.pk}"')

    @tag("C5")
    def test_tells_nothing_about_anyone_else(self):
        stranger = create_user("dora", email="dora@example.com")
        stranger.verify_email()
        member = create_user("emil", reviewer_of=[self.beta], email="emil@example.com")
        self.assertFalse(member.has_verified_email)
        for email in ("nobody@example.com", "dora@example.com", "emil@example.com"):
            response = self.invite(email, "reviewer")
            self.assertContains(response, f"An invitation is on its way to “{email}”.")
            self.assertNotContains(response, "already has")
        self.assertEqual(Invitation.objects.count(), 3)


class PeoplePageTests(GuardCase):
    """The page does not offer buttons that would always fail."""

    def open(self):
        return self.client.get(f"/admin/orgadmin/organization/{self.acme.pk}/people/")

    @tag("C11")
    def test_the_row_of_the_last_admin_says_why_there_are_no_buttons(self):
        self.client.force_login(self.anna)
        create_user("carl", reviewer_of=[self.acme])
        response = self.open()
        self.assertContains(response, "The only active admin. Make someone else")
        self.assertNotContains(response, 'aria-label="Remove anna"')
        self.assertContains(response, 'aria-label="Remove carl"')

    @tag("C11")
    def test_everyone_else_has_buttons(self):
        self.client.force_login(self.anna)
        set_role(self.acme, [self.bert], ADMIN)
        response = self.open()
        self.assertContains(response, 'aria-label="Remove anna"')
        self.assertContains(response, 'aria-label="Remove bert"')
        self.bert.is_active = False
        self.bert.save()
        response = self.open()
        self.assertNotContains(response, 'aria-label="Remove anna"')
        self.assertContains(response, 'aria-label="Remove bert"')
        # Superusers can confirm it.
        self.client.force_login(self.root)
        self.assertContains(self.open(), 'aria-label="Remove anna"')

    @tag("C11")
    def test_admins_on_other_pages_count_as_well(self):
        self.client.force_login(self.anna)
        set_role(self.acme, [self.bert], ADMIN)
        with mock.patch("orgadmin.admin.organizations.people.PEOPLE_PER_PAGE", 1):
            response = self.open()
        self.assertEqual(len(response.context["members"]), 1)
        self.assertContains(response, 'aria-label="Remove anna"')


class PasswordTests(GuardCase):
    """If the account has changed, a new password is refused with a message."""

    password = "correct horse battery staple"

    def change_account(self):
        User.objects.get(pk=self.bert.pk).end_sessions()

    def let_it_change(self):
        """Change the account as someone else while the password is hashed."""
        set_password = User.set_password

        def set_password_slowly(user, raw_password):
            self.change_account()
            set_password(user, raw_password)

        return mock.patch.object(User, "set_password", set_password_slowly)

    def set_password_of_bert(self):
        """Send the form with which a superuser sets someone else's password."""
        data = {
            "usable_password": "true",
            "password1": self.password,
            "password2": self.password,
            "set-password": "1",
        }
        return self.client.post(self.url(self.bert, "password"), data, follow=True)

    @tag("D38")
    def test_the_page_to_change_it_says_so(self):
        self.client.force_login(self.bert)
        data = {
            "old_password": "secret",
            "new_password1": self.password,
            "new_password2": self.password,
        }
        with self.let_it_change():
            response = self.client.post("/admin/password_change/", data, follow=True)
        self.assertContains(response, "Your password was not changed")
        self.assertTrue(User.objects.get(pk=self.bert.pk).check_password("secret"))

    @tag("D38")
    def test_the_page_of_superusers_says_so(self):
        with self.let_it_change():
            response = self.set_password_of_bert()
        self.assertContains(response, "The password was not set")
        self.assertTrue(User.objects.get(pk=self.bert.pk).check_password("secret"))

    @tag("D38")
    def test_a_deleted_account_is_no_error_page_either(self):
        with (
            mock.patch.object(
                self,
                "change_account",
                lambda: User.objects.filter(pk=self.bert.pk).delete(),
            ),
            self.let_it_change(),
        ):
            response = self.set_password_of_bert()
        self.assertContains(response, "The password was not set")
        self.assertFalse(User.objects.filter(pk=self.bert.pk).exists())

    @tag("D38")
    def test_the_command_says_so(self):
        module = "django.contrib.auth.management.commands.changepassword"
        with (
            mock.patch(f"{module}.getpass.getpass", return_value=self.password),
            self.let_it_change(),
            self.assertRaisesMessage(CommandError, "The password was not changed"),
        ):
            call_command("changepassword", "bert", stdout=io.StringIO())
        self.assertTrue(User.objects.get(pk=self.bert.pk).check_password("secret"))


@skipUnless(connection.vendor == "postgresql", "only PostgreSQL has two writers")
class RaceTests(TransactionTestCase):
    """Two superusers who act at the same time cannot get past a guard."""

    def setUp(self):
        self.roots = [create_superuser("root"), create_superuser("second")]
        self.acme = create_organization("Acme")
        self.anna = create_user("anna", admin_of=[self.acme])
        self.bert = create_user("bert", admin_of=[self.acme])

    def send_together(self, *requests):
        """Send POST requests, (actor, URL, data), at the same time.

        Each begins once the others have a session, and the guards of all have to wait
        for each other. Returns the responses.
        """
        functions = []
        for actor, url, data in requests:
            client = Client()
            client.force_login(actor)
            functions.append(partial(client.post, url, data))
        return run_together(*functions)

    def make_ways(self, user, flag):
        """Return the requests that end the access of a user, {name: (URL, data)}."""
        url = f"{USERS}{user.pk}"
        changed = describe(user)
        del changed[flag]
        return {
            "change": (f"{url}/change/", changed),
            "delete": (f"{url}/delete/", {"post": "yes"}),
            "offboard": (f"{url}/leave/", {"confirmed": "1"}),
            "erase": (f"{url}/erase/", {"username": user.username}),
            "remove": (
                f"/admin/orgadmin/organization/{self.acme.pk}/people/",
                {"user": user.pk, "remove": "", "confirmed": "1"},
            ),
            "delete selected": (
                USERS,
                {
                    "action": "delete_selected",
                    "_selected_action": user.pk,
                    "post": "yes",
                },
            ),
        }

    def assert_one_superuser_stays(self, way, other_way):
        first, second = self.roots
        request = self.make_ways(first, "is_superuser")[way]
        other_request = self.make_ways(second, "is_superuser")[other_way]
        self.send_together((second, *request), (first, *other_request))
        left = User.objects.filter(is_superuser=True, is_active=True)
        self.assertEqual(left.count(), 1)

    def assert_one_admin_stays(self, way, other_way):
        first, second = self.roots
        request = self.make_ways(self.anna, "is_active")[way]
        other_request = self.make_ways(self.bert, "is_active")[other_way]
        self.send_together((first, *request), (second, *other_request))
        admins = self.acme.admin.user_set.filter(is_active=True)
        self.assertEqual(admins.count(), 1)

    @tag("C12")
    def test_two_superusers_who_demote_each_other(self):
        self.assert_one_superuser_stays("change", "change")

    @tag("C12")
    def test_two_superusers_who_delete_each_other(self):
        self.assert_one_superuser_stays("delete", "delete")

    @tag("C12")
    def test_two_superusers_who_offboard_each_other(self):
        self.assert_one_superuser_stays("offboard", "offboard")

    @tag("C12")
    def test_two_superusers_who_erase_and_delete_each_other(self):
        self.assert_one_superuser_stays("erase", "delete selected")

    @tag("C12")
    def test_two_superusers_who_demote_and_delete_each_other(self):
        self.assert_one_superuser_stays("change", "delete")

    @tag("C11")
    def test_the_last_two_admins_are_deactivated(self):
        self.assert_one_admin_stays("change", "change")

    @tag("C11")
    def test_the_last_two_admins_are_deleted(self):
        self.assert_one_admin_stays("delete", "delete")

    @tag("C11")
    def test_the_last_two_admins_are_offboarded_and_deactivated(self):
        self.assert_one_admin_stays("offboard", "change")

    @tag("C11")
    def test_the_last_two_admins_are_erased_and_deleted(self):
        self.assert_one_admin_stays("erase", "delete selected")

    @tag("C11")
    def test_the_last_two_admins_are_removed_from_the_organization(self):
        self.assert_one_admin_stays("remove", "remove")

    @tag("C11")
    def test_a_deactivation_and_a_lost_role_do_not_meet(self):
        first, second = self.roots
        changed = describe(self.anna)
        del changed["is_active"]
        people = f"/admin/orgadmin/organization/{self.acme.pk}/people/"
        removal = {"user": self.bert.pk, "remove": "", "confirmed": "1"}
        self.send_together(
            (first, f"{USERS}{self.anna.pk}/change/", changed),
            (second, people, removal),
        )
        admins = self.acme.admin.user_set.filter(is_active=True)
        self.assertEqual(admins.count(), 1)

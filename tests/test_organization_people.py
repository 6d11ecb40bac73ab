"""The pages about people: members, invitations, the membership log, and access."""

import re
from unittest import mock

from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.core import mail
from django.db import connection
from django.test import Client, TestCase, override_settings, tag
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from orgadmin.accounts import throttle
from orgadmin.admin.forms import GROUPS_SHOWN
from orgadmin.models import Invitation, MembershipEvent, Organization, User
from orgadmin.people import invitations, membership, offboarding
from orgadmin.people.changes import RoleChange

from .factories import (
    ADMIN,
    REVIEWER,
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
    grant,
    set_role,
)
from .forms_in_pages import read_form
from .mailing import fail_to_send, queues_mail, work, work_later

LIST = "/admin/orgadmin/organization/"
USERS = "/admin/orgadmin/user/"


def read_page(response, name="X"):
    """Return the text of a page without what differs each time, and without a name."""
    text = response.content.decode().replace(escape(name), "X")
    text = re.sub(r'name="(csrfmiddlewaretoken|form_key)" value="[^"]+"', "", text)
    keys = r'name="(invitation|session_of)" value="\d+"|\?(revoke|correct)=\d+'
    return re.sub(keys, "", text)


def suggest(client, url, term):
    """Return what the field for people suggests."""
    return client.get(url, {"suggest": term}).json()["suggestions"]


class PeopleMixin:
    @classmethod
    def setUpTestData(cls):
        cls.staff = create_superuser()
        cls.acme = create_organization("Acme")
        cls.anna = create_user(
            "anna", first_name="Anna", last_name="Ångström", email="anna@example.com"
        )
        cls.admin = create_user("ada", admin_of=[cls.acme], email="ada@example.com")
        cls.stranger = create_user(
            "stranger",
            admin_of=[create_organization("Elsewhere")],
            email="s@example.com",
        )
        cls.beta = create_organization("Beta")
        cls.url = f"{LIST}{cls.acme.pk}/people/"

    def post(self, url=None, **data):
        return self.client.post(url or self.url, data, follow=True)

    def roles(self):
        """Return {username: key of the role in Acme}."""
        roles = {}
        for role in (ADMIN, REVIEWER):
            group = getattr(self.acme, role.key)
            for user in group.user_set.all():
                roles[user.username] = role.key
        return roles


class SuperuserTests(PeopleMixin, TestCase):
    def setUp(self):
        self.client.force_login(self.staff)

    def test_adds_changes_and_removes_people(self):
        create_user("bert")
        response = self.post(
            **{"add": "1", "add-several": "anna\nbert", "add-role": "admin"}
        )
        self.assertContains(
            response, "“Anna Ångström”, “bert” now have the role Admin in “Acme”."
        )
        self.assertEqual(
            self.roles(), {"ada": "admin", "anna": "admin", "bert": "admin"}
        )
        response = self.post(user=self.anna.pk, role="reviewer")
        self.assertContains(
            response,
            "this person will get the role Reviewer instead of their current one:",
        )
        self.assertEqual(self.roles()["anna"], "admin")
        self.post(user=self.anna.pk, role="reviewer", confirmed="1")
        self.assertEqual(self.roles()["anna"], "reviewer")
        # The new role permits more, so there is nothing to confirm.
        response = self.post(user=self.anna.pk, role="admin")
        self.assertContains(response, "“Anna Ångström” is now Admin of “Acme”.")
        self.assertContains(
            self.post(user=self.anna.pk, remove=""),
            "This person will be removed from “Acme” and lose their access:",
        )
        response = self.post(
            user=self.anna.pk, remove="", confirmed="1", reason="Moved"
        )
        self.assertContains(response, "“Anna Ångström” was removed from “Acme”.")
        self.assertEqual(MembershipEvent.objects.first().reason, "Moved")

    def test_a_new_member_sees_the_organization_at_once(self):
        self.post(**{"add": "1", "add-who": "anna", "add-role": "admin"})
        self.client.logout()
        self.client.post("/admin/login/", {"username": "anna", "password": "secret"})
        self.assertContains(self.client.get(LIST), "Acme")

    def test_shows_since_when_by_whom_and_the_last_sign_in(self):
        self.post(**{"add": "1", "add-who": "anna", "add-role": "reviewer"})
        self.anna.groups.through.objects.filter(user=self.admin).delete()
        self.admin.groups.add(self.acme.admin)  # nobody knows who did it
        members = self.client.get(self.url).context["members"]
        added_by = {
            member.user.username: member.joined.actor_name for member in members
        }
        self.assertEqual(added_by, {"ada": "", "anna": "root"})
        self.assertContains(self.client.get(self.url), "before ")
        self.assertContains(self.client.get(self.url), "never")

    def test_says_what_is_missing(self):
        response = self.post(**{"add": "1", "add-role": "admin"})
        self.assertContains(response, "Enter a name or an email address.")
        response = self.post(**{"add": "1", "add-who": "anna", "add-role": "unknown"})
        self.assertContains(response, "You cannot assign this role.")
        for data in (
            {"user": 999_999, "role": "admin"},
            {"user": self.anna.pk, "remove": ""},
        ):
            self.assertContains(
                self.post(**data), "No changes: this person is not a member."
            )
        self.assertContains(
            self.post(user=self.admin.pk, role="admin"),
            "No changes: they already have this role.",
        )
        for data in (
            {"user": "x", "remove": ""},
            {"user": self.admin.pk, "role": "unknown"},
            {"user": self.admin.pk},
        ):
            self.assertEqual(self.post(**data).status_code, 200)
        self.assertEqual(self.roles(), {"ada": "admin"})

    def test_removes_the_last_admin_after_a_warning(self):
        self.assertContains(
            self.post(user=self.admin.pk, remove=""),
            "“Acme” will have no active admin.",
        )
        confirmed = {"confirmed": "1", "confirmed_organizations": self.acme.pk}
        self.post(user=self.admin.pk, remove="", **confirmed)
        self.assertEqual(self.roles(), {})

    def test_people_are_found_by_search_and_never_listed(self):
        User.objects.bulk_create(User(username=f"user{number}") for number in range(50))
        self.assertNotContains(self.client.get(self.url), "user33")
        expected = "anna · Anna Ångström · anna@example.com"
        self.assertEqual(self.find_choices("ngström"), [f"{expected} (not confirmed)"])
        self.anna.verify_email()
        self.assertEqual(self.find_choices("ngström"), [expected])

    def find_choices(self, term):
        """Return the texts of the people that the page suggests."""
        return [found["text"] for found in suggest(self.client, self.url, term)]

    @tag("C13")
    def test_an_address_means_only_the_person_who_has_confirmed_it(self):
        # A person who creates an account could choose either.
        create_user("boss@example.com", email="mine@example.com")
        data = {"add": "1", "add-role": "reviewer"}
        for address in (
            "boss@example.com",
            "anna@example.com",
            "ＢＯＳＳ＠example.com",
        ):
            response = self.post(**data, **{"add-who": address})
            self.assertContains(response, "An invitation is on its way to")
            self.assertEqual(self.roles(), {"ada": "admin"}, address)
        self.assertEqual(Invitation.objects.count(), 2)
        self.anna.verify_email()
        self.post(**data, **{"add-who": "Anna@EXAMPLE.com"})
        self.assertEqual(self.roles(), {"ada": "admin", "anna": "reviewer"})

    def test_every_suggestion_can_be_added(self):
        people = {
            "zoe": create_user("zoe", first_name="Zuse"),
            "zoe@example.com": create_user("zoe@example.com", first_name="Zuse"),
            "zac@example.com": create_user("zac@example.com", email="zed@example.com"),
        }
        people["zac@example.com"].first_name = "Zuse"
        people["zac@example.com"].save()
        people["zac@example.com"].verify_email()
        names = [found["name"] for found in suggest(self.client, self.url, "Zuse")]
        pk = people["zoe@example.com"].pk
        self.assertEqual(names, ["zed@example.com", "zoe", f"#{pk}"])
        data = {"add": "1", "add-several": ", ".join(names), "add-role": "reviewer"}
        self.post(**data)
        self.assertEqual(
            self.roles(), {"ada": "admin"} | dict.fromkeys(people, REVIEWER.key)
        )

    def test_adds_and_invites_several_at_once_or_nobody(self):
        names = "anna\n new@example.com,\r\n\nanna, s@example.com; other@example.com"
        data = {"add": "1", "add-role": "reviewer"}
        response = self.post(**data, **{"add-several": f"{names}\nghost, phantom"})
        self.assertContains(
            response, "Nobody has one of these usernames: “ghost”, “phantom”."
        )
        self.assertEqual(self.roles(), {"ada": "admin"})
        self.assertFalse(Invitation.objects.exists())
        with mock.patch.object(throttle, "count_attempt", side_effect=[True, False]):
            response = self.post(**data, **{"add-several": names})
        self.assertContains(response, "Nothing was saved, because too many emails")
        self.assertEqual(self.roles(), {"ada": "admin"})
        self.assertFalse(Invitation.objects.exists())
        response = self.post(**data, **{"add-several": names})
        self.assertContains(response, "“Anna Ångström” is now Reviewer of “Acme”.")
        self.assertContains(response, "Invitations are on their way to")
        self.assertEqual(self.roles(), {"ada": "admin", "anna": "reviewer"})
        self.assertEqual(Invitation.objects.count(), 3)

    def test_refuses_more_people_than_can_be_added_at_once(self):
        names = "\n".join(f"u{number}@example.com" for number in range(51))
        data = {"add": "1", "add-role": "reviewer", "add-several": names}
        self.assertContains(self.post(**data), "Enter at most 50 people at once.")
        self.assertFalse(Invitation.objects.exists())

    def test_asks_before_it_changes_a_role_or_removes_someone(self):
        set_role(self.acme, [self.anna], REVIEWER)
        page = self.client.get(self.url)
        self.assertContains(page, f'href="?change={self.anna.pk}"')
        page = self.client.get(f"{self.url}?change={self.anna.pk}")
        self.assertContains(page, "Change the role of “Anna Ångström” in “Acme”?")
        form = read_form(page, "user")
        self.assertEqual(form["role"], ["admin"])
        self.client.post(self.url, form)
        self.assertEqual(self.roles()["anna"], "admin")
        page = self.client.get(f"{self.url}?remove={self.anna.pk}")
        self.assertContains(page, "Remove “Anna Ångström” from “Acme”?")
        self.assertContains(page, "Remove Anna Ångström from Acme</button>")
        self.assertEqual(self.roles()["anna"], "admin")
        response = self.client.post(
            self.url, read_form(page, "user") | {"confirmed": "1"}, follow=True
        )
        self.assertContains(response, "“Anna Ångström” was removed from “Acme”.")
        self.assertEqual(self.roles(), {"ada": "admin"})

    def test_names_are_text(self):
        bold = create_user("<b>bold</b>", first_name="<i>x</i>", admin_of=[self.acme])
        for url in (
            self.url,
            f"{LIST}{self.acme.pk}/ledger/",
            f"{LIST}{self.acme.pk}/access/",
        ):
            self.assertNotContains(self.client.get(url), "<b>bold")
        self.assertNotContains(self.post(user=bold.pk, remove=""), "<b>bold")


class CostTests(PeopleMixin, TestCase):
    """The number of queries depends on neither the members nor a person's roles."""

    def count(self, url):
        self.client.get(url)
        with CaptureQueriesContext(connection) as queries:
            self.assertEqual(self.client.get(url).status_code, 200)
        return len(queries)

    @staticmethod
    def fill(number):
        return User.objects.bulk_create(
            User(username=f"user{n}", email=f"u{n}@example.com") for n in range(number)
        )

    def test_an_organization_with_500_members(self):
        urls = [
            f"{LIST}{self.acme.pk}/{page}/"
            for page in ("people", "ledger", "access", "history", "change")
        ]
        set_role(self.acme, self.fill(2), REVIEWER)
        before = {}
        for user in (self.staff, self.admin):
            self.client.force_login(user)
            before[user] = [self.count(url) for url in urls]
        User.objects.filter(username__startswith="user").delete()
        set_role(self.acme, self.fill(500), REVIEWER)
        for user in (self.staff, self.admin):
            self.client.force_login(user)
            # The first three count the rows, because there is another page.
            expected = [queries + 1 for queries in before[user][:3]]
            expected += before[user][3:]
            self.assertEqual([self.count(url) for url in urls], expected)
            self.assertEqual(len(self.client.get(f"{urls[0]}?p=7").context["page"]), 50)

    def test_a_person_in_500_organizations(self):
        self.client.force_login(self.staff)
        urls = [
            f"{USERS}{self.anna.pk}/{page}/"
            for page in (
                "overview",
                "organizations",
                "access",
                "leave",
                "change",
                "history",
            )
        ]
        # The form has one more query if it does not show all groups.
        self.join_organizations(GROUPS_SHOWN + 1)
        before = [self.count(url) for url in urls]
        self.join_organizations(500)
        self.assertEqual([self.count(url) for url in urls], before)

    def join_organizations(self, number):
        rows = Organization.objects.bulk_create(
            [Organization(name=f"N {n}") for n in range(number)]
        )
        membership.change_roles(
            [RoleChange(self.anna, organization, ADMIN) for organization in rows]
        )


class OrgAdminTests(PeopleMixin, TestCase):
    """Admins of an organization manage its people, and learn of nobody else."""

    def setUp(self):
        self.client.force_login(self.admin)

    def test_changes_and_removes_members(self):
        set_role(self.acme, [self.anna], REVIEWER, actor=self.staff)
        response = self.client.get(self.url)
        self.assertContains(response, "Anna Ångström")
        self.assertContains(response, "Platform staff")
        self.assertNotContains(response, "root")
        self.assertNotContains(response, USERS)
        self.post(user=self.anna.pk, role="admin")
        self.assertEqual(self.roles()["anna"], "admin")
        self.post(user=self.anna.pk, remove="", confirmed="1")
        self.assertEqual(self.roles(), {"ada": "admin"})

    @tag("C4", "C5")
    def test_cannot_add_someone_who_is_not_a_member(self):
        for key in ("change", "remove", "user"):
            for user in (self.anna, self.stranger):
                pages = set()
                for pk in (user.pk, 999_999):
                    if key == "user":
                        response = self.post(user=pk, role="admin", confirmed="1")
                    else:
                        response = self.client.get(
                            f"{self.url}?{key}={pk}", follow=True
                        )
                    pages.add(read_page(response))
                self.assertEqual(len(pages), 1, key)
                self.assertNotIn(user.username, pages.pop())
        self.assertEqual(self.roles(), {"ada": "admin"})

    @tag("C5")
    def test_the_usernames_of_strangers_are_answered_like_those_that_do_not_exist(self):
        # A reviewer learns nothing of the other people of the organization.
        create_user("vernon", reviewer_of=[self.beta])
        set_role(self.beta, [self.admin], REVIEWER)
        names = ("anna", "stranger", "vernon", f"#{self.anna.pk}", "ghost", "#999999")
        pages = set()
        for name in names:
            data = {"add": "1", "add-who": name, "add-role": "reviewer"}
            with CaptureQueriesContext(connection) as queries:
                response = self.post(**data)
            page = read_page(response, name)
            pages.add((page, len(queries)))
        [(page, _queries)] = pages
        self.assertIn("Nobody in your organizations has the username “X”.", page)
        self.assertEqual(self.roles(), {"ada": "admin"})
        self.assertFalse(Invitation.objects.exists())

    @tag("C5")
    def test_adds_people_of_other_organizations_that_they_manage(self):
        create_user("vernon", reviewer_of=[self.beta])
        set_role(self.beta, [self.admin], ADMIN)
        response = self.post(
            **{"add": "1", "add-who": "VERNON", "add-role": "reviewer"}
        )
        self.assertContains(response, "“vernon” is now Reviewer of “Acme”.")
        self.assertEqual(self.roles(), {"ada": "admin", "vernon": "reviewer"})

    @tag("C5")
    def test_suggests_only_people_of_organizations_that_they_manage(self):
        managed = create_user("vera", first_name="Anna", reviewer_of=[self.beta])
        create_user("anna2", reviewer_of=[self.acme])  # is a member already
        create_user("anna3", reviewer_of=[self.beta], is_active=False)
        self.assertEqual(suggest(self.client, self.url, "anna"), [])
        set_role(self.beta, [self.admin], REVIEWER)
        self.assertEqual(suggest(self.client, self.url, "anna"), [])
        set_role(self.beta, [self.admin], ADMIN)
        managed.email = "secret@example.com"
        managed.save()
        self.assertEqual(
            suggest(self.client, self.url, "anna"),
            [{"name": "vera", "text": "Anna"}],
        )
        for term in ("a", "", "\0\0", "%%", "__", "secret", "Ångström"):
            self.assertEqual(suggest(self.client, self.url, term), [], term)

    @tag("C5")
    def test_staff_who_manage_everyone_get_no_suggestions_without_seeing_people(self):
        permissions = ["view_organization", "manage_members_organization"]
        staff = create_user("staff", is_staff=True, permissions=permissions)
        self.client.force_login(staff)
        self.assertEqual(suggest(self.client, self.url, "anna"), [])
        permissions.append("view_user")
        staff.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        # They invite people by their address.
        [found] = suggest(self.client, self.url, "anna")
        self.assertEqual(found["name"], "anna@example.com")

    @tag("C9")
    def test_the_last_active_admin_stays(self):
        create_user("gone", admin_of=[self.acme], is_active=False)
        for data in ({"remove": ""}, {"role": "reviewer"}):
            for confirmed in ({}, {"confirmed": "1"}):
                data |= confirmed | {"confirmed_organizations": self.acme.pk}
                response = self.post(user=self.admin.pk, **data)
                text = f"would be left in “Acme” ({self.acme.pk}). Make someone else"
                self.assertContains(response, text)
                self.assertNotContains(response, 'name="confirmed"')
        self.assertEqual(self.roles()["ada"], "admin")

    def test_may_leave_when_another_stays(self):
        set_role(self.acme, [self.anna], ADMIN)
        self.assertContains(
            self.post(user=self.admin.pk, remove=""), "This includes you."
        )
        self.post(user=self.admin.pk, remove="", confirmed="1")
        self.assertEqual(self.roles(), {"anna": "admin"})

    @tag("C4")
    def test_pages_are_closed_to_reviewers_and_strangers(self):
        reviewer = create_user("remi", reviewer_of=[self.acme])
        viewer = create_user("vera", is_staff=True, permissions=["view_organization"])
        for user in (reviewer, self.stranger, viewer):
            self.client.force_login(user)
            for page in ("people", "ledger", "access", "restore"):
                for method in (self.client.get, self.client.post):
                    response = method(
                        f"{LIST}{self.acme.pk}/{page}/",
                        {"user": reviewer.pk, "role": "admin"},
                    )
                    if user == self.stranger:
                        self.assertRedirects(
                            response, "/admin/", fetch_redirect_response=False
                        )
                    else:
                        self.assertEqual(response.status_code, 403)
            response = self.client.get(f"{LIST}{self.acme.pk}/change/", follow=True)
            self.assertNotContains(response, f"/{self.acme.pk}/people/")
        self.assertEqual(self.roles(), {"ada": "admin", "remi": "reviewer"})

    @tag("C4")
    def test_nobody_assigns_a_role_with_more_permissions_than_they_have(self):
        helper = create_user("helper")
        for codename in ("view_organization", "manage_members_organization"):
            grant(helper, codename, self.acme)
        set_role(self.acme, [self.anna], REVIEWER)
        self.client.force_login(helper)
        self.assertNotContains(self.client.get(self.url), 'value="admin"')
        self.post(user=self.anna.pk, role="admin")
        self.post(**{"add": "1", "add-who": "x@example.com", "add-role": "admin"})
        self.assertEqual(self.roles()["anna"], "reviewer")
        self.assertFalse(Invitation.objects.exists())
        self.post(
            **{
                "add": "1",
                "add-who": "x@example.com",
                "add-role": "reviewer",
            }
        )
        self.assertEqual(Invitation.objects.count(), 1)


class InvitingTests(PeopleMixin, TestCase):
    def setUp(self):
        self.client.force_login(self.admin)

    def invite(self, email, role="reviewer"):
        return self.post(**{"add": "1", "add-who": email, "add-role": role})

    @tag("C5")
    def test_the_response_does_not_reveal_whether_the_address_is_known(self):
        pages = set()
        set_role(self.acme, [self.stranger], REVIEWER)
        mail.outbox.clear()
        for email in (
            "new@example.com",
            "anna@example.com",
            "root@example.com",
            "s@example.com",
        ):
            pages.add(read_page(self.invite(email), email))
            invitations.revoke(Invitation.objects.get(), actor=self.admin)
        [page] = pages
        self.assertIn("An invitation is on its way to “X”.", page)
        self.assertEqual(len(mail.outbox), 4)

    def test_the_email_says_who_invites_unless_they_are_platform_staff(self):
        self.invite("new@example.com")
        text = "ada invited you to the organization “Acme” as Reviewer."
        self.assertIn(text, mail.outbox[-1].body)
        User.objects.filter(pk=self.admin.pk).update(first_name="Ada", last_name="L")
        self.invite("new@example.com")
        text = "Ada L invited you to the organization “Acme” as Reviewer."
        self.assertIn(text, mail.outbox[-1].body)
        self.client.force_login(self.staff)
        self.invite("new@example.com")
        self.assertIn("Platform staff invited you", mail.outbox[-1].body)
        self.assertNotIn("root", mail.outbox[-1].body)

    def test_is_pending_without_a_name_until_accepted(self):
        self.invite("anna@example.com")
        response = self.client.get(self.url)
        self.assertContains(response, "anna@example.com")
        self.assertNotContains(response, "Ångström")
        self.assertEqual(self.roles(), {"ada": "admin"})

    def test_is_resent_and_revoked(self):
        self.invite("new@example.com")
        first = Invitation.objects.get()
        self.invite("NEW@example.com", "admin")  # replaces it
        pending = Invitation.objects.get()
        self.assertEqual(pending.role, "admin")
        self.assertEqual(pending.email, "new@example.com")
        self.assertNotEqual(pending.pk, first.pk)
        self.assertContains(
            self.post(invitation=pending.pk, resend=""),
            "An invitation is on its way to",
        )
        pending = Invitation.objects.get()
        page = self.client.get(f"{self.url}?revoke={pending.pk}")
        self.assertContains(page, "Revoke the invitation for “new@example.com”?")
        self.assertTrue(Invitation.objects.exists())
        self.assertContains(self.post(invitation=pending.pk, revoke=""), "was revoked")
        self.assertFalse(Invitation.objects.exists())
        self.assertEqual(len(mail.outbox), 3)
        events = MembershipEvent.objects.filter(user_key=None).order_by("pk")
        self.assertEqual(
            [event.event for event in events],
            ["invited", "invited", "invited", "withdrawn"],
        )

    def test_goes_to_the_right_address_in_one_step(self):
        self.invite("nwe@example.com", "admin")
        wrong = Invitation.objects.get()
        page = self.client.get(f"{self.url}?correct={wrong.pk}")
        self.assertContains(page, "Send to this address")
        response = self.post(invitation=wrong.pk, correct="1", email="New@Example.com")
        self.assertContains(response, "An invitation is on its way to")
        self.assertContains(response, "“nwe@example.com” no longer works.")
        right = Invitation.objects.get()
        self.assertEqual((right.email, right.role), ("new@example.com", "admin"))
        self.assertNotEqual(right.pk, wrong.pk)
        self.assertEqual(mail.outbox[-1].to, ["new@example.com"])
        events = MembershipEvent.objects.filter(user_key=None).order_by("pk")
        self.assertEqual(
            [(event.event, event.user_name) for event in events],
            [
                ("invited", "nwe@example.com"),
                ("withdrawn", "nwe@example.com"),
                ("invited", "new@example.com"),
            ],
        )

    def test_a_wrong_correction_has_an_error_and_changes_nothing(self):
        self.invite("nwe@example.com")
        wrong = Invitation.objects.get()
        User.objects.get(pk=self.admin.pk).verify_email()
        for email, text in (
            ("", "This field is required."),
            ("nobody", "valid email address"),
            ("NWE@example.com", "The invitation was sent to this address."),
            ("ada@example.com", "already a member"),
        ):
            with self.subTest(email=email):
                response = self.post(invitation=wrong.pk, correct="1", email=email)
                self.assertContains(response, text)
                self.assertEqual(Invitation.objects.get(), wrong)

    def test_an_address_of_another_organization_is_not_corrected_here(self):
        elsewhere = Organization.objects.get(name="Elsewhere")
        foreign = invitations.invite(
            elsewhere, "nwe@example.com", ADMIN, actor=self.stranger
        )
        for key in (foreign.pk, 999_999):
            data = {"invitation": key, "correct": "1", "email": "new@example.com"}
            for response in (
                self.client.post(self.url, data),
                self.client.get(f"{self.url}?correct={key}"),
            ):
                self.assertRedirects(response, "/admin/", fetch_redirect_response=False)
        self.assertEqual(Invitation.objects.get(), foreign)

    @tag("C17")
    def test_a_correction_needs_a_recent_sign_in(self):
        self.invite("nwe@example.com", "admin")
        wrong = Invitation.objects.get()
        age_sign_in(self.client, 60)
        self.post(invitation=wrong.pk, correct="1", email="new@example.com")
        self.assertEqual(Invitation.objects.get(), wrong)

    def test_an_invitation_of_another_organization_does_not_exist_here(self):
        elsewhere = Organization.objects.get(name="Elsewhere")
        foreign = invitations.invite(
            elsewhere, "new@example.com", ADMIN, actor=self.stranger
        )
        for key in (foreign.pk, 999_999):
            for response in (
                self.client.post(self.url, {"invitation": key, "revoke": ""}),
                self.client.get(f"{self.url}?revoke={key}"),
            ):
                self.assertRedirects(response, "/admin/", fetch_redirect_response=False)
        self.assertTrue(Invitation.objects.filter(pk=foreign.pk).exists())

    @queues_mail()
    def test_a_failing_mail_server_loses_nothing(self):
        self.assertContains(self.invite("new@example.com"), "is on its way to")
        with fail_to_send():
            work()
        self.assertEqual(mail.outbox, [])
        work_later()
        self.assertEqual(mail.outbox[0].to, ["new@example.com"])

    def test_a_mailbox_is_not_flooded(self):
        for _ in range(throttle.LIMIT):
            self.invite("new@example.com")
        self.assertContains(
            self.invite("New@Example.com"), "too many emails were sent to"
        )
        self.assertEqual(len(mail.outbox), throttle.LIMIT)

    def test_a_bad_address_is_refused_next_to_the_field(self):
        response = self.invite("nobody@")
        self.assertContains(response, "“nobody@”: Enter a valid email address.")
        self.assertContains(response, 'value="nobody@"')
        self.assertFalse(Invitation.objects.exists())


@override_settings(NOTIFY_PEOPLE=True, NOTIFY_ADMINS=True)
class NotifyTests(PeopleMixin, TestCase):
    def change(self, user, role, **options):
        """Change a role in Acme. Return the address and first line of each email."""
        mail.outbox.clear()
        with self.captureOnCommitCallbacks(execute=True):
            membership.change_roles([RoleChange(user, self.acme, role)], **options)
        return sorted(
            (message.to[0], message.body.splitlines()[0]) for message in mail.outbox
        )

    def test_tells_the_person_and_the_admins(self):
        sent = self.change(self.anna, REVIEWER)
        self.assertEqual(
            sent,
            [
                (
                    "ada@example.com",
                    "Platform staff gave “Anna Ångström” access to “Acme” as Reviewer.",
                ),
                (
                    "anna@example.com",
                    "Platform staff gave you access to “Acme” as Reviewer.",
                ),
            ],
        )
        sent = self.change(self.anna, None, actor=self.admin)
        [(address, text)] = sent
        self.assertEqual(address, "anna@example.com")
        self.assertEqual(
            text,
            "ada removed you from “Acme”. You were Reviewer, and no longer have a role"
            " there.",
        )
        self.assertEqual(self.change(self.anna, None), [])

    def test_only_where_the_settings_say_so_and_only_after_the_commit(self):
        with override_settings(NOTIFY_PEOPLE=False, NOTIFY_ADMINS=False):
            self.assertEqual(self.change(self.anna, REVIEWER), [])
        self.assertEqual(self.change(self.anna, ADMIN, notify=False), [])
        with queues_mail():
            set_role(self.acme, [self.anna], None)
            self.assertEqual(mail.outbox, [])
            work()
        self.assertEqual(len(mail.outbox), 2)

    @queues_mail()
    def test_a_failing_mail_server_loses_no_change(self):
        self.assertEqual(self.change(self.anna, REVIEWER), [])
        with fail_to_send():
            work()
        self.assertEqual(self.roles()["anna"], "reviewer")
        work_later()
        self.assertEqual(len(mail.outbox), 2)


class MembershipLogPageTests(PeopleMixin, TestCase):
    def setUp(self):
        self.url = f"{LIST}{self.acme.pk}/ledger/"
        set_role(self.acme, [self.anna], REVIEWER, actor=self.staff, reason="=HELP()")
        set_role(self.acme, [self.anna], None, actor=self.admin)

    @tag("A27")
    def test_org_admins_see_it_without_the_names_of_platform_staff(self):
        self.client.force_login(self.admin)
        response = self.client.get(self.url)
        self.assertContains(response, "Platform staff")
        self.assertNotContains(response, "root")
        self.assertNotContains(response, "Elsewhere")
        file = self.client.get(self.url, {"csv": "1"}).getvalue().decode()
        self.assertIn(
            f"joined,anna,{self.acme.pk},Acme,reviewer,Platform staff,'=HELP()", file
        )
        self.assertIn("left,anna,", file)
        self.assertNotIn("root", file)
        self.client.force_login(self.staff)
        self.assertContains(self.client.get(self.url), "root")

    def test_shows_who_was_a_member_on_a_day(self):
        self.client.force_login(self.admin)
        today = MembershipEvent.objects.first().at.date()
        response = self.client.get(self.url, {"on": today.isoformat()})
        self.assertEqual(
            [event.user_name for event in response.context["page"]], ["ada"]
        )
        self.assertContains(response, "1 person was a member at the end of")
        self.assertContains(
            self.client.get(self.url, {"on": "2000-01-01"}), "0 people were members"
        )
        file = (
            self.client.get(self.url, {"on": today.isoformat(), "csv": "1"})
            .getvalue()
            .decode()
        )
        self.assertEqual(len(file.splitlines()), 2)
        self.assertContains(
            self.client.get(self.url, {"on": "yesterday"}), "Enter a valid date."
        )


class AccessPageTests(PeopleMixin, TestCase):
    def test_superusers_see_everyone_with_each_reason(self):
        create_user("vera", is_staff=True, permissions=["view_organization"])
        grant(self.anna, "view_organization", self.acme)
        create_user("gone", reviewer_of=[self.acme], is_active=False)
        self.client.force_login(self.staff)
        page = self.client.get(f"{LIST}{self.acme.pk}/access/").context["page"]
        reasons_of = {}
        for user in page:
            reasons_of[user.username] = [item.reason for item in user.reasons]
        self.assertEqual(
            reasons_of,
            {
                "ada": ["is in its Admin group"],
                "anna": ["was granted the permission personally"],
                "gone": ["is in its Reviewer group"],
                "root": ["is a superuser"],
                "vera": ["is staff and has the permission for all organizations"],
            },
        )
        self.assertContains(
            self.client.get(f"{LIST}{self.acme.pk}/access/"),
            "Inactive, no access",
        )

    @tag("A27")
    def test_org_admins_see_the_members_only(self):
        grant(self.anna, "view_organization", self.acme)
        grant(self.admin, "delete_organization", self.acme)
        self.client.force_login(self.admin)
        response = self.client.get(f"{LIST}{self.acme.pk}/access/")
        self.assertEqual([user.username for user in response.context["page"]], ["ada"])
        self.assertContains(
            response, "Platform staff can view and edit every organization."
        )
        for text in ("root", "anna", "personally"):
            self.assertNotContains(response, text)

    def test_a_page_of_a_person_shows_what_they_can_see_and_why(self):
        self.client.force_login(self.staff)
        url = f"{USERS}{self.admin.pk}/organizations/"
        self.assertContains(
            self.client.get(url),
            """
            <div class="reason">
                View it, edit it, view and edit confidential fields, manage its people
                <div class="small quiet">Is in its Admin group</div>
            </div>
            """,
            html=True,
        )
        self.assertContains(
            self.client.get(f"{USERS}{self.anna.pk}/organizations/"),
            "This person has no access to any",
        )
        for user in (
            self.admin,
            create_user("m", is_staff=True, permissions=["view_user", "change_user"]),
        ):
            self.client.force_login(user)
            for page in ("organizations", "access", "leave", "second_factor"):
                for method in (self.client.get, self.client.post):
                    response = method(
                        f"{USERS}{self.anna.pk}/{page}/", {"confirmed": "1"}
                    )
                    self.assertRedirects(
                        response, "/admin/", fetch_redirect_response=False
                    )
        self.assertTrue(User.objects.get(pk=self.anna.pk).is_active)


class OffboardingTests(PeopleMixin, TestCase):
    def test_removes_all_access_after_a_preview(self):
        set_role(create_organization("Beta"), [self.admin], REVIEWER)
        grant(self.admin, "view_organization", create_organization("Gamma"))
        session = Client()
        session.force_login(self.admin)
        self.client.force_login(self.staff)
        url = f"{USERS}{self.admin.pk}/leave/"
        response = self.client.get(url)
        for text in (
            "Admin: <bdi>Acme</bdi>",
            "Reviewer: <bdi>Beta</bdi>",
            "This organization will have no active admin:",
        ):
            self.assertContains(response, text)
        self.assertContains(
            self.post(
                url,
                confirmed="1",
                reason="Retired",
                confirmed_organizations=self.acme.pk,
            ),
            "was offboarded",
        )
        user = User.objects.get(pk=self.admin.pk)
        self.assertFalse(
            user.is_active or user.groups.exists() or user.has_usable_password()
        )
        self.assertFalse(Organization.objects.permitted(user).exists())
        user.is_active = True
        user.save()
        # The session has ended, even though the account is active again.
        self.assertEqual(session.get(LIST).status_code, 302)
        self.assertFalse(Organization.objects.permitted(user).exists())
        self.assertEqual(
            MembershipEvent.objects.filter(
                event="left", reason="Retired", actor_name="root"
            ).count(),
            2,
        )
        self.assertTrue(Session.objects.exists())

    def test_someone_with_both_roles_in_an_organization_leaves_each_once(self):
        acme = Organization.objects.get(name="Acme")
        # Past `membership`, which would replace the other role.
        self.admin.groups.add(acme.reviewer)
        offboarding.offboard(
            self.admin, actor=self.staff, reason="Retired", confirmed=[acme.pk]
        )
        left = MembershipEvent.objects.filter(
            event="left", reason="Retired"
        ).values_list("role", flat=True)
        self.assertCountEqual(left, ["admin", "reviewer"])

    def test_nobody_offboards_themselves(self):
        self.client.force_login(self.staff)
        self.assertContains(
            self.post(f"{USERS}{self.staff.pk}/leave/", confirmed="1"),
            "Ask another superuser.",
        )
        self.assertTrue(User.objects.get(pk=self.staff.pk).is_superuser)


# Reasons that are refused, and the beginning of what the page says about them.
REFUSED_REASONS = {
    "x" * 501: "Ensure this value has at most 500 characters",
    "\ufdfa" * 28: "Written out, it has 504 characters",
    "a\x00b": "This contains a line break or a character",
    "a\u202eb": "This contains a line break or a character",
    "a\nb": "This contains a line break or a character",
}


class ReasonTests(PeopleMixin, TestCase):
    def setUp(self):
        self.client.force_login(self.staff)
        self.events = MembershipEvent.objects.count()

    def assert_nothing_changed(self):
        self.assertEqual(MembershipEvent.objects.count(), self.events)
        self.admin.refresh_from_db()
        self.assertTrue(self.admin.is_active)

    @tag("E12", "E13")
    def test_a_role_change_shows_what_is_wrong_with_its_reason(self):
        for reason, message in REFUSED_REASONS.items():
            for change in ({"remove": ""}, {"role": "reviewer"}):
                with self.subTest(reason=ascii(reason[:5]), change=change):
                    response = self.post(
                        user=self.admin.pk, confirmed="1", reason=reason, **change
                    )
                    self.assertContains(response, message)
                    self.assertEqual(list(response.context["form"].errors), ["reason"])
                    self.assert_nothing_changed()

    @tag("E13")
    def test_adding_people_refuses_a_reason_that_its_form_does_not_send(self):
        data = {"add": "1", "add-who": "anna", "add-role": "admin"}
        response = self.post(**data, reason="a\x00b")
        self.assertContains(response, "This contains a line break or a character")
        self.assert_nothing_changed()

    @tag("E12", "E13")
    def test_offboarding_shows_what_is_wrong_with_its_reason(self):
        url = f"{USERS}{self.admin.pk}/leave/"
        for reason, message in REFUSED_REASONS.items():
            with self.subTest(reason=ascii(reason[:5])):
                response = self.post(url, confirmed="1", reason=reason)
                self.assertContains(response, message)
                self.assert_nothing_changed()

    @tag("E13")
    def test_a_reason_is_cleaned(self):
        self.post(
            user=self.admin.pk,
            remove="",
            confirmed="1",
            confirmed_organizations=self.acme.pk,
            reason=" Moved\u200b \u00a0on",
        )
        self.assertEqual(MembershipEvent.objects.first().reason, "Moved on")

    def test_offers_a_field_for_the_reason(self):
        responses = [
            self.post(user=self.admin.pk, remove=""),
            self.client.get(f"{USERS}{self.admin.pk}/leave/"),
        ]
        for response in responses:
            self.assertContains(response, "Reason (optional):")
            widget = response.context["form"]["reason"].as_widget()
            self.assertIn('maxlength="500"', widget)
            self.assertContains(response, widget, html=True)

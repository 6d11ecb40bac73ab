"""The links between accounts and company accounts: listing, removing and moving."""

from unittest import mock

from allauth.socialaccount.models import SocialAccount
from django.test import Client, RequestFactory, override_settings, tag
from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.accounts.devices import find_device
from orgadmin.models import AuditEvent, User
from orgadmin.people import company_accounts
from tests.factories import create_superuser, create_user
from tests.identity import describe_provider
from tests.test_company import CompanyCase
from tests.test_sign_in import LOGIN

ACCOUNT = "/admin/account/"


class TiesCase(CompanyCase):
    def use_two_providers(self):
        partner = describe_provider(self.server, id="partner", name="Partner")
        changes = {"OIDC_PROVIDERS": [describe_provider(self.server), partner]}
        self.enterContext(override_settings(**changes))

    def link(self, provider="company", subject="a", user=None, **extra_data):
        return SocialAccount.objects.create(
            user=user or self.ada,
            provider=provider,
            uid=subject,
            extra_data={"server": self.server.address, **extra_data},
        )

    def use_no_password(self):
        self.ada.refresh_from_db()
        self.ada.set_unusable_password()
        self.ada.save()


class AccountPageTests(TiesCase):
    """What people see and do about their own company accounts."""

    def open(self):
        self.client.force_login(self.ada)
        return self.client.get(ACCOUNT)

    def remove(self, pk):
        data = {"section": "company", "account": pk, "confirmed": "1"}
        return self.client.post(ACCOUNT, data, follow=True)

    @tag("D62")
    def test_lists_them(self):
        self.assertNotContains(self.open(), "Company accounts")
        link = self.link()
        SocialAccount.objects.update(
            date_joined=timezone.make_aware(timezone.datetime(2026, 3, 4)),
            last_login=timezone.make_aware(timezone.datetime(2026, 5, 6, 7, 8)),
        )
        page = self.open()
        self.assertContains(page, "Company accounts")
        for text in (
            "Example",
            "March 4, 2026",
            "May 6, 2026, 7:08",
            f'value="{link.pk}"',
        ):
            self.assertContains(page, text)

    def test_says_with_what_people_without_a_password_sign_in(self):
        self.use_two_providers()
        self.use_no_password()
        self.link()
        self.link("partner")
        self.link("gone")
        self.assertContains(self.open(), "None. You sign in with Example, Partner.")

    @tag("D62")
    def test_are_removed_by_their_person(self):
        link = self.link()
        self.open()
        response = self.remove(link.pk)
        self.assertContains(response, "The company account was removed: Example.")
        self.assertFalse(SocialAccount.objects.exists())
        event = self.assert_recorded(
            SecurityEvent.PROVIDER_UNLINKED, self.ada, provider="company", subject="a"
        )
        self.assertEqual(event.actor_key, self.ada.pk)
        self.assertTrue(self.is_signed_in())

    @tag("D62")
    def test_the_person_is_told_how_it_comes_back(self):
        self.come()
        response = self.remove(SocialAccount.objects.get().pk)
        text = "signs in there with your email address, it is added again"
        self.assertContains(response, text)
        self.come(client=Client())
        self.assertTrue(SocialAccount.objects.exists())

    @tag("D62")
    def test_whoever_else_used_it_is_signed_out_with_it(self):
        thief = Client()
        self.come(client=thief)
        self.client.post(LOGIN, {"username": "ada", "password": "secret"})
        self.assertEqual(thief.get("/admin/").status_code, 200)
        response = self.remove(SocialAccount.objects.get().pk)
        self.assertContains(response, "signed out on all your other devices")
        self.assertEqual(thief.get("/admin/").status_code, 302)
        self.assertEqual(self.client.get("/admin/").status_code, 200)
        # This device is still known to the account.
        request = RequestFactory().get("/")
        request.COOKIES = {name: row.value for name, row in self.client.cookies.items()}
        self.assertTrue(find_device(request, User.objects.get(pk=self.ada.pk)))

    @tag("D62")
    def test_sessions_continue_if_nothing_is_removed(self):
        self.link()
        self.use_no_password()
        other = Client()
        other.force_login(self.ada)
        self.open()
        self.remove(SocialAccount.objects.get().pk)
        self.remove(0)
        self.assertEqual(other.get("/admin/").status_code, 200)

    @tag("D62", "D26")
    def test_are_removed_after_a_recent_sign_in_only(self):
        link = self.link()
        self.open()
        session = self.client.session
        session["signed_in"] = timezone.now().timestamp() - 3600
        session.save()
        self.assertContains(self.remove(link.pk), "You signed in a while ago")
        self.assertTrue(SocialAccount.objects.exists())
        data = {"section": "company", "account": link.pk, "step-up-password": "secret"}
        page = self.client.post(ACCOUNT, data)
        self.assertContains(page, "Remove company account Example?")
        self.assertNotContains(page, "secret")
        self.assertTrue(SocialAccount.objects.exists())
        self.remove(link.pk)
        self.assertFalse(SocialAccount.objects.exists())

    @tag("D62")
    def test_nobody_removes_their_only_way_to_sign_in(self):
        link = self.link()
        self.use_no_password()
        self.assertContains(self.open(), "You cannot sign in without it.")
        response = self.remove(link.pk)
        self.assertContains(
            response, "was not removed, because you cannot sign in without it"
        )
        self.assertTrue(SocialAccount.objects.exists())

    @tag("D62")
    def test_another_one_is_another_way_if_the_site_still_uses_it(self):
        self.use_two_providers()
        self.use_no_password()
        link = self.link()
        other = self.link("gone")
        for changes in ({}, {"provider": "partner", "extra_data": {"server": "x"}}):
            SocialAccount.objects.filter(pk=other.pk).update(**changes)
            self.open()
            self.remove(link.pk)
            self.assertEqual(SocialAccount.objects.count(), 2)
        SocialAccount.objects.filter(pk=other.pk).update(
            extra_data={"server": self.server.address}
        )
        self.remove(link.pk)
        self.assertEqual(SocialAccount.objects.get(), other)
        self.remove(other.pk)
        self.assertEqual(SocialAccount.objects.get(), other)

    @tag("D62")
    def test_a_passkey_is_another_way(self):
        link = self.link()
        self.use_no_password()
        self.open()
        with mock.patch(
            "orgadmin.accounts.company.own_accounts.can_use_passkey", return_value=True
        ):
            self.remove(link.pk)
        self.assertFalse(SocialAccount.objects.exists())

    @tag("D62")
    def test_those_of_other_people_stay(self):
        link = self.link(user=create_user("bert"))
        self.open()
        for pk in (link.pk, "", "x", "1" * 30):
            self.assertContains(self.remove(pk), "was already removed")
        self.assertTrue(SocialAccount.objects.exists())


class StaffPageTests(TiesCase):
    """What superusers see and do about the company accounts of a person."""

    def setUp(self):
        super().setUp()
        self.staff = Client()
        self.staff.force_login(create_superuser("root"))
        self.page = f"/admin/orgadmin/user/{self.ada.pk}/company/"

    def change(self, **data):
        data["confirmed"] = "1"
        return self.staff.post(self.page, data, follow=True)

    def refuse_another(self, subject="newcomer"):
        """Try to sign in as another person, and return the hash of their ID."""
        self.client.logout()
        self.assert_refused(self.come(sub=subject))
        event = AuditEvent.objects.filter(event=SecurityEvent.PROVIDER_REFUSED).first()
        return event.details["subject"]

    @tag("D62")
    def test_lists_each_with_its_provider(self):
        self.use_two_providers()
        self.link()
        self.link("partner")
        self.link("gone")
        page = self.staff.get(self.page)
        for text in ("Example", "Partner", "gone", "last used"):
            self.assertContains(page, text)
        self.assertContains(page, "No longer used by this site", count=1)

    @tag("D62")
    def test_removes_one_of_several(self):
        self.use_two_providers()
        link = self.link()
        other = self.link("partner")
        self.assertContains(self.change(account=link.pk), "was removed")
        self.assertEqual(SocialAccount.objects.get(), other)
        self.assertContains(self.change(account=link.pk), "Nothing was changed")

    @tag("D62")
    def test_does_not_remove_those_of_other_people(self):
        link = self.link(user=create_user("bert"))
        self.assertContains(self.change(account=link.pk), "Nothing was changed")
        self.assertTrue(SocialAccount.objects.exists())

    @tag("D62")
    def test_moves_the_link_to_the_person_who_was_refused(self):
        self.assert_signed_in(self.come(sub="old"))
        other = Client()
        other.force_login(self.ada)
        self.assertNotContains(self.staff.get(self.page), "Move the link")
        subject = self.refuse_another()
        self.refuse_another()
        page = self.staff.get(self.page)
        self.assertContains(page, "Move the link to Example")
        self.assertContains(page, f"ID {subject[:8]}…: 2 attempts")
        link = SocialAccount.objects.get()
        page = self.staff.post(self.page, {"account": link.pk, "subject": subject})
        self.assertContains(page, "Move the link of “ada”?")
        self.assertContains(page, f'name="subject" value="{subject}"')
        self.assertEqual(SocialAccount.objects.get().uid, link.uid)
        response = self.change(account=link.pk, subject=subject)
        self.assertContains(response, "The link was moved")
        self.assertNotContains(response, "Move the link")
        self.assert_moved()
        self.assertEqual(other.get("/admin/").status_code, 302)

    def assert_moved(self):
        root = User.objects.get(username="root")
        events = AuditEvent.objects.filter(user_key=self.ada.pk, actor_key=root.pk)
        self.assertEqual(
            {event.event for event in events},
            {SecurityEvent.PROVIDER_UNLINKED, SecurityEvent.PROVIDER_LINKED},
        )
        self.assert_signed_in(self.come(sub="newcomer"))
        self.client.logout()
        self.assert_refused(self.come(sub="old"))

    @tag("D62")
    def test_moves_the_link_to_nobody_who_was_not_refused(self):
        self.come(sub="old")
        subject = self.refuse_another()
        link = SocialAccount.objects.get()
        for wrong in ("x", subject[:8], link.uid):
            response = self.change(account=link.pk, subject=wrong)
            self.assertContains(response, "Nothing was changed")
        self.assertEqual(SocialAccount.objects.get().uid, link.uid)

    @tag("D62")
    def test_those_who_have_an_account_by_now_are_not_offered(self):
        self.come(sub="old")
        subject = self.refuse_another()
        link = SocialAccount.objects.get(user=self.ada)
        self.link(subject=subject, user=create_user("bert"))
        self.assertNotContains(self.staff.get(self.page), "Move the link")
        self.change(account=link.pk, subject=subject)
        self.assertEqual(SocialAccount.objects.get(user=self.ada).uid, link.uid)

    @tag("D62")
    def test_refusals_from_before_the_link_are_not_offered(self):
        self.come(sub="old")
        subject = self.refuse_another()
        SocialAccount.objects.update(date_joined=timezone.now())
        link = SocialAccount.objects.get()
        self.assertNotContains(self.staff.get(self.page), "Move the link")
        self.change(account=link.pk, subject=subject)
        self.assertEqual(SocialAccount.objects.get().uid, link.uid)

    @tag("D62")
    def test_other_refusals_are_not_offered(self):
        self.come(sub="old")
        self.client.logout()
        User.objects.filter(pk=self.ada.pk).update(is_active=False)
        self.assert_refused(self.come(sub="old"))
        self.assertNotContains(self.staff.get(self.page), "Move the link")

    @tag("D62")
    def test_reads_a_limited_number_of_refusals(self):
        self.come(sub="old")
        self.refuse_another("first")
        self.refuse_another("second")
        with mock.patch.object(company_accounts, "MAX_READ", 1):
            page = self.staff.get(self.page)
        self.assertContains(page, "Move the link to", count=1)

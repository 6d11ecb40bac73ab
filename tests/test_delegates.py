"""Staff who manage people, but are not superusers, do not get more access."""

import re
from unittest import mock

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.admin.models import CHANGE, LogEntry
from django.core import mail
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.test import Client, TestCase, tag
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orgadmin.access.origin import current_request
from orgadmin.accounts.password_link import request_password_link
from orgadmin.admin.people.users import UserAdmin
from orgadmin.models import AuditEvent, Organization, SignInAttempt, User
from orgadmin.models.sign_in_attempt import make_key
from orgadmin.people.invitations import LIMIT_BY_SENDER

from .factories import (
    ADMIN,
    create_organization,
    create_superuser,
    create_user,
    grant,
    set_role,
)
from .mailing import queues_mail

LIST = "/admin/orgadmin/user/"
NEW_PASSWORD = {
    "usable_password": "true",
    "password1": "correct horse battery",
    "password2": "correct horse battery",
}
ALL = ["view_user", "add_user", "change_user", "delete_user"]


save_model = UserAdmin.save_model


def save_after_a_change(model_admin, request, obj, form, change):
    """Save a person that someone else has changed a moment before."""
    User.objects.filter(pk=obj.pk).update(is_staff=False, last_name="Changed")
    return save_model(model_admin, request, obj, form, change)


class UserManagerTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Canary Ltd")
        cls.root = create_superuser()
        cls.manager = create_user("manager", is_staff=True, permissions=ALL)
        cls.plain = create_user("plain")
        cls.admin = create_user("admin", admin_of=[cls.acme])
        cls.away = create_user("away", admin_of=[cls.acme], is_active=False)
        cls.above = [cls.root, cls.admin, cls.away]

    def setUp(self):
        self.client.force_login(self.manager)

    def post(self, user, **values):
        data = {
            "username": user.username,
            "is_active": "on",
            "first_name": "New",
            **values,
        }
        # Fields that only superusers see, so that the form is complete for them, too.
        data |= {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
        return self.client.post(f"{LIST}{user.pk}/change/", data)

    def test_manages_people_who_hold_no_more(self):
        response = self.post(self.plain, last_name="Name")
        self.assertRedirects(response, f"{LIST}{self.plain.pk}/overview/")
        self.plain.refresh_from_db()
        self.assertEqual(self.plain.get_full_name(), "New Name")
        response = self.client.post(f"{LIST}add/", {"username": "added"})
        added = User.objects.get(username="added")
        self.assertRedirects(response, f"{LIST}{added.pk}/overview/")
        self.assertFalse(added.is_staff or added.has_usable_password())

    def test_keeps_the_own_email_address(self):
        self.post(self.manager, email="manager@example.com")
        self.manager.refresh_from_db()
        self.assertEqual(self.manager.email, "manager@example.com")

    @tag("C1")
    def test_grants_no_permissions(self):
        values = {
            "is_superuser": "on",
            "is_staff": "on",
            "groups": [self.acme.admin_id],
            "user_permissions": [1, 2, 3],
        }
        for user in (self.plain, self.manager):
            self.post(user, **values)
        for user in (self.plain, User.objects.get(pk=self.manager.pk)):
            user.refresh_from_db()
            self.assertFalse(user.is_superuser)
            self.assertFalse(user.groups.exists())
        self.assertFalse(self.plain.is_staff)
        self.assertEqual(self.manager.user_permissions.count(), len(ALL))
        data = NEW_PASSWORD | {"username": "made"}
        self.client.post(f"{LIST}add/", data | values)
        made = User.objects.get(username="made")
        self.assertFalse(made.is_superuser or made.is_staff or made.groups.exists())

    @tag("C2")
    def test_edits_nobody_who_holds_more(self):
        password = NEW_PASSWORD | {"set-password": "1"}
        for user in self.above:
            url = f"{LIST}{user.pk}"
            with self.subTest(user=user):
                self.assertEqual(self.client.get(f"{url}/change/").status_code, 200)
                self.assertEqual(self.post(user).status_code, 403)
                for page, data in (
                    ("password", password),
                    ("delete", {"post": "yes"}),
                ):
                    response = self.client.post(f"{url}/{page}/", data)
                    self.assertEqual(response.status_code, 403)
        selected = {
            "action": "delete_selected",
            "_selected_action": [user.pk for user in self.above],
            "post": "yes",
        }
        self.client.post(LIST, selected)
        self.assertEqual(
            User.objects.filter(first_name="").count(), User.objects.count()
        )
        self.assertEqual(
            User.objects.filter(pk__in=[user.pk for user in self.above]).count(), 3
        )

    @tag("C9")
    def test_deletes_nobody(self):
        url = f"{LIST}{self.plain.pk}/delete/"
        self.assertEqual(self.client.post(url, {"post": "yes"}).status_code, 403)
        selected = {
            "action": "delete_selected",
            "_selected_action": [self.plain.pk],
            "post": "yes",
        }
        self.client.post(LIST, selected)
        self.assertTrue(User.objects.filter(pk=self.plain.pk).exists())

    def test_keeps_what_someone_else_changed_at_the_same_time(self):
        with mock.patch.object(UserAdmin, "save_model", save_after_a_change):
            self.post(self.manager, email="manager@example.com")
        self.manager.refresh_from_db()
        self.assertFalse(self.manager.is_staff)
        self.assertEqual(self.manager.last_name, "Changed")
        self.assertEqual(self.manager.first_name, "New")
        self.assertEqual(self.manager.email, "manager@example.com")

    def test_learns_no_names_of_organizations(self):
        changed = {"name": "organization", "object": "Canary Ltd", "fields": ["x"]}
        LogEntry.objects.log_actions(
            self.root.pk, [self.admin], CHANGE, [{"changed": changed}]
        )
        # It permits nothing without "view", but it names the organization.
        grant(self.plain, "change_organization", self.acme)
        for page in ("change/", "history/", "delete/", "password/"):
            for user in (self.admin, self.plain):
                response = self.client.get(f"{LIST}{user.pk}/{page}", follow=True)
                self.assertNotIn(b"Canary", response.content)
        selected = {"action": "delete_selected", "_selected_action": [self.plain.pk]}
        self.assertNotIn(b"Canary", self.client.post(LIST, selected).content)
        self.assertEqual(
            self.client.get("/admin/orgadmin/organization/").status_code, 403
        )
        query = {
            "app_label": "orgadmin",
            "model_name": "user",
            "field_name": "groups",
            "term": "",
        }
        self.assertEqual(
            self.client.get("/admin/autocomplete/", query).status_code, 403
        )

    def test_needs_the_permission_to_view_with_any_other(self):
        self.client.force_login(
            create_user(
                "half", is_staff=True, permissions=["change_user", "delete_user"]
            )
        )
        for page in ("", "add/", f"{self.plain.pk}/password/"):
            self.assertEqual(self.client.get(LIST + page).status_code, 403)
        self.client.force_login(
            create_user("nostaff", permissions=ALL, admin_of=[self.acme])
        )
        self.assertEqual(self.client.get(LIST).status_code, 403)

    @tag("C3")
    def test_a_model_level_permission_for_groups_opens_nothing(self):
        user = create_user(
            "groups",
            is_staff=True,
            permissions=["view_group", "change_group", "delete_group"],
        )
        self.client.force_login(user)
        self.assertEqual(self.client.get("/admin/auth/group/").status_code, 403)
        self.client.post(
            f"/admin/auth/group/{self.acme.admin_id}/change/", {"name": "Mine"}
        )
        self.assertEqual(Organization.objects.get().admin.name, "Canary Ltd Admin")


# What someone could sign in with, or receive a link at.
CREDENTIALS = ("username", "password", "email", "verified_email")
ASKED_FOR_LINK = "password link requested"
LINK_SUBJECT = "Choose a password"


def create_people(acme):
    """Return accounts in every state: {state: user}."""
    people = {
        "unused": User.objects.create_user("unused", "unused@example.com"),
        "without address": User.objects.create_user("without-address"),
        "signed in before": create_user("before", email="before@example.com"),
        "deactivated": create_user(
            "deactivated", email="deactivated@example.com", is_active=False
        ),
        "company account": User.objects.create_user("company", "co@example.com"),
        "second factor": create_user("factor", email="factor@example.com"),
        "reviewer": create_user(
            "reviewer", email="reviewer@example.com", reviewer_of=[acme]
        ),
        "staff": create_user("staff", email="staff@example.com", is_staff=True),
        "superuser": create_superuser("other-root", email="other@example.com"),
    }
    people["signed in before"].verify_email()
    User.objects.filter(pk=people["signed in before"].pk).update(
        last_login=timezone.now()
    )
    for state in ("company account", "second factor"):
        people[state].verify_email()
    SocialAccount.objects.create(user=people["company account"], provider="c", uid="1")
    Authenticator.objects.create(user=people["second factor"], type="totp", data={})
    return people


@tag("C13")
class PreparedAccountTests(TestCase):
    """Delegates cannot prepare an account, and use it once it has access."""

    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme")
        cls.people = create_people(cls.acme)
        cls.root = create_superuser()
        cls.actors = {
            "superuser": cls.root,
            "delegate": create_user("delegate", is_staff=True, permissions=ALL),
            "delegate who only views": create_user(
                "viewer", is_staff=True, permissions=["view_user"]
            ),
            "organization admin": create_user("ada", admin_of=[cls.acme]),
        }

    def list_actions(self, user):
        """Return {action: (URL, data)} of everything that could change credentials."""
        url = f"{LIST}{user.pk}"
        person = {
            "username": user.username,
            "email": user.email,
            "is_active": "on",
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00:00",
        }
        chosen = {"_selected_action": [user.pk]}
        links = SocialAccount.objects.filter(user=user)
        link = links.values_list("pk", flat=True).first() or 1
        return {
            "password": (f"{url}/password/", NEW_PASSWORD | {"set-password": "1"}),
            "no password": (
                f"{url}/password/",
                NEW_PASSWORD | {"usable_password": "false", "unset-password": "1"},
            ),
            "password in the form": (
                f"{url}/change/",
                person | NEW_PASSWORD | {"password": "!"},
            ),
            "username": (f"{url}/change/", person | {"username": "mine"}),
            "email": (f"{url}/change/", person | {"email": "mine@example.com"}),
            "verified email": (
                f"{url}/change/",
                person
                | {"email": "mine@example.com"}
                | {"verified_email": "mine@example.com"},
            ),
            "factors": (
                LIST,
                chosen | {"action": "remove_second_factor", "post": "yes"},
            ),
            "company account": (f"{url}/company/", {"account": link}),
            "factors of one person": (f"{url}/second_factor/", {}),
            "deletion": (LIST, chosen | {"action": "delete_selected", "post": "yes"}),
            "erasure": (f"{url}/erase/", {"username": user.username}),
            "offboarding": (f"{url}/leave/", {"confirmed": "1"}),
        }

    def read_credentials(self):
        return [
            *User.objects.order_by("pk").values("pk", *CREDENTIALS),
            *SocialAccount.objects.order_by("pk").values("pk", "user"),
            *Authenticator.objects.order_by("pk").values("pk", "user"),
        ]

    def changes_something(self, client, url, data):
        before = transaction.savepoint()
        credentials = self.read_credentials()
        client.post(url, data)
        changed = self.read_credentials() != credentials
        transaction.savepoint_rollback(before)
        return changed

    def sign_in(self):
        """Return {actor: client}."""
        clients = {}
        for name, actor in self.actors.items():
            clients[name] = Client()
            clients[name].force_login(actor)
        return clients

    def test_only_superusers_change_credentials_by_action_actor_and_state(self):
        clients = self.sign_in()
        root = clients.pop("superuser")
        changed_by_superuser = set()
        for state, user in self.people.items():
            for action, (url, data) in self.list_actions(user).items():
                for name, client in clients.items():
                    changed = self.changes_something(client, url, data)
                    with self.subTest(action, actor=name, state=state):
                        self.assertFalse(changed)
                if action not in changed_by_superuser:
                    # Undoing the change may have undone the session.
                    root.force_login(self.root)
                    changed = self.changes_something(root, url, data)
                    changed_by_superuser |= {action} if changed else set()
        # The requests are right: what others cannot do, a superuser can.
        everything = set(self.list_actions(self.root))
        self.assertEqual(changed_by_superuser, everything - {"password in the form"})

    def test_no_account_is_created_with_a_password(self):
        self.client.force_login(self.actors["delegate"])
        page = self.client.get(f"{LIST}add/").content.decode()
        self.assertNotIn("password1", page)
        data = {"username": "new", "email": "new@example.com"}
        hidden = {
            "password": "pbkdf2_sha256$1$a$b",
            "verified_email": "new@example.com",
        }
        self.client.post(f"{LIST}add/", data | hidden | NEW_PASSWORD)
        user = User.objects.get(username="new")
        self.assertFalse(user.has_usable_password() or user.has_verified_email)
        self.assertFalse(user.is_staff or user.is_superuser)
        self.assertEqual(user.email, "new@example.com")

    def test_superusers_still_choose_the_first_password(self):
        self.client.force_login(self.root)
        data = NEW_PASSWORD | {"username": "new"}
        self.client.post(f"{LIST}add/", data)
        user = User.objects.get(username="new")
        self.assertTrue(user.check_password(NEW_PASSWORD["password1"]))

    def test_waiting_for_a_role_does_not_help(self):
        """No matter what a delegate tries before, they cannot sign in afterwards."""
        delegate = self.actors["delegate"]
        self.client.force_login(delegate)
        for state in ("unused", "without address", "signed in before", "deactivated"):
            user = self.people[state]
            for url, data in self.list_actions(user).values():
                self.client.post(url, data)
            self.client.post(f"{LIST}{user.pk}/password_link/")
        addresses = {address for message in mail.outbox for address in message.to}
        self.assertNotIn("mine@example.com", addresses)
        for state in ("unused", "without address", "signed in before", "deactivated"):
            user = User.objects.get(pk=self.people[state].pk)
            user.is_active = True
            user.save()
            set_role(self.acme, [user], ADMIN)
            for name in (user.username, "mine", "mine@example.com"):
                visitor = Client()
                data = {"username": name, "password": NEW_PASSWORD["password1"]}
                visitor.post("/admin/login/", data)
                self.assertNotIn("_auth_user_id", visitor.session)

    def test_the_model_refuses_what_a_page_forgets_to_refuse(self):
        """A page that is added later may have a form with these fields."""
        delegate = self.actors["delegate"]
        request = mock.Mock(id="r" * 32, META={})
        token = current_request.set(request)
        self.addCleanup(current_request.reset, token)
        for actor in (delegate, None, self.actors["organization admin"]):
            for name in ("username", "password", "email"):
                user = User.objects.get(pk=self.people["unused"].pk)
                user.changed_by = actor
                setattr(user, name, "changed@example.com")
                with (
                    self.subTest(name, actor=actor),
                    self.assertRaises(PermissionDenied),
                ):
                    user.save()
            user = User(username="created", password="pbkdf2_sha256$1$a$b")
            user.changed_by = actor
            with self.subTest("new", actor=actor), self.assertRaises(PermissionDenied):
                user.save()
        for actor in (self.root, self.people["unused"]):
            user = User.objects.get(pk=self.people["unused"].pk)
            user.changed_by = actor
            user.email = f"{actor.pk}@example.com"
            user.save()

    def test_someone_who_was_demoted_meanwhile_is_no_superuser(self):
        user = User.objects.get(pk=self.people["unused"].pk)
        user.changed_by = User.objects.get(pk=self.people["superuser"].pk)
        self.people["superuser"].is_superuser = False
        self.people["superuser"].save()
        user.email = "mine@example.com"
        with self.assertRaises(PermissionDenied):
            user.save()


@tag("C13")
class PasswordLinkTests(TestCase):
    """The link that lets someone choose a password."""

    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme")
        cls.people = create_people(cls.acme)
        cls.root = create_superuser()
        cls.delegate = create_user("delegate", is_staff=True, permissions=ALL)

    def setUp(self):
        self.links = []
        self.client.force_login(self.delegate)

    def send(self, state, client=None):
        """Press the button, and return the message on the next page."""
        user = self.people[state]
        mail.outbox.clear()
        with self.captureOnCommitCallbacks(execute=True):
            response = (client or self.client).post(
                f"{LIST}{user.pk}/password_link/", follow=True
            )
        self.links = [m for m in mail.outbox if m.subject == LINK_SUBJECT]
        [message] = response.context["messages"]
        return str(message).replace(user.label, "X")

    def ask(self, user):
        """Ask for a new password as a visitor. Returns the subjects of the mail."""
        mail.outbox.clear()
        with self.captureOnCommitCallbacks(execute=True):
            Client().post("/admin/password_reset/", {"email": user.email})
        return [message.subject for message in mail.outbox]

    @tag("C13")
    def test_whoever_never_used_their_link_can_ask_for_another(self):
        user = create_user("nora", email="nora@example.com", reviewer_of=[self.acme])
        user.set_unusable_password()
        user.save()
        self.assertNotIn(LINK_SUBJECT, self.ask(user))
        request_password_link(user, actor=self.root)
        self.assertEqual(self.ask(user), [LINK_SUBJECT])

    @tag("C13")
    def test_a_new_link_needs_an_account_that_nobody_has_touched(self):
        def sign_in(user):
            user.last_login = timezone.now()

        def move(user):
            user.email = f"other-{user.email}"

        def deactivate(user):
            user.is_active = False
            user.save()
            user.is_active = True

        def connect(user):
            SocialAccount.objects.create(user=user, provider="x", uid=str(user.pk))

        for change in (sign_in, move, deactivate, connect):
            with self.subTest(change=change.__name__):
                name = change.__name__
                user = create_user(name, email=f"{name}@example.com")
                user.set_unusable_password()
                user.save()
                request_password_link(user, actor=self.root)
                self.assertEqual(self.ask(user), [LINK_SUBJECT])
                change(user)
                user.save()
                self.assertNotIn(LINK_SUBJECT, self.ask(user))

    @tag("C13")
    def test_a_new_link_needs_a_sender_who_still_might_send_it(self):
        other = create_superuser("other")
        user = create_user("nora", email="nora@example.com", reviewer_of=[self.acme])
        user.set_unusable_password()
        user.save()
        request_password_link(user, actor=other)
        other.is_superuser = False
        other.save()
        self.assertNotIn(LINK_SUBJECT, self.ask(user))

    def test_a_link_that_has_ended_leads_to_a_new_one(self):
        page = self.client.get("/admin/reset/x/y-z/", follow=True)
        self.assertContains(page, "Send a new link")

    def test_is_offered_on_the_page_of_a_person(self):
        user = self.people["unused"]
        page = self.client.get(f"{LIST}{user.pk}/overview/")
        self.assertContains(page, f"{LIST}{user.pk}/password_link/")
        self.assertNotContains(page, "../password/")
        self.assertNotContains(page, f"{user.pk}/password/")
        page = self.client.get(f"{LIST}{user.pk}/password_link/")
        self.assertContains(page, "Send a link to set a password")
        self.assertEqual(self.links, [])

    def test_the_person_sets_the_password_with_it(self):
        self.send("unused")
        [message] = self.links
        self.assertEqual(message.to, ["unused@example.com"])
        link = re.search(r"https?://[^/\s]+(/admin/reset/\S+)", message.body)[1]
        visitor = Client()
        page = visitor.get(link, follow=True)
        data = {
            "new_password1": NEW_PASSWORD["password1"],
            "new_password2": NEW_PASSWORD["password1"],
        }
        visitor.post(page.redirect_chain[-1][0], data)
        user = User.objects.get(username="unused")
        self.assertTrue(user.check_password(NEW_PASSWORD["password1"]))
        self.assertTrue(user.has_verified_email)
        self.assertContains(Client().get(link, follow=True), "already been used")

    def test_the_result_is_the_same_for_all_accounts(self):
        results = {self.send(state) for state in self.people}
        self.assertEqual(len(results), 1)
        events = AuditEvent.objects.filter(event=ASKED_FOR_LINK)
        self.assertEqual(
            sorted(events.values_list("user_key", flat=True)),
            sorted(user.pk for user in self.people.values()),
        )
        for event in events:
            self.assertEqual(event.actor_key, self.delegate.pk)
            self.assertEqual((event.details, event.personal), ({}, {}))

    @queues_mail()
    def test_the_response_does_not_wait_for_what_is_sent(self):
        counts = set()
        for user in self.people.values():
            with CaptureQueriesContext(connection) as queries:
                self.client.post(f"{LIST}{user.pk}/password_link/")
            counts.add(len(queries))
        self.assertEqual(mail.outbox, [])
        # The first one also counts the sender for the first time.
        self.assertLessEqual(len(counts), 2)

    def test_who_gets_one(self):
        """No link gives a password to people who sign in another way."""
        cases = {
            "unused": (True, True),
            "without address": (False, False),
            "signed in before": (True, True),
            "deactivated": (False, False),
            "company account": (False, True),
            "second factor": (True, True),
            "reviewer": (True, True),
            "staff": (True, True),
            "superuser": (True, True),
        }
        self.assertEqual(cases.keys(), self.people.keys())
        root = Client()
        root.force_login(self.root)
        for state, expected in cases.items():
            sent = []
            for client in (self.client, root):
                self.send(state, client)
                sent.append(bool(self.links))
            with self.subTest(state):
                self.assertEqual(tuple(sent), expected)

    def test_an_account_without_a_password_that_has_access_gets_none(self):
        set_role(self.acme, [self.people["unused"]], ADMIN)
        self.send("unused")
        self.assertEqual(self.links, [])

    def test_others_cannot_send_one(self):
        people = {
            "viewer": create_user("v", is_staff=True, permissions=["view_user"]),
            "staff": create_user("s", is_staff=True),
            "admin": create_user("a", admin_of=[self.acme]),
        }
        url = f"{LIST}{self.people['unused'].pk}/password_link/"
        missing = f"{LIST}999999/password_link/"
        for name, user in people.items():
            client = Client()
            client.force_login(user)
            with self.subTest(name):
                for method in (client.get, client.post):
                    self.assertEqual(method(url).status_code, 302)
                    self.assertEqual(
                        method(url)["Location"], method(missing)["Location"]
                    )
        self.assertEqual(self.links, [])
        self.assertFalse(AuditEvent.objects.filter(event=ASKED_FOR_LINK).exists())

    def test_floods_no_mailbox(self):
        for _number in range(10):
            sent = self.send("unused")
        refused = self.send("unused")
        self.assertNotEqual(sent, refused)
        self.assertEqual(self.links, [])
        # The same without an address, so that the limit says nothing about it.
        for _number in range(10):
            self.send("without address")
        self.assertEqual(self.send("without address"), refused)

    def test_a_delegate_cannot_send_to_everyone(self):
        self.send("unused")
        counted = SignInAttempt.objects.filter(
            key=make_key("password links by", self.delegate.pk)
        )
        counted.update(count=LIMIT_BY_SENDER - 1)
        self.assertNotIn("too many", self.send("reviewer"))
        self.assertEqual(len(self.links), 1)
        refused = self.send("unused")
        self.assertIn("too many", refused)
        self.assertEqual(self.links, [])

    def add(self, data):
        mail.outbox.clear()
        with self.captureOnCommitCallbacks(execute=True):
            self.client.post(f"{LIST}add/", data)
        self.links = [m for m in mail.outbox if m.subject == LINK_SUBJECT]

    def test_is_sent_to_the_address_of_a_new_account(self):
        data = {"username": "new", "email": "new@example.com"}
        self.add(data)
        [message] = self.links
        self.assertEqual(message.to, ["new@example.com"])
        user = User.objects.get(username="new")
        events = AuditEvent.objects.filter(event=ASKED_FOR_LINK, user_key=user.pk)
        self.assertEqual(events.get().actor_key, self.delegate.pk)
        self.add({"username": "newer"})
        self.assertEqual(self.links, [])
        self.assertTrue(User.objects.filter(username="newer").exists())

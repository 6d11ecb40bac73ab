"""Every page of the site, as people see it: over the demo, on a stopped clock."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from unittest.mock import patch

from allauth.mfa.models import Authenticator
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group
from django.contrib.auth.tokens import default_token_generator
from django.core import signing
from django.core.management import call_command
from django.test import override_settings
from django.urls import path
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from orgadmin.models import Invitation, Organization, User
from orgadmin.people.invitations import invite
from orgadmin.people.mail import INVITATION_SALT
from tests.factories import ADMIN, REVIEWER, create_user, set_role
from tests.urls import urlpatterns as site_patterns

START = datetime(2026, 9, 7, 9, 30, tzinfo=UTC)

# A secret of an authenticator app, and a password hash of which the user page shows a
# part. Both must be the same each time.
SECRET = "an example of 20 by."
PASSWORD = make_password("secret", "fixedsalt")

# Usernames.
NOBODY = ""
ORG_ADMIN = "demo-admin"
REVIEWS = "demo-reviewer"
VIEWER = "viewer"
MANAGER = "manager"
STAFF = "demo-staff"

SITE = "/admin/"
APP = f"{SITE}orgadmin/"
ORGANIZATIONS = f"{APP}organization/"
CONTACTS = f"{APP}contact/"
USERS = f"{APP}user/"
GROUPS = f"{SITE}auth/group/"
FACTOR = f"{SITE}second-factor/"

# Settings of some pages.
WITH_FACTOR = {"SECOND_FACTOR": "optional"}
WITH_FACTOR_OF_STAFF = {"SECOND_FACTOR": "staff"}
WITH_COMPANY = {"OIDC_SERVER": "https://id.example.com", "OIDC_NAME": "Example ID"}


def do_nothing(page):
    pass


@dataclass(frozen=True)
class Page:
    name: str
    username: str
    address: str
    act: Callable[[Any], None] = do_nothing  # what they do there
    settings: dict[str, Any] = field(default_factory=dict)  # that this page needs


class StoppedClock(datetime):
    """Replaces the clock of django.utils.timezone."""

    moment = START

    @classmethod
    def now(cls, tz=None):
        return cls.moment

    @classmethod
    def move_on(cls, *, days):
        cls.moment += timedelta(days=days)


def fail(request):
    raise ZeroDivisionError


urlpatterns = [*site_patterns, path("broken/", fail)]


def stand_still(test):
    """Stop the clock, and add a URL that fails, until the test ends."""
    StoppedClock.moment = START
    test.enterContext(patch("django.utils.timezone.datetime", StoppedClock))
    test.enterContext(
        patch(
            "allauth.mfa.totp.internal.auth.secrets.token_bytes",
            return_value=SECRET.encode(),
        )
    )
    test.enterContext(override_settings(ROOT_URLCONF=__name__))


# What people do on a page before it is looked at.


class Press:
    """Press a button that leads to another page."""

    def __init__(self, button):
        self.button = button

    def __call__(self, page):
        with page.expect_navigation():
            page.get_by_role("button", name=self.button, exact=True).first.click()


class Fill:
    """Fill in fields, named by their ids, and press a button."""

    def __init__(self, button, **texts):
        self.button = button
        self.texts = texts

    def __call__(self, page):
        for name, text in self.texts.items():
            page.locator(f"#id_{name}").fill(text)
        Press(self.button)(page)


class PreviewImport:
    """Upload a file with this text."""

    def __init__(self, text):
        self.text = text

    def __call__(self, page):
        page.get_by_label("CSV file:").set_input_files(
            {
                "name": "file.csv",
                "mimeType": "text/csv",
                "buffer": self.text.encode(),
            }
        )
        Press("Preview import")(page)


def search_people(page):
    page.locator("#id_add-users ~ .select2 .select2-selection").click()
    page.keyboard.type("demo-")
    page.get_by_role("option", name="demo-reviewer").wait_for()


def delete_selected(page):
    for box in page.locator("#result_list tbody input[type=checkbox]").all()[:3]:
        box.check()
    page.get_by_label("Action:").select_option("delete_selected")
    Press("Go")(page)


def send_old_form(page):
    page.context.clear_cookies()
    Fill("Sign in", username="somebody", password="secret")(page)


# The records that the pages show.


@dataclass(frozen=True)
class Records:
    own: Organization  # where the organization admin and others have worked
    other: Organization  # another one of the same admin
    reviewed: Organization
    empty: Organization  # without people
    invitation: Invitation  # of someone without an account
    known_invitation: Invitation  # of someone with an account
    group: Group  # that belongs to no organization
    admin: User
    leaver: User
    member: User


def create_records():
    create_people()
    admin = User.objects.get(username=ORG_ADMIN)
    reviewer = User.objects.get(username=REVIEWS)
    member = User.objects.get(username="nora@example.com")
    own, other = Organization.objects.permitted(admin, "change")[:2]
    let_people_work(own, admin)
    reviewed = Organization.objects.permitted(reviewer).exclude(pk=own.pk)
    return Records(
        own=own,
        other=other,
        reviewed=reviewed.first(),
        empty=Organization.objects.last(),
        invitation=invite(other, "new@example.com", ADMIN, actor=admin),
        known_invitation=invite(other, member.email, ADMIN, actor=admin),
        group=Group.objects.create(name="Free group"),
        admin=admin,
        leaver=User.objects.get(username="leaver"),
        member=member,
    )


def create_people():
    with override_settings(DEBUG=True):
        call_command("demo", verbosity=0, stdout=StringIO())
    create_user(VIEWER, is_staff=True, permissions=["view_organization"])
    create_user(
        MANAGER, is_staff=True, permissions=["view_user", "add_user", "change_user"]
    )
    add_second_factor(User.objects.get(username=MANAGER))
    create_user(
        "nora@example.com",
        first_name="Nora",
        last_name="Norton",
        email="nora@example.com",
    )
    create_user("otto", first_name="Otto", is_active=False)
    leaving = Organization.objects.order_by("pk")[8:10]
    create_user("leaver", first_name="Lea", admin_of=leaving)
    User.objects.update(password=PASSWORD, date_joined=START)
    demo_users = User.objects.filter(username__startswith="demo")
    demo_users.update(last_login=START + timedelta(days=20))


def add_second_factor(user):
    secret = base64.b32encode(SECRET.encode()).decode()
    Authenticator.objects.create(user=user, type="totp", data={"secret": secret})
    codes = {"seed": SECRET, "used_mask": 3}
    Authenticator.objects.create(user=user, type="recovery_codes", data=codes)


def let_people_work(own, admin):
    """Let some time pass in which people work on an organization."""
    nora = User.objects.get(username="nora@example.com")
    otto = User.objects.get(username="otto")
    reviewer = User.objects.get(username=REVIEWS)
    staff = User.objects.get(username=STAFF)
    set_role(own, [otto], REVIEWER, actor=staff)
    StoppedClock.move_on(days=7)
    set_role(own, [nora], ADMIN, actor=admin, reason="Looks after the phone book")
    set_role(own, [reviewer], REVIEWER, actor=admin)
    invite(own, "late@example.com", REVIEWER, actor=admin)
    own.contacts.create(
        name="Carla Contact",
        role="Head of everything",
        email="carla@example.com",
        phone="+1 555 0101",
    )
    own.contacts.create(name="Kim Keeper", role="Warehouse")
    own._history_user = admin
    own.phone = "+1 555 0100"
    own.email = "office@example.com"
    own.website = "https://www.example.com"
    own.tax_id = "12-3456789"
    own.notes = "Pays late.\nAsk for Kim."
    own.save()
    StoppedClock.move_on(days=8)
    own.phone = "+1 555 0199"
    own.save()
    set_role(own, [otto], None, actor=nora, reason="Moved on")
    set_role(own, [otto], REVIEWER, actor=staff)
    StoppedClock.move_on(days=5)
    invite(own, "soon@example.com", ADMIN, actor=admin)


# The pages.


def list_pages():
    """Create records, and return all pages.

    The order matters: some pages change records that later pages show.
    """
    records = create_records()
    return [
        *list_sign_in_pages(),
        *list_second_factor_pages(),
        *list_password_pages(records),
        *list_invitation_pages(records),
        *list_error_pages(),
        *list_home_pages(),
        *list_lists_of_organizations(),
        *list_organization_pages(records),
        *list_history_pages(records),
        *list_people_pages(records),
        *list_membership_log_pages(records),
        *list_import_pages(records),
        *list_deletion_pages(records),
        *list_contact_pages(records),
        *list_user_pages(records),
        *list_group_pages(records),
        *list_last_pages(),
    ]


def list_sign_in_pages():
    wrong = Fill("Sign in", username="somebody", password="wrong")
    right = Fill("Sign in", username=MANAGER, password="secret")
    return [
        Page("sign-in", NOBODY, SITE),
        Page("sign-in-refused", NOBODY, SITE, wrong),
        Page("sign-in-company", NOBODY, SITE, settings=WITH_COMPANY),
        Page("sign-in-code", NOBODY, SITE, right, WITH_FACTOR),
    ]


def list_second_factor_pages():
    app = f"{FACTOR}totp/activate/"
    remove = f"{FACTOR}totp/deactivate/"
    codes = f"{FACTOR}recovery-codes/"
    new_codes = f"{FACTOR}recovery-codes/generate/"
    wrong = Fill("Set up app", code="000000")
    return [
        Page("second-factor", MANAGER, FACTOR, settings=WITH_FACTOR),
        Page("second-factor-none", ORG_ADMIN, FACTOR, settings=WITH_FACTOR),
        Page("second-factor-app", ORG_ADMIN, app, settings=WITH_FACTOR),
        Page("second-factor-app-refused", ORG_ADMIN, app, wrong, WITH_FACTOR),
        Page("second-factor-app-required", STAFF, SITE, settings=WITH_FACTOR_OF_STAFF),
        Page("second-factor-remove", MANAGER, remove, settings=WITH_FACTOR),
        Page("second-factor-codes", MANAGER, codes, settings=WITH_FACTOR),
        Page("second-factor-codes-new", MANAGER, new_codes, settings=WITH_FACTOR),
    ]


def list_password_pages(records):
    key = urlsafe_base64_encode(force_bytes(records.member.pk))
    token = default_token_generator.make_token(records.member)
    return [
        Page("forgotten", NOBODY, f"{SITE}password_reset/"),
        Page("forgotten-sent", NOBODY, f"{SITE}password_reset/done/"),
        Page("new-password", NOBODY, f"{SITE}reset/{key}/{token}/"),
        Page("new-password-dead", NOBODY, f"{SITE}reset/x/y/"),
        Page("new-password-done", NOBODY, f"{SITE}reset/done/"),
    ]


def list_invitation_pages(records):
    new = invitation_address(records.invitation)
    known = invitation_address(records.known_invitation)
    refused = Fill("Accept invitation", new_password1="a", new_password2="b")
    return [
        Page("invitation", NOBODY, new),
        Page("invitation-refused", NOBODY, new, refused),
        Page("invitation-known", NOBODY, known),
        Page("invitation-dead", NOBODY, f"{SITE}invitation/dead/"),
    ]


def invitation_address(invitation):
    return f"{SITE}invitation/{signing.dumps(invitation.pk, salt=INVITATION_SALT)}/"


def list_error_pages():
    return [
        Page("error-400", ORG_ADMIN, f"{ORGANIZATIONS}?name__regex=x"),
        Page("error-403", ORG_ADMIN, f"{ORGANIZATIONS}import/"),
        Page("error-403-form", NOBODY, SITE, send_old_form),
        Page("error-404", ORG_ADMIN, f"{SITE}nothing/"),
        Page("error-500", NOBODY, "/broken/"),
    ]


def list_home_pages():
    return [
        Page("front-org-admin", ORG_ADMIN, SITE),
        Page("front-not-there", ORG_ADMIN, f"{ORGANIZATIONS}999999/change/"),
        Page("front-reviewer", REVIEWS, SITE),
        Page("front-viewer", VIEWER, SITE),
        Page("front-manager", MANAGER, SITE),
        Page("front-staff", STAFF, SITE),
        Page("front-staff-found", STAFF, f"{SITE}?q=a"),
        Page("front-staff-nothing", STAFF, f"{SITE}?q=zzzz"),
        Page("all-lists", ORG_ADMIN, APP),
    ]


def list_lists_of_organizations():
    return [
        Page("list", ORG_ADMIN, ORGANIZATIONS),
        Page("list-nothing", ORG_ADMIN, f"{ORGANIZATIONS}?q=zzzz"),
        Page("list-staff", STAFF, ORGANIZATIONS),
        Page("list-viewer", VIEWER, ORGANIZATIONS),
    ]


def list_organization_pages(records):
    add = f"{ORGANIZATIONS}add/"
    change = f"{ORGANIZATIONS}{records.own.pk}/change/"
    change_other = f"{ORGANIZATIONS}{records.other.pk}/change/"
    change_reviewed = f"{ORGANIZATIONS}{records.reviewed.pk}/change/"
    bad_new = Fill("Save", name=records.own.name, email="nobody")
    bad_change = Fill("Save", name="", website="no address")
    save = Press("Save and continue editing")
    return [
        Page("add", STAFF, add),
        Page("add-refused", STAFF, add, bad_new),
        Page("change", ORG_ADMIN, change),
        Page("change-refused", ORG_ADMIN, change, bad_change),
        Page("change-saved", ORG_ADMIN, change_other, save),
        Page("change-staff", STAFF, change),
        Page("view-reviewer", REVIEWS, change_reviewed),
        Page("view-viewer", VIEWER, change),
    ]


def list_history_pages(records):
    own = f"{ORGANIZATIONS}{records.own.pk}/"
    reviewed = f"{ORGANIZATIONS}{records.reviewed.pk}/"
    versions = records.own.history
    earlier = versions.order_by("history_id")[1]
    return [
        Page("history", ORG_ADMIN, f"{own}history/"),
        Page("history-reviewer", REVIEWS, f"{reviewed}history/"),
        Page("history-staff", STAFF, f"{own}history/"),
        Page("restore", STAFF, f"{own}restore/?to={earlier.pk}"),
        Page("restore-nothing", STAFF, f"{own}restore/?to={versions.latest().pk}"),
    ]


def list_people_pages(records):
    people = f"{ORGANIZATIONS}{records.own.pk}/people/"
    people_of_other = f"{ORGANIZATIONS}{records.other.pk}/people/"
    people_of_empty = f"{ORGANIZATIONS}{records.empty.pk}/people/"
    invite_nobody = Press("Invite person")
    add_nobody = Press("Add people")
    remove = Press("Remove nora@example.com")
    remove_oneself = Press(f"Remove {ORG_ADMIN}")
    demote = Press("Make nora@example.com Reviewer")
    return [
        Page("people", ORG_ADMIN, people),
        Page("people-refused", ORG_ADMIN, people, invite_nobody),
        Page("people-nobody", STAFF, people_of_empty),
        Page("people-staff", STAFF, people),
        Page("people-staff-refused", STAFF, people, add_nobody),
        Page("people-staff-search", STAFF, people, search_people),
        Page("remove", ORG_ADMIN, people, remove),
        Page("remove-oneself", ORG_ADMIN, people_of_other, remove_oneself),
        Page("demote", ORG_ADMIN, people, demote),
    ]


def list_membership_log_pages(records):
    own = f"{ORGANIZATIONS}{records.own.pk}/"
    empty = f"{ORGANIZATIONS}{records.empty.pk}/"
    return [
        Page("ledger", ORG_ADMIN, f"{own}ledger/"),
        Page("ledger-on-a-day", ORG_ADMIN, f"{own}ledger/?on=2026-09-15"),
        Page("ledger-nothing", STAFF, f"{empty}ledger/"),
        Page("access", ORG_ADMIN, f"{own}access/"),
        Page("access-staff", STAFF, f"{own}access/"),
    ]


def list_import_pages(records):
    own = records.own
    other = records.other
    address = f"{ORGANIZATIONS}import/"
    wrong_file = (
        f"id,name,email\n{own.pk},,\n999999,Nobody knows,\n,Wrong mail,nobody\n"
    )
    right_file = (
        "id,name,phone,fax,admins\n"
        f"{own.pk},{own.name},+1 555 0123,1,nora@example.com\n"
        ",Widget Works,,2,\n"
        f"{other.pk},{other.name},,3,\n"
    )
    return [
        Page("import", STAFF, address),
        Page("import-without-file", STAFF, address, Press("Preview import")),
        Page("import-problems", STAFF, address, PreviewImport(wrong_file)),
        Page("import-preview", STAFF, address, PreviewImport(right_file)),
    ]


def list_deletion_pages(records):
    own = f"{ORGANIZATIONS}{records.own.pk}/"
    return [
        Page("delete", STAFF, f"{own}delete/"),
        Page("delete-several", STAFF, ORGANIZATIONS, delete_selected),
    ]


def list_contact_pages(records):
    contact = f"{CONTACTS}{records.own.contacts.first().pk}/"
    add = f"{CONTACTS}add/"
    return [
        Page("contacts", ORG_ADMIN, CONTACTS),
        Page("contact", ORG_ADMIN, f"{contact}change/"),
        Page("contact-add", ORG_ADMIN, add),
        Page("contact-add-refused", ORG_ADMIN, add, Press("Save")),
        Page("contact-delete", ORG_ADMIN, f"{contact}delete/"),
        Page("contact-history", ORG_ADMIN, f"{contact}history/"),
        Page("contact-reviewer", REVIEWS, f"{contact}change/"),
    ]


def list_user_pages(records):
    user = f"{USERS}{records.leaver.pk}/"
    add = f"{USERS}add/"
    return [
        Page("users", STAFF, USERS),
        Page("users-manager", MANAGER, USERS),
        Page("user", STAFF, f"{user}change/"),
        Page("user-manager", MANAGER, f"{user}change/"),
        Page("user-add", STAFF, add),
        Page("user-add-refused", STAFF, add, Press("Save")),
        Page("user-access", STAFF, f"{USERS}{records.admin.pk}/access/"),
        Page("user-leave", STAFF, f"{user}leave/"),
        Page("user-password", STAFF, f"{user}password/"),
        Page("user-history", STAFF, f"{user}history/"),
        Page("user-delete", STAFF, f"{user}delete/"),
    ]


def list_group_pages(records):
    group_of_own = f"{GROUPS}{records.own.admin_id}/change/"
    return [
        Page("groups", STAFF, GROUPS),
        Page("group-of-an-organization", STAFF, group_of_own),
        Page("group", STAFF, f"{GROUPS}{records.group.pk}/change/"),
        Page("group-add", STAFF, f"{GROUPS}add/"),
    ]


def list_last_pages():
    change_password = f"{SITE}password_change/"
    refused = Fill(
        "Change my password",
        old_password="wrong",
        new_password1="a",
        new_password2="b",
    )
    return [
        Page("ledger-of-all", STAFF, f"{APP}membershipevent/"),
        Page("password", ORG_ADMIN, change_password),
        Page("password-refused", ORG_ADMIN, change_password, refused),
        Page("password-changed", ORG_ADMIN, f"{change_password}done/"),
        Page("signed-out", ORG_ADMIN, SITE, Press("Sign out")),
    ]

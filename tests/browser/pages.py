"""Every page of the site as somebody meets it, over the demo, at a time that stands still."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import NamedTuple
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

from orgadmin.models import Organization, User
from orgadmin.people.invitations import invite
from orgadmin.people.mail import INVITATION_SALT
from tests.urls import urlpatterns as site_patterns

from ..factories import ADMIN, REVIEWER, create_user, set_role

FACTOR = {"SECOND_FACTOR": "optional"}
COMPANY = {"OIDC_SERVER": "https://id.example.com", "OIDC_NAME": "Example ID"}
SEED = "an example of 20 by."
PASSWORD = make_password("secret", "fixedsalt")  # a user's page shows a part of it
START = datetime(2026, 9, 7, 9, 30, tzinfo=UTC)
NOBODY, ORG_ADMIN, REVIEWS, VIEWER, MANAGER, STAFF = (
    "",
    "demo-admin",
    "demo-reviewer",
    "viewer",
    "manager",
    "demo-staff",
)


class Page(NamedTuple):
    name: str
    who: str  # their username
    address: str
    act: Callable = lambda page: None  # what they do there
    settings: dict = {}  # that differ for it


class StandingClock(datetime):
    """Stands in for the clock of django.utils.timezone."""

    moment = START

    @classmethod
    def now(cls, tz=None):
        return cls.moment

    @classmethod
    def days_pass(cls, days):
        cls.moment += timedelta(days=days)


def break_down(request):
    raise ZeroDivisionError


urlpatterns = [*site_patterns, path("broken/", break_down)]


def stand_still(test):
    """Stop the clock, and add the address that breaks, for the time of a test."""
    StandingClock.moment = START
    test.enterContext(patch("django.utils.timezone.datetime", StandingClock))
    test.enterContext(
        patch(
            "allauth.mfa.totp.internal.auth.secrets.token_bytes",
            return_value=SEED.encode(),
        )
    )
    test.enterContext(override_settings(ROOT_URLCONF=__name__))


def press(name):
    """Return an act: press a button that leads to another page."""

    def act(page):
        with page.expect_navigation():
            page.get_by_role("button", name=name, exact=True).first.click()

    return act


def fill(button, **texts):
    """Return an act: write into fields, named by id, and press a button."""

    def act(page):
        for key, text in texts.items():
            page.locator(f"#id_{key}").fill(text)
        press(button)(page)

    return act


def choose_file(text):
    def act(page):
        file = {"name": "file.csv", "mimeType": "text/csv", "buffer": text.encode()}
        page.get_by_label("CSV file:").set_input_files(file)
        press("Preview import")(page)

    return act


def search_people(page):
    page.locator("#id_add-users ~ .select2 .select2-selection").click()
    page.keyboard.type("demo-")
    page.get_by_role("option", name="demo-reviewer").wait_for()


def delete_selected(page):
    for box in page.locator("#result_list tbody input[type=checkbox]").all()[:3]:
        box.check()
    page.get_by_label("Action:").select_option("delete_selected")
    press("Go")(page)


def send_an_old_form(page):
    page.context.clear_cookies()
    fill("Sign in", username="somebody", password="secret")(page)


def make_people():
    with override_settings(DEBUG=True):
        call_command("demo", verbosity=0, stdout=StringIO())
    create_user(VIEWER, is_staff=True, permissions=["view_organization"])
    create_user(
        MANAGER, is_staff=True, permissions=["view_user", "add_user", "change_user"]
    )
    manager = User.objects.get(username=MANAGER)
    secret = base64.b32encode(SEED.encode()).decode()
    for kind, data in (
        ("totp", {"secret": secret}),
        ("recovery_codes", {"seed": SEED, "used_mask": 3}),
    ):
        Authenticator.objects.create(user=manager, type=kind, data=data)
    create_user(
        "nora@example.com",
        first_name="Nora",
        last_name="Norton",
        email="nora@example.com",
    )
    create_user("otto", first_name="Otto", is_active=False)
    create_user(
        "leaver", first_name="Lea", admin_of=Organization.objects.order_by("pk")[8:10]
    )
    User.objects.update(password=PASSWORD, date_joined=START)
    User.objects.filter(username__startswith="demo").update(
        last_login=START + timedelta(days=20)
    )


def make_records(own, admin):
    """Let some time pass in which people work on an organization."""
    nora, otto, reviewer, staff = (
        User.objects.get(username=name)
        for name in ("nora@example.com", "otto", REVIEWS, STAFF)
    )
    set_role(own, [otto], REVIEWER, actor=staff)
    StandingClock.days_pass(7)
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
    own._history_user, own.phone, own.email = admin, "+1 555 0100", "office@example.com"
    own.website, own.tax_id, own.notes = (
        "https://www.example.com",
        "12-3456789",
        "Pays late.\nAsk for Kim.",
    )
    own.save()
    StandingClock.days_pass(8)
    own.phone = "+1 555 0199"
    own.save()
    set_role(own, [otto], None, actor=nora, reason="Moved on")
    set_role(own, [otto], REVIEWER, actor=staff)
    StandingClock.days_pass(5)
    invite(own, "soon@example.com", ADMIN, actor=admin)


def list_pages():
    """Fill the database, and return all pages."""
    make_people()
    admin, leaver = (
        User.objects.get(username=ORG_ADMIN),
        User.objects.get(username="leaver"),
    )
    own, other = Organization.objects.permitted(admin, "change")[:2]
    make_records(own, admin)
    reviewed = (
        Organization.objects.permitted(User.objects.get(username=REVIEWS))
        .exclude(pk=own.pk)
        .first()
    )
    contact, record = own.contacts.first(), own.history.order_by("history_id")[1]
    nora = User.objects.get(username="nora@example.com")
    reset = f"{urlsafe_base64_encode(force_bytes(nora.pk))}/{default_token_generator.make_token(nora)}/"
    to_new, to_nora = (
        invite(other, email, ADMIN, actor=admin)
        for email in ("new@example.com", nora.email)
    )
    invited, known = (
        f"/admin/invitation/{signing.dumps(row.pk, salt=INVITATION_SALT)}/"
        for row in (to_new, to_nora)
    )
    free = Group.objects.create(name="Free group")
    site, app, factor = "/admin/", "/admin/orgadmin/", "/admin/second-factor/"
    organizations, contacts, users = (
        f"{app}organization/",
        f"{app}contact/",
        f"{app}user/",
    )
    organization, user = f"{organizations}{own.pk}/", f"{users}{leaver.pk}/"
    wrong = f"id,name,email\n{own.pk},,\n999999,Nobody knows,\n,Wrong mail,nobody\n"
    right = (
        f"id,name,phone,fax,admins\n{own.pk},{own.name},+1 555 0123,1,nora@example.com\n,Widget Works,,2,leaver@x.org\n"
        f"{other.pk},{other.name},,3,\n"
    ).replace(",leaver@x.org", ",")
    passwords = {"old_password": "wrong", "new_password1": "a", "new_password2": "b"}
    return [
        Page("sign-in", NOBODY, site),
        Page(
            "sign-in-refused",
            NOBODY,
            site,
            fill("Sign in", username="somebody", password="wrong"),
        ),
        Page("sign-in-company", NOBODY, site, settings=COMPANY),
        Page(
            "sign-in-code",
            NOBODY,
            site,
            fill("Sign in", username=MANAGER, password="secret"),
            FACTOR,
        ),
        Page("second-factor", MANAGER, factor, settings=FACTOR),
        Page("second-factor-none", ORG_ADMIN, factor, settings=FACTOR),
        Page(
            "second-factor-app", ORG_ADMIN, f"{factor}totp/activate/", settings=FACTOR
        ),
        Page(
            "second-factor-app-refused",
            ORG_ADMIN,
            f"{factor}totp/activate/",
            fill("Set up app", code="000000"),
            FACTOR,
        ),
        Page(
            "second-factor-app-required",
            STAFF,
            site,
            settings={"SECOND_FACTOR": "staff"},
        ),
        Page(
            "second-factor-remove",
            MANAGER,
            f"{factor}totp/deactivate/",
            settings=FACTOR,
        ),
        Page(
            "second-factor-codes", MANAGER, f"{factor}recovery-codes/", settings=FACTOR
        ),
        Page(
            "second-factor-codes-new",
            MANAGER,
            f"{factor}recovery-codes/generate/",
            settings=FACTOR,
        ),
        Page("forgotten", NOBODY, f"{site}password_reset/"),
        Page("forgotten-sent", NOBODY, f"{site}password_reset/done/"),
        Page("new-password", NOBODY, f"{site}reset/{reset}"),
        Page("new-password-dead", NOBODY, f"{site}reset/x/y/"),
        Page("new-password-done", NOBODY, f"{site}reset/done/"),
        Page("invitation", NOBODY, invited),
        Page(
            "invitation-refused",
            NOBODY,
            invited,
            fill("Accept invitation", new_password1="a", new_password2="b"),
        ),
        Page("invitation-known", NOBODY, known),
        Page("invitation-dead", NOBODY, f"{site}invitation/dead/"),
        Page("error-400", ORG_ADMIN, f"{organizations}?name__regex=x"),
        Page("error-403", ORG_ADMIN, f"{organizations}import/"),
        Page("error-403-form", NOBODY, site, send_an_old_form),
        Page("error-404", ORG_ADMIN, f"{site}nothing/"),
        Page("error-500", NOBODY, "/broken/"),
        Page("front-org-admin", ORG_ADMIN, site),
        Page("front-not-there", ORG_ADMIN, f"{organizations}999999/change/"),
        Page("front-reviewer", REVIEWS, site),
        Page("front-viewer", VIEWER, site),
        Page("front-manager", MANAGER, site),
        Page("front-staff", STAFF, site),
        Page("front-staff-found", STAFF, f"{site}?q=a"),
        Page("front-staff-nothing", STAFF, f"{site}?q=zzzz"),
        Page("all-lists", ORG_ADMIN, app),
        Page("list", ORG_ADMIN, organizations),
        Page("list-nothing", ORG_ADMIN, f"{organizations}?q=zzzz"),
        Page("list-staff", STAFF, organizations),
        Page("list-viewer", VIEWER, organizations),
        Page("add", STAFF, f"{organizations}add/"),
        Page(
            "add-refused",
            STAFF,
            f"{organizations}add/",
            fill("Save", name=own.name, email="nobody"),
        ),
        Page("change", ORG_ADMIN, f"{organization}change/"),
        Page(
            "change-refused",
            ORG_ADMIN,
            f"{organization}change/",
            fill("Save", name="", website="no address"),
        ),
        Page(
            "change-saved",
            ORG_ADMIN,
            f"{organizations}{other.pk}/change/",
            press("Save and continue editing"),
        ),
        Page("change-staff", STAFF, f"{organization}change/"),
        Page("view-reviewer", REVIEWS, f"{organizations}{reviewed.pk}/change/"),
        Page("view-viewer", VIEWER, f"{organization}change/"),
        Page("history", ORG_ADMIN, f"{organization}history/"),
        Page("history-reviewer", REVIEWS, f"{organizations}{reviewed.pk}/history/"),
        Page("history-staff", STAFF, f"{organization}history/"),
        Page("restore", STAFF, f"{organization}restore/?to={record.pk}"),
        Page(
            "restore-nothing",
            STAFF,
            f"{organization}restore/?to={own.history.latest().pk}",
        ),
        Page("people", ORG_ADMIN, f"{organization}people/"),
        Page(
            "people-refused",
            ORG_ADMIN,
            f"{organization}people/",
            press("Invite person"),
        ),
        Page(
            "people-nobody",
            STAFF,
            f"{organizations}{Organization.objects.last().pk}/people/",
        ),
        Page("people-staff", STAFF, f"{organization}people/"),
        Page(
            "people-staff-refused", STAFF, f"{organization}people/", press("Add people")
        ),
        Page("people-staff-search", STAFF, f"{organization}people/", search_people),
        Page(
            "remove",
            ORG_ADMIN,
            f"{organization}people/",
            press("Remove nora@example.com"),
        ),
        Page(
            "remove-oneself",
            ORG_ADMIN,
            f"{organizations}{other.pk}/people/",
            press(f"Remove {ORG_ADMIN}"),
        ),
        Page(
            "demote",
            ORG_ADMIN,
            f"{organization}people/",
            press("Make nora@example.com Reviewer"),
        ),
        Page("ledger", ORG_ADMIN, f"{organization}ledger/"),
        Page("ledger-on-a-day", ORG_ADMIN, f"{organization}ledger/?on=2026-09-15"),
        Page(
            "ledger-nothing",
            STAFF,
            f"{organizations}{Organization.objects.last().pk}/ledger/",
        ),
        Page("access", ORG_ADMIN, f"{organization}access/"),
        Page("access-staff", STAFF, f"{organization}access/"),
        Page("import", STAFF, f"{organizations}import/"),
        Page(
            "import-without-file",
            STAFF,
            f"{organizations}import/",
            press("Preview import"),
        ),
        Page("import-problems", STAFF, f"{organizations}import/", choose_file(wrong)),
        Page("import-preview", STAFF, f"{organizations}import/", choose_file(right)),
        Page("delete", STAFF, f"{organization}delete/"),
        Page("delete-several", STAFF, organizations, delete_selected),
        Page("contacts", ORG_ADMIN, contacts),
        Page("contact", ORG_ADMIN, f"{contacts}{contact.pk}/change/"),
        Page("contact-add", ORG_ADMIN, f"{contacts}add/"),
        Page("contact-add-refused", ORG_ADMIN, f"{contacts}add/", press("Save")),
        Page("contact-delete", ORG_ADMIN, f"{contacts}{contact.pk}/delete/"),
        Page("contact-history", ORG_ADMIN, f"{contacts}{contact.pk}/history/"),
        Page("contact-reviewer", REVIEWS, f"{contacts}{contact.pk}/change/"),
        Page("users", STAFF, users),
        Page("users-manager", MANAGER, users),
        Page("user", STAFF, f"{user}change/"),
        Page("user-manager", MANAGER, f"{user}change/"),
        Page("user-add", STAFF, f"{users}add/"),
        Page("user-add-refused", STAFF, f"{users}add/", press("Save")),
        Page("user-access", STAFF, f"{users}{admin.pk}/access/"),
        Page("user-leave", STAFF, f"{user}leave/"),
        Page("user-password", STAFF, f"{user}password/"),
        Page("user-history", STAFF, f"{user}history/"),
        Page("user-delete", STAFF, f"{user}delete/"),
        Page("groups", STAFF, "/admin/auth/group/"),
        Page(
            "group-of-an-organization",
            STAFF,
            f"/admin/auth/group/{own.admin_id}/change/",
        ),
        Page("group", STAFF, f"/admin/auth/group/{free.pk}/change/"),
        Page("group-add", STAFF, "/admin/auth/group/add/"),
        Page("ledger-of-all", STAFF, f"{app}membershipevent/"),
        Page("password", ORG_ADMIN, f"{site}password_change/"),
        Page(
            "password-refused",
            ORG_ADMIN,
            f"{site}password_change/",
            fill("Change my password", **passwords),
        ),
        Page("password-changed", ORG_ADMIN, f"{site}password_change/done/"),
        Page("signed-out", ORG_ADMIN, site, press("Sign out")),
    ]

"""Every page of the site, as people meet it, with the demo data and a stopped clock.

The names of the pages are also those of the pictures that `make pictures` takes.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import patch

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group
from django.test import override_settings
from django.urls import path

from config.providers import OpenIDProvider
from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.accounts import confirm_email
from orgadmin.accounts.tokens import make_new_email_token, make_reset_path
from orgadmin.management.demo import (
    ACCOUNTS,
    create_accounts,
    load_organizations,
)
from orgadmin.models import (
    AuditEvent,
    BulkJob,
    Contact,
    Import,
    ImportPart,
    Organization,
    ReviewAnswer,
    ReviewScope,
    User,
)
from orgadmin.people import archive, lock_out
from orgadmin.people.access_requests import ask, make_link
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.invitations import invite
from orgadmin.people.link_tokens import make_link_token
from orgadmin.people.membership import change_roles
from orgadmin.people.review_decisions import Decision, decide
from orgadmin.people.review_items import prepare
from orgadmin.people.review_schedule import run_reviews
from orgadmin.people.reviews import start_review
from tests.browser import ACCOUNT_BUTTON
from tests.clocks import database_time, replace_sqlite_clock
from tests.factories import ADMIN, REVIEWER, create_user, id_cells, set_role
from tests.urls import urlpatterns as site_patterns

WITH_SECOND_FACTOR = {"SECOND_FACTOR": "optional"}
# Browsers allow passkeys on this address, but not on an IP address.
WITH_PASSKEYS = {**WITH_SECOND_FACTOR, "BASE_URL": "http://localhost:8000"}
COMPANY_SERVER = "https://id.example.com"
WITH_COMPANY_SERVER = {
    "OIDC_PROVIDERS": [
        OpenIDProvider("company", "Example ID", COMPANY_SERVER, "orgadmin", "hush")
    ],
}
SEED = "an example of 20 by."
PASSWORD = make_password("secret", "fixedsalt")  # a user's page shows a part of it
START = datetime(2026, 9, 7, 9, 30, tzinfo=UTC)

NOBODY = ""
ORG_ADMIN = "demo-admin"
REVIEWS = "demo-reviewer"
VIEWER = "viewer"
MANAGER = "manager"
STAFF = "demo-staff"
WATCHER = "watcher"  # views the site as someone else

SITE = "/admin/"
APP = "/admin/orgadmin/"
ORGANIZATIONS = "/admin/orgadmin/organization/"
CONTACTS = "/admin/orgadmin/contact/"
USERS = "/admin/orgadmin/user/"
IMPORTS = "/admin/orgadmin/import/"
GROUPS = "/admin/auth/group/"
FACTOR = "/admin/second-factor/"


def do_nothing(page):
    """Leave a page as it opens."""


@dataclass
class Page:
    name: str
    who: str  # the username of the person who opens it
    address: str
    act: Callable = do_nothing  # what the person does there
    settings: dict = field(default_factory=dict)  # that differ for this page


@dataclass
class Demo:
    """The rows whose pages are shown."""

    own: Organization  # ORG_ADMIN is its admin
    other: Organization  # ORG_ADMIN is its admin, too
    reviewed: Organization  # REVIEWS is its reviewer
    empty: Organization  # without people
    archived: Organization
    admin: User  # ORG_ADMIN
    leaver: User
    nora: User
    group: Group  # of no organization

    @property
    def organization(self):
        return f"{ORGANIZATIONS}{self.own.pk}/"

    @property
    def contact(self) -> Contact:
        return self.own.contacts.first()


# A clock that stands still, and an address that fails


class StandingClock(datetime):
    """Stands in for the clocks of django.utils.timezone and of SQLite."""

    moment = START

    @classmethod
    def now(cls, tz=None):
        return cls.moment

    @classmethod
    def days_pass(cls, days):
        cls.moment += timedelta(days=days)


def fail(request):
    raise ZeroDivisionError


urlpatterns = [*site_patterns, path("broken/", fail)]


def stand_still(test):
    """Stop the clocks, and add the address that fails, for the time of a test.

    The server has another connection than the test: Django keeps one for the event loop
    that Playwright runs in the thread of the test.
    """
    StandingClock.moment = START
    test.enterContext(patch("django.utils.timezone.datetime", StandingClock))
    test.enterContext(database_time(START))
    for connection in test.server_thread.connections_override.values():
        replace_sqlite_clock(connection)
    test.enterContext(patch("tests.clocks.sqlite_clock", StandingClock))
    # Only for this module: the links in invitations must differ.
    random = SimpleNamespace(token_bytes=lambda length: SEED.encode())
    test.enterContext(patch("allauth.mfa.totp.internal.auth.secrets", random))
    test.enterContext(override_settings(ROOT_URLCONF=__name__))


# What people do on a page


def press(name):
    """Return an act: press a button that leads to another page."""

    def act(page):
        with page.expect_navigation():
            page.get_by_role("button", name=name, exact=True).first.click()

    return act


def make_access_link(page):
    page.locator("[name=make_link]").click()


def view_as(page):
    page.get_by_label("Reason:").fill("Ticket 4711")
    page.locator("main button.primary").click()


def sign_out(page):
    page.locator(ACCOUNT_BUTTON).click()
    press("Sign out")(page)


def fill(button, **texts):
    """Return an act: write into fields, named by id, and press a button."""

    def act(page):
        for key, text in texts.items():
            page.locator(f"#id_{key}").fill(text)
        press(button)(page)

    return act


def fill_and_choose(option, button, **texts):
    """Return an act: the same, and choose a radio button before."""

    def act(page):
        page.get_by_role("radio", name=option, exact=True).check()
        fill(button, **texts)(page)

    return act


def choose_file(text, *, sends_mail=False):
    """Return an act: choose a file with this text, and preview its import."""

    def act(page):
        if sends_mail:
            page.get_by_label("Send emails:").check()
        file = {"name": "file.csv", "mimeType": "text/csv", "buffer": text.encode()}
        page.get_by_label("Spreadsheet or CSV file:").set_input_files(file)
        press("Preview import")(page)

    return act


def follow(name):
    """Return an act: follow a link."""

    def act(page):
        with page.expect_navigation():
            page.get_by_role("link", name=name, exact=True).first.click()

    return act


def search_people(page):
    page.wait_for_load_state()
    with page.expect_response("**/people/?suggest=*"):
        page.locator("#id_add-who").press_sequentially("demo-")


def add_several(page):
    page.get_by_text("Add several").click()
    page.locator("#id_add-several").fill("nobody, new@example.com\nnothing@")
    press("Add person")(page)


def delete_selected(page):
    for box in page.locator("#result_list tbody input[type=checkbox]").all()[:3]:
        box.check()
    page.get_by_label("Action:").select_option("delete_selected")
    press("Go")(page)


def send_an_old_form(page):
    page.context.clear_cookies()
    fill("Reset my password", email="somebody@example.com")(page)


# The rows behind the pages


def make_people():
    load_organizations()
    create_accounts(
        replace(account, first_name="", last_name="", email="")
        for account in ACCOUNTS
        if account.username in (STAFF, ORG_ADMIN, REVIEWS)
    )
    viewer = create_user(VIEWER, is_staff=True, permissions=["view_organization"])
    Authenticator.objects.create(
        user=viewer,
        type="webauthn",
        data={"name": "Laptop"},
        created_at=START,
        last_used_at=START + timedelta(days=20),
    )
    create_user(
        MANAGER, is_staff=True, permissions=["view_user", "add_user", "change_user"]
    )
    set_up_second_factor(User.objects.get(username=MANAGER))
    create_user(WATCHER, is_staff=True, is_superuser=True)
    create_user(
        "nora@example.com",
        first_name="Nora",
        last_name="Norton",
        email="nora@example.com",
    )
    create_user("otto", first_name="Otto", is_active=False)
    leaver = create_user(
        "leaver", first_name="Lea", admin_of=Organization.objects.order_by("pk")[8:10]
    )
    SocialAccount.objects.create(
        user=leaver,
        provider="company",
        uid="1",
        extra_data={"server": COMPANY_SERVER},
    )
    SocialAccount.objects.create(
        user=User.objects.get(username=ORG_ADMIN),
        provider="company",
        uid="2",
        extra_data={"server": COMPANY_SERVER},
    )
    SocialAccount.objects.update(
        date_joined=START - timedelta(days=1), last_login=START + timedelta(days=20)
    )
    refused = {"provider": "company", "reason": "other subject", "subject": "c0ffee00"}
    record(SecurityEvent.PROVIDER_REFUSED, user=leaver, details=refused)
    User.objects.update(password=PASSWORD, date_joined=START)
    User.objects.filter(username__startswith="demo").update(
        last_login=START + timedelta(days=20)
    )


def set_up_second_factor(user):
    """Give a user an authenticator app, and recovery codes of which two are used."""
    secret = base64.b32encode(SEED.encode()).decode()
    Authenticator.objects.create(user=user, type="totp", data={"secret": secret})
    Authenticator.objects.create(
        user=user, type="recovery_codes", data={"seed": SEED, "used_mask": 3}
    )


def make_history(own, admin):
    """Create changes by several people to an organization, over some time."""
    nora = User.objects.get(username="nora@example.com")
    otto = User.objects.get(username="otto")
    reviewer = User.objects.get(username=REVIEWS)
    staff = User.objects.get(username=STAFF)
    set_role(own, [otto], REVIEWER, actor=staff)
    StandingClock.days_pass(7)
    set_role(own, [nora], ADMIN, actor=admin, reason="Looks after the phone book")
    end = MembershipEnd(datetime(2031, 1, 1, tzinfo=UTC))
    change_roles([RoleChange(reviewer, own, REVIEWER, end=end)], actor=admin)
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
    StandingClock.days_pass(8)
    own.phone = "+1 555 0199"
    own.save()
    set_role(own, [otto], None, actor=nora, reason="Moved on")
    set_role(own, [otto], REVIEWER, actor=staff)
    StandingClock.days_pass(5)
    invite(own, "soon@example.com", ADMIN, actor=admin)
    leaver = User.objects.get(username="leaver")
    ask(make_link(own, actor=admin), leaver, REVIEWER, "I look after its phones now.")
    own.access_link.delete()


def archive_one(reviewer):
    """Archive an organization with a member, and return it."""
    archived = Organization.objects.create(name="Old Mill Ltd", address="Mill Lane 1")
    set_role(archived, [reviewer], ADMIN)
    archive.archive([archived.pk], actor=User.objects.get(username=STAFF))
    return archived


def make_demo():
    make_people()
    admin = User.objects.get(username=ORG_ADMIN)
    own, other = Organization.objects.permitted(admin, "change")[:2]
    make_history(own, admin)
    reviewer = User.objects.get(username=REVIEWS)
    reviewed = Organization.objects.permitted(reviewer).exclude(pk=own.pk).first()
    return Demo(
        own=own,
        other=other,
        reviewed=reviewed,
        empty=Organization.objects.last(),
        archived=archive_one(reviewer),
        admin=admin,
        leaver=User.objects.get(username="leaver"),
        nora=User.objects.get(username="nora@example.com"),
        group=Group.objects.create(name="Free group"),
    )


def make_reviews(demo):
    """Start a review of one organization some days ago, and one of all of them now.

    Returns both reviews.
    """
    staff = User.objects.get(username=STAFF)
    now = StandingClock.moment
    StandingClock.moment = START + timedelta(days=16)
    own = Organization.objects.filter(pk=demo.own.pk)
    due_on = StandingClock.moment.date() + timedelta(days=2)
    values = {"organizations": own, "scope_text": demo.own.name, "actor": staff}
    earlier = start_review(ReviewScope.ONE, due_on=due_on, **values)
    prepare(earlier.pk)
    section = earlier.sections.get(organization_key=demo.own.pk)
    for item in section.items.exclude(user_key=demo.admin.pk).exclude(role="reviewer"):
        decision = Decision(item.pk, ReviewAnswer.CONFIRMED)
        decide(section, [decision], actor=demo.admin)
    StandingClock.moment = now - timedelta(days=1)
    run_reviews()
    StandingClock.moment = now
    due_on = now.date() + timedelta(days=30)
    current = start_review(ReviewScope.ALL, due_on=due_on, actor=staff)
    prepare(current.pk)
    run_reviews()
    return earlier, current


def invitation_link(demo, email):
    """Invite someone to an organization, and return the link that they are sent."""
    invitation = invite(demo.other, email, ADMIN, actor=demo.admin)
    return f"{SITE}invitation/{invitation.make_token()}/"


def access_link(demo):
    """Return a link with which people ask an organization for a role."""
    return f"{SITE}request-access/{make_link(demo.other, actor=demo.admin)}/"


def confirmation_link(user):
    """Return the link with which a user confirms their email address."""
    token = make_link_token(user, confirm_email.PURPOSE)
    return f"{SITE}confirm-email/{token}/"


def lock_out_link(user):
    """Return the link that a user gets after too many failed attempts."""
    details = {"kind": "sign-in"}
    event = AuditEvent(event="locked out", user_key=user.pk, details=details, pk=1)
    return lock_out.make_link_path(event, user, user.email)


def new_email_link(user):
    """Return the link with which a user changes their email address."""
    token = make_new_email_token(user, "new@example.com")
    return f"{SITE}new-email/{token}/"


def password_link(user):
    """Return the link with which a user chooses a new password."""
    return make_reset_path(user)


# The pages


def list_pages():
    """Fill the database, and return all pages."""
    demo = make_demo()
    return [
        *list_sign_in_pages(),
        *list_second_factor_pages(),
        *list_passkey_pages(),
        *list_link_pages(demo),
        *list_error_pages(),
        *list_home_pages(),
        *list_organization_lists(),
        *list_organization_forms(demo),
        *list_history_pages(demo),
        *list_people_pages(demo),
        *list_review_pages(demo),
        *list_membership_pages(demo),
        *list_import_pages(demo),
        *list_deletion_pages(demo),
        *list_contact_pages(demo),
        *list_user_pages(demo),
        *list_group_pages(demo),
        *list_account_pages(),
    ]


def list_sign_in_pages():
    wrong_password = fill("Sign in", username="somebody", password="wrong")
    right_password = fill("Sign in", username=MANAGER, password="secret")
    return [
        Page("sign-in", NOBODY, SITE),
        Page("sign-in-refused", NOBODY, SITE, wrong_password),
        Page("sign-in-company", NOBODY, SITE, settings=WITH_COMPANY_SERVER),
        Page("sign-in-code", NOBODY, SITE, right_password, WITH_SECOND_FACTOR),
    ]


def list_review_pages(demo):
    earlier, current = make_reviews(demo)
    page = f"{demo.organization}review/"
    reviews = f"{APP}accessreview/"
    own = current.sections.get(organization_key=demo.own.pk)
    items = own.items.exclude(user_key=demo.admin.pk)
    item = items.filter(role="reviewer").first()
    return [
        Page("review", ORG_ADMIN, page),
        Page("review-end", ORG_ADMIN, f"{page}?end={item.pk}"),
        Page("review-change", ORG_ADMIN, f"{page}?change={item.pk}"),
        Page("review-completed", ORG_ADMIN, f"{page}?review={earlier.pk}"),
        Page("reviews", STAFF, reviews),
        Page("review-start", STAFF, f"{reviews}add/"),
        Page("review-progress", STAFF, f"{reviews}{current.pk}/overview/"),
        Page("review-close", STAFF, f"{reviews}{current.pk}/close/"),
        Page("review-other-access", STAFF, f"{reviews}{current.pk}/other_access/"),
        Page("review-evidence", STAFF, f"{reviews}{earlier.pk}/evidence/"),
        Page("review-rhythms", STAFF, f"{APP}reviewrhythm/"),
        Page("review-rhythm-add", STAFF, f"{APP}reviewrhythm/add/"),
    ]


def list_second_factor_pages():
    set_up = f"{FACTOR}totp/activate/"
    remove = f"{FACTOR}totp/deactivate/"
    codes = f"{FACTOR}recovery-codes/"
    new_codes = f"{codes}generate/"
    wrong_code = fill("Set up app", code="000000")
    optional = WITH_SECOND_FACTOR
    required = {"SECOND_FACTOR": "staff"}
    return [
        Page("second-factor", MANAGER, FACTOR, settings=optional),
        Page("second-factor-none", ORG_ADMIN, FACTOR, settings=optional),
        Page("second-factor-link", ORG_ADMIN, f"{FACTOR}set-up/", settings=optional),
        Page("second-factor-app", ORG_ADMIN, set_up, settings=optional),
        Page("second-factor-app-refused", ORG_ADMIN, set_up, wrong_code, optional),
        Page("second-factor-app-required", STAFF, SITE, settings=required),
        Page("second-factor-remove", MANAGER, remove, settings=optional),
        Page("second-factor-codes", MANAGER, codes, settings=optional),
        Page("second-factor-codes-new", MANAGER, new_codes, settings=optional),
    ]


def list_passkey_pages():
    passkey = Authenticator.objects.get(type="webauthn")
    right_password = fill("Sign in", username=VIEWER, password="secret")
    own = f"{FACTOR}passkeys/{passkey.pk}/"
    return [
        Page("sign-in-passkey", NOBODY, SITE, settings=WITH_PASSKEYS),
        Page("sign-in-passkey-second", NOBODY, SITE, right_password, WITH_PASSKEYS),
        Page("passkeys", VIEWER, FACTOR, settings=WITH_PASSKEYS),
        Page("passkeys-none", ORG_ADMIN, FACTOR, settings=WITH_PASSKEYS),
        Page("passkey-add", VIEWER, f"{FACTOR}passkeys/add/", settings=WITH_PASSKEYS),
        Page("passkey-rename", VIEWER, f"{own}rename/", settings=WITH_PASSKEYS),
        Page("passkey-remove", VIEWER, f"{own}remove/", settings=WITH_PASSKEYS),
    ]


def list_link_pages(demo):
    """Return the pages to which emails lead."""
    new_person = invitation_link(demo, "new@example.com")
    known_person = invitation_link(demo, demo.nora.email)
    weak_password = fill("Accept invitation", new_password1="a", new_password2="b")
    return [
        Page("forgotten", NOBODY, f"{SITE}password_reset/"),
        Page("forgotten-sent", NOBODY, f"{SITE}password_reset/done/"),
        Page("new-password", NOBODY, password_link(demo.nora)),
        Page("new-password-dead", NOBODY, f"{SITE}reset/x/y/"),
        Page("new-password-done", NOBODY, f"{SITE}reset/done/"),
        Page("lock-out-link", NOBODY, lock_out_link(demo.admin)),
        Page("lock-out-dead", NOBODY, f"{SITE}lock-out/dead/"),
        Page("invitation", NOBODY, new_person),
        Page("invitation-refused", NOBODY, new_person, weak_password),
        Page("invitation-known", NOBODY, known_person),
        Page("invitation-other", ORG_ADMIN, known_person),
        Page("invitation-dead", NOBODY, f"{SITE}invitation/dead/"),
        Page("confirm-email", ORG_ADMIN, f"{SITE}confirm-email/"),
        Page("confirm-email-link", ORG_ADMIN, confirmation_link(demo.admin)),
        Page("confirm-email-dead", ORG_ADMIN, f"{SITE}confirm-email/dead/"),
        Page("new-email-link", ORG_ADMIN, new_email_link(demo.admin)),
        Page("new-email-dead", ORG_ADMIN, f"{SITE}new-email/dead/"),
    ]


def list_error_pages():
    return [
        Page("error-400", ORG_ADMIN, f"{ORGANIZATIONS}?name__regex=x"),
        Page("error-403", ORG_ADMIN, f"{ORGANIZATIONS}import/"),
        Page("error-403-form", NOBODY, f"{SITE}password_reset/", send_an_old_form),
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
        Page("search-staff", STAFF, f"{SITE}search/?q=vogel"),
        Page("search-staff-nothing", STAFF, f"{SITE}search/?q=zzzz"),
        Page("search-staff-empty", STAFF, f"{SITE}search/"),
        Page("search-org-admin", ORG_ADMIN, f"{SITE}search/?q=a"),
        Page("doctor-run", STAFF, f"{SITE}doctor/"),
    ]


def list_organization_lists():
    return [
        Page("all-lists", ORG_ADMIN, APP),
        Page("list", ORG_ADMIN, ORGANIZATIONS),
        Page("list-nothing", ORG_ADMIN, f"{ORGANIZATIONS}?q=zzzz"),
        Page("list-staff", STAFF, ORGANIZATIONS),
        Page("list-viewer", VIEWER, ORGANIZATIONS),
    ]


def list_organization_forms(demo):
    add = f"{ORGANIZATIONS}add/"
    change = f"{demo.organization}change/"
    change_other = f"{ORGANIZATIONS}{demo.other.pk}/change/"
    reviewed = f"{ORGANIZATIONS}{demo.reviewed.pk}/"
    view = f"{reviewed}change/"
    add_wrongly = fill("Save", name=demo.own.name, email="nobody")
    change_wrongly = fill("Save", name="", website="no address")
    save = press("Save and continue editing")
    return [
        Page("add", STAFF, add),
        Page("add-refused", STAFF, add, add_wrongly),
        Page("change", ORG_ADMIN, change),
        Page("change-refused", ORG_ADMIN, change, change_wrongly),
        Page("change-saved", ORG_ADMIN, change_other, save),
        Page("change-staff", STAFF, change),
        Page("overview", ORG_ADMIN, f"{demo.organization}overview/"),
        Page("overview-bare", STAFF, f"{ORGANIZATIONS}{demo.empty.pk}/overview/"),
        Page("overview-reviewer", REVIEWS, f"{reviewed}overview/"),
        Page("overview-staff", STAFF, f"{demo.organization}overview/"),
        Page("overview-viewer", VIEWER, f"{demo.organization}overview/"),
        Page("page-refused", REVIEWS, f"{reviewed}people/"),
        Page("view-reviewer", REVIEWS, view),
        Page("view-viewer", VIEWER, change),
    ]


def list_history_pages(demo):
    history = f"{demo.organization}history/"
    reviewed_history = f"{ORGANIZATIONS}{demo.reviewed.pk}/history/"
    earlier = demo.own.history.order_by("history_id")[1]
    current = demo.own.history.latest()
    restore = f"{demo.organization}restore/?to="
    return [
        Page("history", ORG_ADMIN, history),
        Page("history-reviewer", REVIEWS, reviewed_history),
        Page("history-staff", STAFF, history),
        Page("restore", STAFF, f"{restore}{earlier.pk}"),
        Page("restore-admin", ORG_ADMIN, f"{restore}{earlier.pk}"),
        Page("restore-nothing", STAFF, f"{restore}{current.pk}"),
    ]


def list_people_pages(demo):
    people = f"{demo.organization}people/"
    people_of_other = f"{ORGANIZATIONS}{demo.other.pk}/people/"
    requests = f"{demo.organization}requests/"
    asked = demo.own.access_requests.get()
    nobody = f"{ORGANIZATIONS}{demo.empty.pk}/people/"
    remove_nora = follow("Remove Nora Norton")
    remove_oneself = follow(f"Remove {ORG_ADMIN}")
    change_nora = follow("Change role of Nora Norton")
    revoke = follow("Revoke the invitation for soon@example.com")
    return [
        Page("people", ORG_ADMIN, people),
        Page("people-refused", ORG_ADMIN, people, press("Add person")),
        Page("people-end", ORG_ADMIN, f"{people}?end={demo.nora.pk}"),
        Page("people-several", ORG_ADMIN, people, add_several),
        Page("people-nobody", STAFF, nobody),
        Page("people-last-admin", ORG_ADMIN, people_of_other),
        Page("people-staff", STAFF, people),
        Page("people-staff-refused", STAFF, people, press("Add person")),
        Page("people-staff-search", STAFF, people, search_people),
        Page("remove", ORG_ADMIN, people, remove_nora),
        Page("remove-oneself", ORG_ADMIN, people, remove_oneself),
        Page("change-role", ORG_ADMIN, people, change_nora),
        Page("revoke", ORG_ADMIN, people, revoke),
        Page("requests", ORG_ADMIN, requests),
        Page("requests-link", ORG_ADMIN, requests, make_access_link),
        Page("request-answer", ORG_ADMIN, f"{requests}?request={asked.pk}"),
        Page("request-access", VIEWER, access_link(demo)),
        Page("request-access-dead", VIEWER, f"{SITE}request-access/nothing/"),
    ]


def list_membership_pages(demo):
    log = f"{demo.organization}ledger/"
    empty_log = f"{ORGANIZATIONS}{demo.empty.pk}/ledger/"
    access = f"{demo.organization}access/"
    return [
        Page("ledger", ORG_ADMIN, log),
        Page("ledger-on-a-day", ORG_ADMIN, f"{log}?on=2026-09-15"),
        Page("ledger-nothing", STAFF, empty_log),
        Page("access", ORG_ADMIN, access),
        Page("access-staff", STAFF, access),
    ]


def list_import_pages(demo):
    own = demo.own
    other = demo.other
    address = f"{ORGANIZATIONS}import/"
    done = create_import(demo, Import.State.DONE)
    running = create_import(demo, Import.State.WORKING)
    people_done = create_people_import(demo)
    file_with_problems = (
        f"id,id_key,name,email\n{id_cells(own.pk)},Acme,x\n"
        f"{id_cells(999_999)},Nobody knows,\n,,Wrong mail,nobody\n"
    )
    file_without_problems = (
        "id,id_key,name,phone,fax,admins\n"
        f"{id_cells(own.pk)},{own.name},+1 555 0123,1,nora@example.com\n"
        ",,Widget Works,,2,\n"
        f"{id_cells(other.pk)},{other.name},,3,\n"
    )
    people_address = f"{USERS}import/"
    people = "email,organization_id,organization_id_key,role,until\n"
    people += f"nora@example.com,{id_cells(own.pk)},admin,2027-12-31\n"
    people += f"nora@example.com,{id_cells(other.pk)},reviewer,\n"
    people += f"new@example.com,{id_cells(own.pk)},reviewer,2027-06-30\n"
    return [
        Page("import-people", STAFF, people_address),
        Page("import-people-problems", STAFF, people_address, choose_file(people)),
        Page(
            "import-people-preview",
            STAFF,
            people_address,
            choose_file(people, sends_mail=True),
        ),
        Page("import-people-done", STAFF, f"{IMPORTS}{people_done.pk}/overview/"),
        Page("import", STAFF, address),
        Page("import-without-file", STAFF, address, press("Preview import")),
        Page("import-problems", STAFF, address, choose_file(file_with_problems)),
        Page("import-preview", STAFF, address, choose_file(file_without_problems)),
        Page("imports", STAFF, IMPORTS),
        Page("import-done", STAFF, f"{IMPORTS}{done.pk}/overview/"),
        Page("import-running", STAFF, f"{IMPORTS}{running.pk}/overview/"),
        Page("import-undo", STAFF, f"{IMPORTS}{done.pk}/undo/"),
    ]


def create_import(demo, state):
    """Return a stored import of a file that has changed an organization."""
    own = demo.own
    stored = Import.objects.create(
        actor_key=User.objects.get(username=STAFF).pk,
        file_name="customers.xlsx",
        state=state,
        line=41_000,
        summary={"records": 100_000, "report": {"changed": 1, "rows": 1}},
        created_at=START,
        finished_at=START if state == Import.State.DONE else None,
    )
    change = {
        "line": 2,
        "organization": own.pk,
        "is_new": False,
        "before": {"phone": "+1 555 0100"},
        "after": {"phone": own.phone},
        "roles": [],
        "invitations": [],
    }
    content = ImportPart.pack([change])
    stored.parts.create(kind="changes", number=0, content=content)
    return stored


def create_people_import(demo):
    """Return a stored import that has given roles, and invited someone."""
    stored = Import.objects.create(
        actor_key=User.objects.get(username=STAFF).pk,
        subject=Import.Subject.PEOPLE,
        file_name="people.xlsx",
        state=Import.State.DONE,
        summary={
            "records": 3,
            "format": {"sheet": "People"},
            "report": {"people": 2, "invited": 1, "rows": 3},
        },
        created_at=START,
        finished_at=START,
    )
    change = {
        "is_new": False,
        "before": {},
        "after": {},
        "roles": [],
        "invitations": [],
    }
    own = {**change, "organization": demo.own.pk}
    other = {**change, "organization": demo.other.pk}
    nora = {"user": demo.nora.pk, "role": ADMIN.key, "end": None}
    leaver = {"user": demo.leaver.pk, "role": REVIEWER.key, "end": None}
    invitation = demo.own.invitations.get(email="late@example.com")
    content = ImportPart.pack(
        [
            {**own, "line": 2, "roles": [nora]},
            {**other, "line": 3, "roles": [leaver]},
            {**own, "line": 4, "invitations": [invitation.pk]},
        ]
    )
    stored.parts.create(kind="changes", number=0, content=content)
    return stored


def list_deletion_pages(demo):
    archived = f"{ORGANIZATIONS}archived/"
    return [
        Page("delete", STAFF, f"{demo.organization}delete/"),
        Page("delete-several", STAFF, ORGANIZATIONS, delete_selected),
        Page("archived", STAFF, archived),
        Page("archived-record", STAFF, f"{archived}{demo.archived.pk}/"),
        Page("archived-restore", STAFF, f"{archived}{demo.archived.pk}/restore/"),
        Page("archived-trash", STAFF, f"{archived}{demo.archived.pk}/trash/"),
        Page("archived-purge", STAFF, f"{archived}{demo.archived.pk}/purge/"),
    ]


def list_contact_pages(demo):
    contact = f"{CONTACTS}{demo.contact.pk}/"
    return [
        Page("contacts", ORG_ADMIN, CONTACTS),
        Page("contacts-organization", ORG_ADMIN, f"{demo.organization}contacts/"),
        Page("contact", ORG_ADMIN, f"{contact}change/"),
        Page("contact-add", ORG_ADMIN, f"{CONTACTS}add/"),
        Page("contact-add-refused", ORG_ADMIN, f"{CONTACTS}add/", press("Save")),
        Page("contact-delete", ORG_ADMIN, f"{contact}delete/"),
        Page("contact-history", ORG_ADMIN, f"{contact}history/"),
        Page("contact-reviewer", REVIEWS, f"{contact}change/"),
    ]


def list_user_pages(demo):
    user = f"{USERS}{demo.leaver.pk}/"
    return [
        Page("users", STAFF, USERS),
        Page("users-manager", MANAGER, USERS),
        Page("user", STAFF, f"{user}overview/"),
        Page("user-manager", MANAGER, f"{user}overview/"),
        Page("user-change", STAFF, f"{user}change/"),
        Page("user-change-manager", MANAGER, f"{user}change/"),
        Page("user-add", STAFF, f"{USERS}add/"),
        Page("user-add-refused", STAFF, f"{USERS}add/", press("Save")),
        Page("user-organizations", STAFF, f"{USERS}{demo.admin.pk}/organizations/"),
        Page("user-access", STAFF, f"{user}access/", settings=WITH_COMPANY_SERVER),
        Page("user-activity", STAFF, f"{user}activity/"),
        Page("user-second-factor", STAFF, f"{user}second_factor/"),
        Page("user-sign-out", STAFF, f"{user}sign_out/"),
        Page("user-company", STAFF, f"{user}company/", settings=WITH_COMPANY_SERVER),
        Page("user-no-company", STAFF, f"{USERS}{demo.admin.pk}/company/"),
        Page("user-leave", STAFF, f"{user}leave/"),
        *list_bulk_pages(demo),
        Page("user-password", STAFF, f"{user}password/"),
        Page("user-export", STAFF, f"{user}export/"),
        Page("user-erase", STAFF, f"{user}erase/"),
        Page("user-history", STAFF, f"{user}history/"),
        Page("user-delete", STAFF, f"{user}delete/"),
        Page("user-view-as", STAFF, f"{user}view_as/"),
        Page("viewed-as", WATCHER, f"{USERS}{demo.admin.pk}/view_as/", view_as),
    ]


def list_bulk_pages(demo):
    places = "\n".join(
        f"#{pk}" for pk in Organization.objects.values_list("pk", flat=True)[:30]
    )
    leaver = demo.leaver.username
    admin = demo.admin.username
    give = f"{USERS}bulk/give/"
    preview = "Show preview"
    unclear = fill(preview, who=admin, places="Nowhere\n#999999")
    several = fill(preview, who=leaver, places=places, until="2030-12-31")
    ending = fill_and_choose("All access", preview, people=f"{leaver}\n{admin}")
    replacing = fill_and_choose("End", preview, old=leaver, new=admin)
    job = BulkJob.objects.create(
        actor_key=User.objects.get(username=STAFF).pk,
        kind="give",
        state=BulkJob.State.DONE,
        number=4980,
        changed=4980,
        skipped=20,
        created_at=START,
        finished_at=START,
    )
    return [
        Page("bulk-give", STAFF, give),
        Page("bulk-give-unclear", STAFF, give, unclear),
        Page("bulk-give-preview", STAFF, give, several),
        Page("bulk-replace", STAFF, f"{USERS}bulk/replace/"),
        Page("bulk-replace-preview", STAFF, f"{USERS}bulk/replace/", replacing),
        Page("bulk-end", STAFF, f"{USERS}bulk/end/"),
        Page("bulk-end-preview", STAFF, f"{USERS}bulk/end/", ending),
        Page("bulk-job", STAFF, f"{USERS}bulk/jobs/{job.pk}/"),
    ]


def list_group_pages(demo):
    role_group = f"{GROUPS}{demo.own.admin_id}/change/"
    return [
        Page("groups", STAFF, GROUPS),
        Page("group-of-an-organization", STAFF, role_group),
        Page("group", STAFF, f"{GROUPS}{demo.group.pk}/change/"),
        Page("group-add", STAFF, f"{GROUPS}add/"),
        Page("ledger-of-all", STAFF, f"{APP}membershipevent/"),
    ]


def list_account_pages():
    password = f"{SITE}password_change/"
    wrong_passwords = fill(
        "Change my password",
        old_password="wrong",
        new_password1="a",
        new_password2="b",
    )
    account = f"{SITE}account/"
    wrong_email = fill("Change email address", **{"email-email": "nobody"})
    optional = WITH_SECOND_FACTOR
    return [
        Page("account", ORG_ADMIN, account),
        Page("account-refused", ORG_ADMIN, account, wrong_email),
        Page("account-company", ORG_ADMIN, account, settings=WITH_COMPANY_SERVER),
        Page("account-second-factor", MANAGER, account, settings=optional),
        Page("password", ORG_ADMIN, password),
        Page("password-refused", ORG_ADMIN, password, wrong_passwords),
        Page("password-changed", ORG_ADMIN, f"{password}done/"),
        Page("signed-out", ORG_ADMIN, SITE, sign_out),
    ]

"""Every URL of the admin site, requested by every kind of user.

The URLs come from the URL configuration, so new pages are included without a change
here.
"""

import io
import os
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client, SimpleTestCase, TestCase, override_settings, tag
from django.urls import URLPattern, get_resolver
from django.utils import timezone
from python_calamine import CalamineWorkbook

from orgadmin.models import (
    AccessReview,
    AuditEvent,
    Contact,
    Import,
    ImportPart,
    Membership,
    MembershipEvent,
    MonthlyCount,
    Organization,
    ReviewRhythm,
    ReviewScope,
    User,
)
from orgadmin.people import access_requests, archive
from orgadmin.people.bulk import GiveRole, carry_out, make_plan
from orgadmin.people.invitations import invite
from orgadmin.people.review_items import prepare
from orgadmin.people.reviews import start_review

from .factories import (
    ADMIN,
    NO_CONTACTS,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)

# Every text of what is hidden contains this word.
CANARY = "Canary"

# Every text of an archived organization contains this word.
VAULT = "Vault"

FOREIGN_PK = 770077
ARCHIVED_PK = FOREIGN_PK + 100
TRASHED_PK = FOREIGN_PK + 101
HIDDEN_USER_PK = 660066
MISSING_PK = 880088
STRANGER_PK = 550055

METHODS = ["get", "post", "head", "options", "put", "patch", "delete"]
if connection.vendor == "postgresql":
    # The other methods run the same queries as GET. They are tried on SQLite.
    METHODS = ["get", "post"]

# A POST with everything that an attacker could send to one of the forms. A user who has
# the permission would change something with it.
ATTACK = NO_CONTACTS | {
    "name": "Taken over",
    "username": "taken",
    "post": "yes",
    "add": "1",
    "role": "admin",
}

QUERIES_OF_LISTS = [
    "q=Canary",
    "q=Vault",
    "q=%00",
    "o=1",
    "o=-1.2.3",
    "p=1",
    "p=2",
    "all=",
    "_popup=1",
    "_facets=True",
    "e=1",
    "_to_field=id",
    "_to_field=",
    "_to_field=name",
    "organization=770077",
    "organization__id__exact=770077",
    "name__startswith=C",
    "tax_id=Canary+tax",
    "admin__name=x",
    "notes__regex=C",
    "id__in=770077",
    "organization__name__startswith=C",
    "is_staff__exact=1",
    "_changelist_filters=q%3DCanary",
    "admins=none",
    "admins=one",
    "incomplete=1",
    "invitations=pending",
    "waiting=requests",
    "waiting=review",
    "changed_since=2000-01-01",
    "created_since=2000-01-01",
    "changed_since=Canary",
    "o=-changed",
    "role=admin",
    "status=cannot-sign-in",
    "status=never",
]
QUERIES_OF_FORMS = [
    "admin=1",
    "organization=770077",
    "_popup=1",
]

DOCUMENT = Path(settings.BASE_DIR, "docs/access.md")
INTRODUCTION = """\
Written by `make access`, which requests every URL of the admin site as every kind of
user. A test fails if this table is out of date.

A cell shows the response to a GET request. If an empty POST request gets a different
response, this response follows after a slash. Redirects have names: *sign in* is a
redirect to the sign-in page; *home page* is a redirect to the home page, with the
message for objects that do not exist or that the person is not allowed to view; *on* is
a redirect to another page of the site.

The objects belong to the organization *own* or *reviewed*, to a *foreign* one, or are
*missing*. Everyone has a role in the organizations *archived* and *trashed*. Both are
archived, and trashed is in the trash. The user *admin* is an admin of own, *reviewer*
is a reviewer of own and reviewed, *admin and reviewer* is an admin of own and a
reviewer of reviewed, and *admin of another* is an admin of reviewed. Nobody in the
table belongs to foreign."""


@dataclass(frozen=True)
class Page:
    """A page of the admin site, with an object or another value in its URL."""

    label: str  # the route, such as "orgadmin/organization/<object_id>/change/"
    value: str  # "own", "reviewed", "foreign", "missing", or what was filled in
    url: str


@dataclass(frozen=True)
class Response:
    status: int
    location: str
    text: str  # the page, and the one that a redirect leads to


def walk(patterns=None, prefix="/"):
    """Yield the route of every page of the admin site."""
    if patterns is None:
        patterns = get_resolver().url_patterns
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if not isinstance(pattern, URLPattern):
            yield from walk(pattern.url_patterns, route)
        elif route.startswith("/admin/"):
            yield route


def fill(route, world):
    """Yield a Page for each way to fill in the parameters of a route."""
    url = simplify(route)
    label = url.replace("/admin/", "")
    parameters = re.findall(r"<(\w+)>", url)
    if not parameters:
        yield Page(label, "", url)
        return
    model = find_model(url)
    if model is not None:
        for name, pk in world.objects(model).items():
            yield Page(label, name, re.sub(r"<\w+>", str(pk), url))
        return
    values = {
        "app_label": ["auth", "orgadmin", "nothing"],
        "url": ["orgadmin/", "nothing"],
    }
    for value in values.get(parameters[0], ["1"]):
        yield Page(label, value, re.sub(r"<\w+>", value, url))


def simplify(route):
    """Return a route with its parameters as <name>, whatever their type or pattern."""
    route = re.sub(r"[\^$]|\\Z", "", route).replace("\\", "")
    route = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", route)
    return re.sub(r"<\w+:(\w+)>", r"<\1>", route)


def find_model(url):
    """Return the model that a page is about, or None."""
    for model in admin.site._registry:
        if f"/{model._meta.app_label}/{model._meta.model_name}/" in url:
            return model
    return None


def read(response):
    """Return the text of a response, except what differs each time."""
    content = b"".join(response)
    if content.startswith(b"PK"):
        return read_workbook(content)
    text = content.decode()
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", text)


def read_workbook(content):
    """Return the cells of a workbook as text."""
    workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
    sheets = [workbook.get_sheet_by_name(name) for name in workbook.sheet_names]
    return repr([sheet.to_python() for sheet in sheets])


def has_changed_session(response):
    """Return whether a response was sent with a changed session, or without any."""
    return settings.SESSION_COOKIE_NAME in response.cookies


def forget_messages(client):
    """Remove the messages that the next page would show."""
    session = client.session
    if session.pop("_messages", None) is not None:
        session.save()


def stay_signed_in(client, user, response):
    """Sign in again if a request has ended the session of the user."""
    if user is None:
        return
    may_be_signed_out = has_changed_session(response) or response.status_code == 302
    if may_be_signed_out and "_auth_user_id" not in client.session:
        # One of the pages ends the other sessions of the user.
        user.refresh_from_db()
        client.force_login(user)


class World:
    """Users of every kind, and what they may see and what is hidden from them.

    There is an organization of their own, one that they review, and a foreign one. What
    is hidden from all of them contains the canary. All of them have a role in two that
    are archived, of which everything contains "Vault".
    """

    def __init__(self):
        self.create_organizations()
        self.create_users()
        self.create_members()
        self.create_ended()
        self.create_archived()
        self.create_log_entries()
        self.create_reviews()
        self.create_imports()
        self.create_requests()
        # Otherwise, the first visit of the home page would change it for the second.
        MonthlyCount.objects.count_today()

    def create_organizations(self):
        self.own = create_organization("Own", tax_id="Canary of the own", pk=1001)
        self.reviewed = create_organization(
            "Reviewed",
            tax_id="Canary of the reviewed",
            notes="Canary in the notes",
            pk=1002,
        )
        self.foreign = create_organization(
            "Canary Ltd",
            pk=FOREIGN_PK,
            reference="Canary reference",
            website="https://canary.example.com",
            email="canary@example.com",
            phone="Canary phone",
            address="Canary address",
            tax_id="Canary tax_id",
            notes="Canary notes",
        )
        self.other = create_organization("Canary too", pk=FOREIGN_PK + 1)
        for organization in (self.own, self.reviewed, self.foreign):
            organization.contacts.create(
                pk=organization.pk,
                name=f"Contact of {organization}",
                email=f"{organization.pk}@example.com",
            )

    def create_users(self):
        self.hidden = create_user(
            "Canary-user",
            pk=HIDDEN_USER_PK,
            first_name="Canary",
            last_name="Canary",
            admin_of=[self.foreign],
        )
        self.staff = create_superuser("Canary-staff", pk=FOREIGN_PK + 2)
        self.users = {
            "anonymous": None,
            "no organization": create_user("nobody"),
            "reviewer": create_user("reviewer", reviewer_of=[self.own, self.reviewed]),
            "admin": create_user("admin", admin_of=[self.own]),
            "admin and reviewer": create_user(
                "both", admin_of=[self.own], reviewer_of=[self.reviewed]
            ),
            "admin of another": create_user("another", admin_of=[self.reviewed]),
            "delegated viewer": create_user(
                "viewer", is_staff=True, permissions=["view_organization"]
            ),
            "delegated user manager": create_user(
                "manager",
                is_staff=True,
                permissions=["view_user", "add_user", "change_user", "delete_user"],
            ),
            "superuser": create_superuser("root"),
        }

    def create_members(self):
        """Add members, invite people and change organizations as platform staff.

        An organization's admins see what they did, but not who they are.
        """
        for organization in (self.own, self.foreign):
            member = create_user(f"member of {organization.pk}", pk=organization.pk)
            set_role(organization, [member], REVIEWER, actor=self.staff)
            email = f"invited{organization.pk}@example.com"
            invite(organization, email, REVIEWER, actor=self.staff)
            organization._history_user = self.staff
            organization.save()
        invite(self.foreign, "canary-invited@example.com", REVIEWER, actor=self.hidden)

    def create_ended(self):
        """Create someone whose roles ended by their date a moment ago, and a stranger.

        Their keys occur nowhere else in a page.
        """
        self.stranger = create_user("stranger", pk=STRANGER_PK)
        self.ended = create_user(
            "stopped",
            pk=STRANGER_PK + 1,
            admin_of=[self.own],
            reviewer_of=[self.reviewed],
        )
        rows = Membership.objects.filter(user=self.ended)
        rows.update(ends_at=timezone.now() - timedelta(seconds=1))

    def create_reviews(self):
        """Start reviews of everything, and of the foreign organization alone."""
        due_on = timezone.localdate() + timedelta(days=30)
        foreign = Organization.objects.filter(pk=FOREIGN_PK)
        values = {"due_on": due_on, "actor": self.staff}
        self.review = start_review(ReviewScope.ALL, **values)
        self.foreign_review = start_review(
            ReviewScope.ONE, organizations=foreign, scope_text="Canary Ltd", **values
        )
        for review in (self.review, self.foreign_review):
            prepare(review.pk)
        self.rhythms = [
            ReviewRhythm.objects.create(next_on=due_on) for _number in range(2)
        ]

    def create_imports(self):
        """Import one file as platform staff, and upload another one.

        Nobody else may see the latter: it waits for its author.
        """
        values = {"actor_key": self.staff.pk, "file_name": "Canary.csv"}
        self.imported = Import.objects.create(
            state=Import.State.DONE, finished_at=timezone.now(), **values
        )
        self.uploaded = Import.objects.create(state=Import.State.WAITING, **values)
        change = {"line": 2, "organization": FOREIGN_PK, "is_new": True}
        change |= {"before": {}, "after": {"name": "Canary Ltd"}}
        change |= {"roles": [], "invitations": []}
        contents = {
            self.imported: ("changes", [change]),
            self.uploaded: ("preview", [[2, "Canary", ["Canary phone"]]]),
        }
        for stored, (kind, items) in contents.items():
            content = ImportPart.pack(items)
            stored.parts.create(kind=kind, number=0, content=content)

    def create_requests(self):
        """Create requests for roles, and decline and change many as platform staff."""
        asker = create_user("asker")
        hidden = create_user("Canary-asker")
        for organization, person in (
            (self.foreign, hidden),
            (self.own, asker),
            (self.reviewed, asker),
        ):
            token = access_requests.make_link(organization, actor=self.staff)
            asked = access_requests.ask(token, person, REVIEWER, "because")
            if organization != self.foreign:
                access_requests.decline(asked, "no", actor=self.staff)
        change = GiveRole([hidden], [self.foreign], REVIEWER)
        carry_out(change, actor=self.staff, seen=make_plan(change).digest)

    def create_archived(self):
        """Archive two organizations, in which everyone has a role."""
        self.archived = create_organization(
            "Vault Ltd", pk=ARCHIVED_PK, reference="Vault reference"
        )
        self.trashed = create_organization(
            "Vault too", pk=TRASHED_PK, address="Vault Road 1"
        )
        for organization in (self.archived, self.trashed):
            pk = organization.pk
            organization.contacts.create(pk=pk, name="Vault contact")
            users = [user for user in self.users.values() if user is not None]
            set_role(organization, users[::2], ADMIN, notify=False)
            set_role(organization, users[1::2], REVIEWER, notify=False)
            invite(organization, f"invited{pk}@example.com", REVIEWER, actor=self.staff)
            self.log_changes(self.staff, organization)
        archive.archive([ARCHIVED_PK, TRASHED_PK], actor=self.staff)
        archive.move_to_trash([TRASHED_PK], actor=self.staff)

    def create_log_entries(self):
        for organization in (self.own, self.reviewed):
            self.log_changes(self.staff, organization)
        for organization in (self.foreign, self.other):
            self.log_changes(self.hidden, organization)
        # The history page of an organization without versions shows the log.
        self.reviewed.history.all().delete()
        # Users must not see their own log entries, either, if these are about an object
        # that they may no longer see.
        for user in self.users.values():
            if user is not None:
                self.log(user, self.foreign, [{"added": {}}])
        entries = LogEntry.objects.filter(user=self.staff)
        entries.update(user=self.users["superuser"])

    def log_changes(self, user, organization):
        self.log(user, organization, [{"added": {}}])
        self.log(user, organization, [{"changed": {"fields": ["Phone", "Tax ID"]}}])

    def log(self, user, organization, message):
        LogEntry.objects.log_actions(user.pk, [organization], CHANGE, message)

    def objects(self, model):
        """Return {"own": key, "foreign": key, …}: the objects of a model to try."""
        own = self.own
        foreign = self.foreign
        if model in (Organization, Contact):
            keys = {
                "own": own.pk,
                "reviewed": self.reviewed.pk,
                "foreign": foreign.pk,
                "archived": ARCHIVED_PK,
                "trashed": TRASHED_PK,
            }
        elif model is User:
            nobody = self.users["no organization"]
            keys = {"own": nobody.pk, "foreign": self.hidden.pk}
        elif model is MembershipEvent:
            keys = {"own": find_event(own).pk, "foreign": find_event(foreign).pk}
        elif model is AuditEvent:
            keys = {"own": find_audit_event(own), "foreign": find_audit_event(foreign)}
        elif model is AccessReview:
            keys = {"own": self.review.pk, "foreign": self.foreign_review.pk}
        elif model is Import:
            keys = {"own": self.imported.pk, "foreign": self.uploaded.pk}
        elif model is ReviewRhythm:
            keys = {"own": self.rhythms[0].pk, "foreign": self.rhythms[1].pk}
        elif model is Group:
            keys = {"own": own.admin_id, "foreign": foreign.admin_id}
        else:
            raise NotImplementedError(f"Name objects of {model} here.")
        return keys | {"missing": MISSING_PK}

    def read_hidden(self):
        """Return the rows that no request of an outsider may change."""
        organizations = Organization.objects.filter(pk__gte=FOREIGN_PK)
        contacts = Contact.objects.filter(pk__gte=FOREIGN_PK)
        users = User.objects.filter(pk__gte=HIDDEN_USER_PK)
        return [
            *organizations.order_by("pk").values(),
            *contacts.order_by("pk").values(),
            *users.order_by("pk").values("pk", "username", "password", "is_active"),
            *Group.objects.order_by("pk").values(),
            *Import.objects.order_by("pk").values(),
        ]


def forget_person(response, user):
    """Return a response without the name and the key of its reader."""
    text = response.text.replace(user.username, "NAME").replace(str(user.pk), "KEY")
    # The keys of forms, and what a passkey must sign, are new each time.
    text = re.sub(r'KEY-[\w:=-]+|"(challenge|id)": "[\w-]+"', "", text)
    return replace(response, text=text)


def find_event(organization):
    return MembershipEvent.objects.filter(organization_key=organization.pk).last()


def find_audit_event(organization):
    """Return the key of the event about the member of an organization."""
    return AuditEvent.objects.filter(user_key=organization.pk).latest("pk").pk


OUTSIDERS = {
    "anonymous",
    "no organization",
    "reviewer",
    "admin",
    "admin and reviewer",
    "admin of another",
}

# {model: the users who must not see that a foreign object exists}
HIDDEN_FROM = {
    "organization": OUTSIDERS | {"delegated user manager"},
    "contact": OUTSIDERS | {"delegated user manager"},
    "user": OUTSIDERS | {"delegated viewer"},
    "group": OUTSIDERS | {"delegated viewer", "delegated user manager"},
    "auditevent": OUTSIDERS | {"delegated viewer", "delegated user manager"},
    "membershipevent": OUTSIDERS | {"delegated viewer", "delegated user manager"},
    "accessreview": OUTSIDERS | {"delegated viewer", "delegated user manager"},
    # One that waits for its author is hidden from other superusers, too.
    "import": OUTSIDERS | {"delegated viewer", "delegated user manager", "superuser"},
    "reviewrhythm": OUTSIDERS | {"delegated viewer", "delegated user manager"},
}


@override_settings(SECOND_FACTOR="optional")
class MatrixTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.world = World()
        cls.next_pages = {}
        cls.pages = []
        for route in walk():
            cls.pages += fill(route, cls.world)

    def sign_in_everyone(self):
        """Yield (name, user, client) for each kind of user."""
        for name, user in self.world.users.items():
            client = Client()
            if user is not None:
                client.force_login(user)
            yield name, user, client

    def request(self, client, user, method, url, data=None):
        """Return the Response, and sign in again if the request signed out."""
        response = getattr(client, method)(url, data or {})
        location = response.get("Location", "")
        text = read(response)
        if response.status_code == 302 and not location.startswith("/admin/login"):
            text += self.read_next_page(client, user, location)
        stay_signed_in(client, user, response)
        return Response(response.status_code, location, text)

    def read_next_page(self, client, user, location):
        """Return the text of the page that a redirect leads to.

        The page depends on the person, the address, and the session, which contains the
        messages. The same page is therefore read once.
        """
        session = {} if user is None else client.session
        if "_auth_user_id" not in session:
            return read(client.get(location, follow=True))
        state = (user.pk, location, repr(sorted(session.items())))
        if state in self.next_pages:
            forget_messages(client)
        else:
            self.next_pages[state] = read(client.get(location, follow=True))
        return self.next_pages[state]

    def test_covers_every_registered_model_and_page(self):
        for model in admin.site._registry:
            names = set(self.world.objects(model))
            self.assertLessEqual({"own", "foreign", "missing"}, names)
        labels = {page.label for page in self.pages}
        self.assertIn("orgadmin/organization/<object_id>/people/", labels)
        self.assertGreater(len(labels), 30)

    @tag("A1", "A35")
    def test_a_foreign_object_is_answered_like_a_missing_one(self):
        foreign_urls = {
            page.label: page.url for page in self.pages if page.value == "foreign"
        }
        missing_urls = {
            page.label: page.url for page in self.pages if page.value == "missing"
        }
        self.assertEqual(foreign_urls.keys(), missing_urls.keys())
        before = self.world.read_hidden()
        for name, user, client in self.sign_in_everyone():
            for label, foreign_url in foreign_urls.items():
                model_name = label.split("/")[1]
                if name in HIDDEN_FROM[model_name]:
                    urls = [foreign_url, missing_urls[label]]
                    with self.subTest(name=name, label=label):
                        for method in METHODS:
                            self.assert_same_response(client, user, method, urls)
                        self.assert_same_response(client, user, "post", urls, ATTACK)
        self.assertEqual(self.world.read_hidden(), before)

    @tag("A1", "B15")
    def test_an_archived_object_is_answered_like_a_missing_one(self):
        """For everyone. Superusers are told of organizations, on pages of their own."""
        urls_of = {"archived": {}, "trashed": {}, "missing": {}}
        for page in self.pages:
            if page.value in urls_of:
                urls_of[page.value][page.label] = page.url
        before = self.world.read_hidden()
        for name, user, client in self.sign_in_everyone():
            for label, archived_url in urls_of["archived"].items():
                is_contact = label.split("/")[1] == "contact"
                if name == "superuser" and not is_contact:
                    continue
                urls = [archived_url, urls_of["missing"][label]]
                trashed_urls = [urls_of["trashed"][label], urls[1]]
                with self.subTest(name=name, label=label):
                    for method in METHODS:
                        self.assert_same_response(client, user, method, urls)
                    self.assert_same_response(client, user, "get", trashed_urls)
                    self.assert_same_response(client, user, "post", urls, ATTACK)
        self.assertEqual(self.world.read_hidden(), before)

    def assert_same_response(self, client, user, method, urls, data=None):
        responses = []
        for url in urls:
            response = self.request(client, user, method, url, data)
            responses.append(self.hide_key(response, url))
        self.assertEqual(*responses, f"{method} {urls} {data}")

    def hide_key(self, response, url):
        """Return the response without the key in the URL, which it may repeat.

        Recent activity names keys that are not from the URL, and stays as it is.
        """
        key = re.search(r"/(\d+)/", url)[1]
        repeated = rf"(/|“|_){key}(/|”)"
        parts = FEED.split(response.text)
        # Every second part is a feed.
        parts[::2] = [re.sub(repeated, r"\1KEY\2", part) for part in parts[::2]]
        return Response(
            response.status,
            re.sub(repeated, r"\1KEY\2", response.location),
            "".join(parts),
        )

    @tag("C15")
    def test_whose_access_has_ended_gets_what_a_stranger_gets(self):
        clients = {self.world.stranger: Client(), self.world.ended: Client()}
        for user, client in clients.items():
            client.force_login(user)
        for page in self.pages:
            for method, data in (("get", None), ("post", None), ("post", ATTACK)):
                responses = []
                for user, client in clients.items():
                    response = self.request(client, user, method, page.url, data)
                    responses.append(forget_person(response, user))
                self.assertEqual(*responses, f"{method} {page.url} {data}")

    def test_the_table_of_access_is_as_documented(self):
        outcomes = {}
        requests = 0
        for name, user, client in self.sign_in_everyone():
            for page in self.pages:
                row = outcomes.setdefault((page.label, page.value), {})
                for method in ("get", "post"):
                    response = getattr(client, method)(page.url)
                    read(response)
                    requests += 1
                    self.assertLess(response.status_code, 500)
                    row[name, method] = self.describe(response)
                    stay_signed_in(client, user, response)
                    if has_changed_session(response):
                        forget_messages(client)
        text = self.write_table(outcomes, requests)
        if os.environ.get("WRITE_DOCUMENTS"):
            DOCUMENT.write_text(text)
        self.assertEqual(
            DOCUMENT.read_text(), text, "Run `make access`, and read what has changed."
        )

    def describe(self, response):
        if response.status_code != 302:
            return str(response.status_code)
        path = urlsplit(response["Location"]).path
        names = {"/admin/login/": "sign in", "/admin/": "home page"}
        return names.get(path, "on")

    def write_table(self, outcomes, requests):
        names = list(self.world.users)
        labels = {label for label, _value in outcomes}
        lines = [
            "# Who gets what",
            "",
            *INTRODUCTION.splitlines(),
            "",
            f"{len(labels)} addresses, {len(outcomes)} with their objects,"
            f" {len(names)} kinds of user, {requests:,} requests for this table.",
            "",
            "| address | object | " + " | ".join(names) + " |",
            "| --- | --- |" + " --- |" * len(names),
        ]
        for (label, value), row in outcomes.items():
            cells = [f"`{label or '/'}`", value]
            for name in names:
                get = row[name, "get"]
                post = row[name, "post"]
                cells.append(get if get == post else f"{get} / {post}")
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


# {user: what no page may show them}
HIDDEN_TEXT = {
    "no organization": CANARY,
    "reviewer": CANARY,
    "admin": r"Canary(?! of the own)",
    "admin and reviewer": r"Canary(?! of the own)",
    "admin of another": r"Canary(?! of the reviewed| in the notes)",
    "delegated viewer": (
        r"Canary-(user|staff)"
        r"|Canary (tax_id|notes|of the)"
        r"|Canary (Ltd|too) (Admin|Reviewer)"
    ),
    "delegated user manager": (
        r"Canary (Ltd|too|phone|address|reference|tax_id|notes)|Canary of the"
    ),
}

# The pages on which superusers read what is archived, or what was logged about it.
PAGES_OF_THE_ARCHIVE = (
    "/admin/orgadmin/organization/archived/",
    "/admin/orgadmin/membershipevent/",
    "/admin/orgadmin/auditevent/",
    "/admin/orgadmin/user/",  # the access page lists all groups
    "/admin/orgadmin/organization/?q=",  # shows what was searched for
    "/admin/all-activity/",
)
# Recent activity, including on the home page, shows what was archived.
HOME = "/admin/"
FEED = re.compile(r'(<ul class="feed">.*?</ul>)', re.DOTALL)

# There is a time zone of this name.
TIME_ZONE = '<option value="Atlantic/Canary">Canary<'

MAX_PAGES = 3_000


def remove_echo(url, text):
    """Return the text of a page without what the request for it contains.

    A page may repeat its own address, and each parameter of the address: as part of a
    link, as the value of a field, or in quotation marks. Anything else must not contain
    what is hidden. No hidden text is as short as what the crawl searches for.
    """
    text = text.replace(f'"{url}"', '""')
    for name, value in list_parameters(urlsplit(url).query):
        parameter = urlencode({name: value})
        for link in (parameter, quote(parameter)):
            text = re.sub(rf"\b{re.escape(link)}(?![\w+%-])", "", text)
        text = text.replace(f'value="{value}"', 'value=""')
        text = text.replace(f"“{value}”", "“”")
    return text


def list_parameters(query):
    """Return the parameters of a query, and those of the queries within it."""
    parameters = parse_qsl(query)
    for _name, value in parse_qsl(query):
        parameters += parse_qsl(value)
    return parameters


class EchoTests(SimpleTestCase):
    """The crawl ignores what a request contains, and nothing else."""

    def test_what_the_request_contains_is_removed(self):
        url = "/admin/x/?q=Canary+x&_changelist_filters=o%3DCanary"
        for text in (
            f'<input name="next" value="{url}">',
            '<input name="q" value="Canary x">',
            "“Canary x” is not a date.",
            '<a href="?p=2&q=Canary+x">',
            '<a href="/admin/?_changelist_filters=q%3DCanary%2Bx">',
            '<a href="?o=Canary">',
        ):
            with self.subTest(text):
                self.assertNotIn(CANARY, remove_echo(url, text))

    def test_everything_else_is_kept(self):
        url = "/admin/x/?q=Canary"
        for text in (
            "Canary",
            "Canary Ltd",
            "“Canary Ltd”",
            'value="Canary Ltd"',
            "?q=Canary+Ltd",
            "?q=Canary%20Ltd",
            "?q=Canary-user",
            "?name=Canary",
            "/admin/y/?x=Canary",
        ):
            with self.subTest(text):
                self.assertEqual(remove_echo(url, text), text)


@override_settings(SECOND_FACTOR="optional")
class CrawlTests(TestCase):
    """Follows every link that a user can reach, and looks for what is hidden."""

    # What superusers can reach, as (URL, text)
    pages_of_superuser = None

    @classmethod
    def setUpTestData(cls):
        cls.world = World()

    def crawl_as_superuser(self):
        """Return what `crawl` yields for superusers. It crawls once for all tests."""
        if self.pages_of_superuser is None:
            type(self).pages_of_superuser = list(self.crawl("superuser"))
        return self.pages_of_superuser

    def crawl(self, name):
        """Yield (URL, text) of every page that a user can reach."""
        user = self.world.users[name]
        client = Client()
        client.force_login(user)
        remaining = ["/admin/", "/admin/auth/group/", "/admin/orgadmin/user/"]
        remaining += ["/admin/search/", "/admin/all-activity/"]
        seen = set()
        while remaining:
            url = remaining.pop()
            key = re.sub(r"_changelist_filters=[^&]*", "", url)
            if key in seen or len(seen) > MAX_PAGES:
                continue
            seen.add(key)
            response = client.get(url)
            stay_signed_in(client, user, response)
            if response.status_code == 302:
                remaining.append(urljoin(url, response["Location"]))
                continue
            text = unescape(read(response))
            # The search marks what matches, in the middle of what is hidden.
            text = re.sub("</?mark>", "", text.replace(TIME_ZONE, ""))
            yield url, remove_echo(url, text)
            # The same page without a query has the links to follow.
            if response.status_code == 200 and "?" not in url:
                remaining += self.find_links(url, text)
                remaining += self.add_queries(url)

    def find_links(self, url, text):
        """Return the URLs within the admin site that a page mentions."""
        links = []
        for link in re.findall(r'(?:href|action|src|data-ajax--url)="([^"]+)"', text):
            target = urljoin(url, link.split("#")[0])
            if target.startswith("/admin/") and "logout" not in target:
                links.append(target)
        return links

    def add_queries(self, url):
        """Return the URL of a list or form with each query that is worth trying."""
        queries = []
        if re.fullmatch(r"/admin/\w+/\w+/", url) and find_model(url):
            queries = QUERIES_OF_LISTS
        elif re.fullmatch(r"/admin/orgadmin/\w+/(\d+/change|add)/", url):
            queries = QUERIES_OF_FORMS
        elif url == "/admin/search/":
            queries = ["q=Canary", "q=Can", "q=Vault", "q=%00", "q=Canary+x"]
        return [f"{url}?{query}" for query in queries]

    @tag("A3", "A4", "A38")
    def test_no_user_is_shown_what_is_hidden(self):
        for name, hidden in HIDDEN_TEXT.items():
            count = 0
            for url, text in self.crawl(name):
                count += 1
                with self.subTest(name=name, url=url):
                    self.assertNotRegex(text, hidden)
                    self.assertNotIn(VAULT, text)
            self.assertGreater(count, 2 if name == "no organization" else 25, name)

    def test_the_crawl_shows_superusers_everything(self):
        pages = [text for _url, text in self.crawl_as_superuser()]
        for text in ("Canary Ltd", "Canary-user", "Canary tax_id", "Canary Ltd Admin"):
            with self.subTest(text):
                self.assertTrue(any(text in page for page in pages))
        self.assertGreater(len(pages), 150)

    @tag("B15")
    def test_superusers_see_what_is_archived_on_few_pages(self):
        found = set()
        for url, text in self.crawl_as_superuser():
            if VAULT not in text:
                continue
            found.add(url)
            with self.subTest(url):
                is_expected = url == HOME or url.startswith(PAGES_OF_THE_ARCHIVE)
                self.assertTrue(is_expected)
        self.assertIn(PAGES_OF_THE_ARCHIVE[0], found)

    def list_relations_with_choices(self):
        """Return the parameters of all fields whose choices a superuser can search.

        The view refuses other fields before it looks at the person.
        """
        client = Client()
        client.force_login(self.world.users["superuser"])
        relations = []
        for model in apps.get_models(include_auto_created=True):
            for field in model._meta.get_fields():
                relation = {
                    "app_label": model._meta.app_label,
                    "model_name": model._meta.model_name,
                    "field_name": field.name,
                }
                response = client.get("/admin/autocomplete/", relation)
                self.assertIn(response.status_code, (200, 403, 404))
                if response.status_code == 200:
                    relations.append(relation)
        return relations

    @tag("A24")
    def test_no_user_is_offered_what_is_hidden_as_a_choice(self):
        relations = self.list_relations_with_choices()
        self.assertGreater(len(relations), 10)
        for name, hidden in HIDDEN_TEXT.items():
            client = Client()
            client.force_login(self.world.users[name])
            for relation in relations:
                for term in ("", "Can"):
                    query = relation | {"term": term}
                    response = client.get("/admin/autocomplete/", query)
                    with self.subTest(name=name, **query):
                        self.assertIn(response.status_code, (200, 302, 403, 404))
                        self.assertNotRegex(response.content.decode(), hidden)
                        self.assertNotIn(VAULT, response.content.decode())
                    if response.status_code != 200:
                        break  # whatever one searches for

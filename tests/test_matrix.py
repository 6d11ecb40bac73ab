"""Every address of the admin site, every method, every role. A new page joins by itself."""

import os
import re
from html import unescape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client, TestCase, override_settings, tag
from django.urls import URLPattern, get_resolver

from orgadmin.models import Contact, MembershipEvent, Organization, User
from orgadmin.people.invitations import invite

from .factories import (
    NO_CONTACTS,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)

CANARY = "Canary"
METHODS = ("get", "post", "head", "options", "put", "patch", "delete")
DOCUMENT = Path(settings.BASE_DIR, "docs/access.md")
# Posts that would change something for whoever may: all that somebody could try on a form, at once.
ATTACK = NO_CONTACTS | {
    "name": "Taken over",
    "username": "taken",
    "post": "yes",
    "add": "1",
    "role": "admin",
}
QUERIES = [
    "q=Canary", "q=%00", "o=1", "o=-1.2.3", "p=1", "p=2", "all=", "_popup=1", "_facets=True", "e=1", "_to_field=id",
    "_to_field=",
    "_to_field=name", "organization=770077", "organization__id__exact=770077", "name__startswith=C",
    "tax_id=Canary+tax",
    "admin__name=x", "notes__regex=C", "id__in=770077", "organization__name__startswith=C", "is_staff__exact=1",
    "_changelist_filters=q%3DCanary",
]  # fmt: skip

INTRODUCTION = """\
Written by `make access`, which sends requests to every address of the admin site as
every kind of user. A test fails if this table is out of date.

A cell shows the response to GET. If an empty POST gets another response, it follows
after a slash. Redirects have names: *sign in* leads to the sign-in page; *front page*
leads to the front page, with the message for objects that do not exist or that the
person may not view; *on* leads to another page of the site.

The objects belong to the organization *own* or *reviewed*, to a *foreign* one, or are
*missing*. The user *admin* is an admin of own, *reviewer* is a reviewer of own and
reviewed, *admin and reviewer* is an admin of own and a reviewer of reviewed, and
*admin of another* is an admin of reviewed. Nobody in the table belongs to foreign."""


def walk(patterns=None, prefix="/"):
    """Yield the route of every address of the admin site."""
    for pattern in patterns if patterns is not None else get_resolver().url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            if route.startswith("/admin/"):
                yield route
        else:
            yield from walk(pattern.url_patterns, route)


def read(response):
    return b"".join(response).decode()


class World:
    """Organizations, people and groups: own, reviewed, and one hidden whose every text is a canary."""

    def __init__(self):
        self.own = create_organization("Own", tax_id="Canary of the own", pk=1001)
        self.reviewed = create_organization(
            "Reviewed",
            tax_id="Canary of the reviewed",
            notes="Canary in the notes",
            pk=1002,
        )
        texts = ("reference", "phone", "address", "tax_id", "notes")
        self.foreign = create_organization(
            "Canary Ltd",
            pk=770077,
            website="https://canary.example.com",
            email="canary@example.com",
            **{name: f"Canary {name}" for name in texts},
        )
        self.contacts = {
            organization.pk: Contact.objects.create(
                pk=organization.pk,
                organization=organization,
                name=f"Contact of {organization}",
                email=f"{organization.pk}@example.com",
            )
            for organization in (self.own, self.reviewed, self.foreign)
        }
        hidden = create_user(
            "Canary-user",
            pk=660066,
            first_name="Canary",
            last_name="Canary",
            admin_of=[self.foreign],
        )
        other = create_organization("Canary too", pk=770078)
        staff = create_superuser("Canary-staff", pk=770079)
        self.roles = {
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
        # Of platform staff, an organization's admins see what they did, and not who they are.
        for organization in (self.own, self.foreign):
            member = create_user(f"member of {organization.pk}", pk=organization.pk)
            set_role(organization, [member], REVIEWER, actor=staff)
            invite(
                organization,
                f"invited{organization.pk}@example.com",
                REVIEWER,
                actor=staff,
            )
            organization._history_user = staff
            organization.save()
        invite(self.foreign, "canary-invited@example.com", REVIEWER, actor=hidden)
        for organization in (self.own, self.reviewed, self.foreign, other):
            for message in (
                [{"added": {}}],
                [{"changed": {"fields": ["Phone", "Tax ID"]}}],
            ):
                LogEntry.objects.log_actions(
                    hidden.pk if organization in (self.foreign, other) else staff.pk,
                    [organization],
                    2,
                    message,
                )
        self.reviewed.history.all().delete()  # so that its page shows the log
        # What the reviewer and the others are never to meet: their own log entries about what they no longer see.
        for user in filter(None, self.roles.values()):
            LogEntry.objects.log_actions(user.pk, [self.foreign], 2, [{"added": {}}])
        LogEntry.objects.filter(user=staff).update(user=self.roles["superuser"])

    def objects(self, model):
        """Return {"own": key, "foreign": key} of a model for those whose organization is `own`."""
        own, reviewed, foreign = self.own, self.reviewed, self.foreign
        return {
            Organization: {
                "own": own.pk,
                "reviewed": reviewed.pk,
                "foreign": foreign.pk,
            },
            Contact: {"own": own.pk, "reviewed": reviewed.pk, "foreign": foreign.pk},
            User: {"own": self.roles["no organization"].pk, "foreign": 660066},
            MembershipEvent: {
                "own": MembershipEvent.objects.filter(organization_key=own.pk)
                .last()
                .pk,
                "foreign": MembershipEvent.objects.filter(organization_key=foreign.pk)
                .last()
                .pk,
            },
            Group: {"own": own.admin_id, "foreign": foreign.admin_id},
        }[model] | {"missing": 880088}


def fill(route, world):
    """Yield (label, kind of object, address) for each way to fill the parameters of a route."""
    models = {
        f"/{model._meta.app_label}/{model._meta.model_name}/": model
        for model in admin.site._registry
    }
    model = next((model for start, model in models.items() if start in route), None)
    parameters = re.findall(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^)]*\)", route)
    address = re.sub(r"[\^$]|\\Z", "", route).replace("\\", "")
    label = re.sub(
        r"<(?:\w+:)?(\w+)>", r"<\1>", re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", address)
    ).replace("/admin/", "")
    if model and parameters:
        for kind, key in world.objects(model).items():
            yield label, kind, re.sub(r"<(?:\w+:)?\w+>", str(key), address)
    elif not parameters:
        yield label, "", address
    else:
        values = {
            "app_label": ("auth", "orgadmin", "nothing"),
            "url": ("orgadmin/", "nothing"),
            "content_type_id": ("1",),
        }
        parameter = next(filter(None, parameters[0]))
        for value in values.get(parameter, ("1",)):
            filled = re.sub(r"<(?:\w+:)?\w+>|\(\?P<\w+>[^)]*\)", value, address)
            yield label, value, filled


@override_settings(SECOND_FACTOR="optional")
class MatrixTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.world = World()
        cls.addresses = [entry for route in walk() for entry in fill(route, cls.world)]

    def clients(self):
        for role, user in self.world.roles.items():
            client = Client(raise_request_exception=True)
            if user:
                client.force_login(user)
            yield role, user, client

    def ask(self, client, user, method, address, data=None):
        """Return (status, where it leads, all that it says), signed in anew where the request signed out."""
        response = getattr(client, method)(address, data or {})
        location, said = response.get("Location", ""), read(response)
        if response.status_code == 302 and not location.startswith("/admin/login"):
            said += read(client.get(location, follow=True))
        if user and "_auth_user_id" not in client.session:
            client.force_login(user)
        said = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", said)
        return response.status_code, location, said

    def test_covers_every_registered_model_and_address(self):
        for model in admin.site._registry:
            self.assertLessEqual(
                {"own", "foreign", "missing"}, set(self.world.objects(model))
            )
        labels = {label for label, _, _ in self.addresses}
        self.assertIn("orgadmin/organization/<object_id>/people/", labels)
        self.assertGreater(len(labels), 30)

    @tag("A1", "A35")
    def test_a_foreign_object_is_answered_like_a_missing_one(self):
        pairs = {}
        for label, kind, address in self.addresses:
            if kind in ("foreign", "missing"):
                pairs.setdefault(label, {})[kind] = address
        outsiders = (
            "no organization",
            "reviewer",
            "admin",
            "admin and reviewer",
            "admin of another",
        )
        hidden_from = {
            "organization": {*outsiders, "delegated user manager"},
            "contact": {*outsiders, "delegated user manager"},
            "user": {*outsiders, "delegated viewer"},
            "group": {*outsiders, "delegated viewer", "delegated user manager"},
            "membershipevent": {
                *outsiders,
                "delegated viewer",
                "delegated user manager",
            },
        }
        before = self.read_hidden()
        for role, user, client in self.clients():
            for label, addresses in pairs.items():
                if role != "anonymous" and role not in hidden_from[label.split("/")[1]]:
                    continue
                for method in METHODS:
                    for data in ({}, ATTACK) if method == "post" else ({},):
                        with self.subTest(
                            role=role, label=label, method=method, attack=bool(data)
                        ):
                            foreign, missing = (
                                self.ask(client, user, method, addresses[kind], data)
                                for kind in ("foreign", "missing")
                            )
                            self.assertEqual(
                                self.forget_key(foreign, addresses["foreign"]),
                                self.forget_key(missing, addresses["missing"]),
                            )
        self.assertEqual(self.read_hidden(), before)

    @staticmethod
    def forget_key(answer, address):
        """Return the answer without the key in the address, which it repeats in links and in its text."""
        key = re.search(r"/(\d+)/", address)[1]
        return [re.sub(rf"(/|“|_){key}(/|”)", r"\1KEY\2", str(part)) for part in answer]

    def read_hidden(self):
        return [
            *Organization.objects.filter(pk__gte=770077).order_by("pk").values(),
            *Contact.objects.filter(pk__gte=770077).order_by("pk").values(),
            *User.objects.filter(pk__gte=660066)
            .order_by("pk")
            .values("pk", "username", "password", "is_active"),
            *Group.objects.order_by("pk").values(),
        ]

    def test_the_table_of_access_is_as_documented(self):
        outcomes, requests = {}, 0
        for role, user, client in self.clients():
            for label, kind, address in self.addresses:
                for method in ("get", "post"):
                    status, location, _ = self.ask(client, user, method, address)
                    requests += 1
                    self.assertLess(status, 500)
                    outcomes.setdefault((label, kind), {})[role, method] = (
                        self.describe(status, location)
                    )
        text = self.write_table(outcomes, requests)
        if os.environ.get("WRITE_DOCUMENTS"):
            DOCUMENT.write_text(text)
        self.assertEqual(
            DOCUMENT.read_text(), text, "Run `make access`, and read what has changed."
        )

    @staticmethod
    def describe(status, location):
        if status == 302:
            path = urlsplit(location).path
            return (
                "sign in"
                if path == "/admin/login/"
                else "front page"
                if path == "/admin/"
                else "on"
            )
        return str(status)

    def write_table(self, outcomes, requests):
        roles = list(self.world.roles)
        lines = [
            "# Who gets what",
            "",
            *INTRODUCTION.splitlines(),
            "",
            f"{len({label for label, _ in outcomes})} addresses, {len(outcomes)} with their objects,"
            f" {len(roles)} roles, {requests:,} requests for this table.",
            "",
            "| address | object | " + " | ".join(roles) + " |",
            "| --- | --- |" + " --- |" * len(roles),
        ]
        for (label, kind), found in outcomes.items():
            cells = []
            for role in roles:
                get, post = found[role, "get"], found[role, "post"]
                cells.append(get if get == post else f"{get} / {post}")
            lines.append(f"| `{label or '/'}` | {kind} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


@override_settings(SECOND_FACTOR="optional")
class CrawlTests(TestCase):
    """Follow every link and form that a role can reach; the canary of what is hidden is never met."""

    HIDDEN = {
        "no organization": CANARY,
        "reviewer": CANARY,
        "admin": r"Canary(?! of the own)",
        "admin and reviewer": r"Canary(?! of the own)",
        "admin of another": r"Canary(?! of the reviewed| in the notes)",
        "delegated viewer": r"Canary-(user|staff)|Canary (tax_id|notes|of the)|Canary (Ltd|too) (Admin|Reviewer)",
        "delegated user manager": r"Canary (Ltd|too|phone|address|reference|tax_id|notes)|Canary of the",
    }

    @classmethod
    def setUpTestData(cls):
        cls.world = World()

    def crawl(self, role):
        """Yield (address, text) of all that the role can reach."""
        client = Client()
        client.force_login(self.world.roles[role])
        todo, seen = (
            [
                "/admin/",
                *(f"/admin/{label}" for label in ("auth/group/", "orgadmin/user/")),
            ],
            set(),
        )
        while todo:
            address = todo.pop()
            key = re.sub(r"_changelist_filters=[^&]*", "", address)
            if key in seen or len(seen) > 3_000:
                continue
            seen.add(key)
            response = client.get(address)
            if "_auth_user_id" not in client.session:
                client.force_login(self.world.roles[role])
            if response.status_code == 302:
                todo.append(urljoin(address, response["Location"]))
                continue
            text = unescape(read(response))
            echo = r'value="[^"]*" id="searchbar"|name="q" value="[^"]*"|\bq(=|%3D)Canary'  # of what was asked
            yield address, re.sub(echo, "", text)
            if response.status_code != 200 or "?" in address:
                continue  # followed from the page without a query
            links = re.findall(r'(?:href|action|src|data-ajax--url)="([^"]+)"', text)
            found = [
                urljoin(address, link.split("#")[0])
                for link in links
                if not link.startswith("javascript")
            ]
            todo += [
                link
                for link in found
                if link.startswith("/admin/") and "logout" not in link
            ]
            if address in self.lists():
                todo += [f"{address}?{query}" for query in QUERIES]
            if self.is_page_of_organization(address):
                todo += [
                    f"{address}?{query}"
                    for query in ("admin=1", "organization=770077", "_popup=1")
                ]

    @staticmethod
    def lists():
        return {
            f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            for model in admin.site._registry
        }

    @staticmethod
    def is_page_of_organization(address):
        return bool(re.fullmatch(r"/admin/orgadmin/\w+/(\d+/change|add)/", address))

    @tag("A3", "A4", "A38")
    def test_no_role_meets_the_canary(self):
        for role, hidden in self.HIDDEN.items():
            count = 0
            for address, text in self.crawl(role):
                count += 1
                with self.subTest(role=role, address=address):
                    self.assertNotRegex(text, hidden)
            self.assertGreater(count, 2 if role == "no organization" else 25, role)

    def test_the_crawl_would_meet_it(self):
        pages = [text for _, text in self.crawl("superuser")]
        for text in ("Canary Ltd", "Canary-user", "Canary tax_id", "Canary Ltd Admin"):
            self.assertTrue(any(text in page for page in pages), text)
        self.assertGreater(len(pages), 150)

    @tag("A24")
    def test_choices_never_offer_it(self):
        fields = [
            (model._meta.app_label, model._meta.model_name, field.name)
            for model in apps.get_models(include_auto_created=True)
            for field in model._meta.get_fields()
        ]
        for role, hidden in self.HIDDEN.items():
            client = Client()
            client.force_login(self.world.roles[role])
            for app_label, model_name, field_name in fields:
                for term in ("", "Can"):
                    query = {
                        "app_label": app_label,
                        "model_name": model_name,
                        "field_name": field_name,
                        "term": term,
                    }
                    response = client.get("/admin/autocomplete/", query)
                    with self.subTest(role=role, **query):
                        self.assertIn(response.status_code, (200, 302, 403))
                        self.assertNotRegex(response.content.decode(), hidden)

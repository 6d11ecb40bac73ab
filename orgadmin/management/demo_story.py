"""The activity in the demo during the months before it is loaded.

The organizations are sorted by ID. demo-admin is an admin of the first three and a
reviewer of the fourth. demo-reviewer is a reviewer of the fifth and the sixth.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from django.contrib.admin.models import CHANGE, LogEntry
from django.http import HttpRequest
from django.utils import timezone
from django.utils.text import capfirst

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.ends import find_start_of_next_day
from orgadmin.access.origin import current_request
from orgadmin.access.roles import ADMIN, ROLES_BY_KEY, Role
from orgadmin.management.demo_clock import days_ago
from orgadmin.models import Invitation, Organization, User
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.invitations import accept, invite
from orgadmin.people.membership import change_roles
from orgadmin.people.offboarding import offboard
from orgadmin.records.imports.options import ImportOptions
from orgadmin.records.imports.organizations import import_organizations

REVIEWER = ROLES_BY_KEY["reviewer"]

# The IP address from which people have signed in. It is reserved for documentation.
ADDRESS = "192.0.2.7"
REQUEST_ID = "demo"

# The number of files with more organizations that `tell_story` imports.
LATER_FILES = 5


def tell_story(files: Sequence[bytes]) -> None:
    """Make the changes of several months, as people on the pages would.

    `files` contain the organizations that platform staff import during that time. Each
    step must be later than the previous one, because the logs list entries in the order
    in which they were written.
    """
    organizations = list(Organization.objects.order_by("pk")[:7])
    first, second = organizations[:2]
    staff = User.objects.get(username="demo-staff")
    demo_admin = User.objects.get(username="demo-admin")
    with days_ago(180):
        create_people(staff)
    import_file(files[0], staff, days=175)
    begin_work(first, staff)
    import_file(files[1], staff, days=130)
    share_work(first, organizations[6], staff)
    import_file(files[2], staff, days=95)
    import_file(files[3], staff, days=65)
    lose_leo(first, organizations[6], staff, demo_admin)
    import_file(files[4], staff, days=33)
    replace_olga(first, second, demo_admin)
    record_sign_ins()


def import_file(content: bytes, staff: User, days: int) -> None:
    """Import organizations on an earlier day.

    Warnings about similar names are accepted, because these are different
    organizations.
    """
    options = ImportOptions(accepts_warnings=True)
    with days_ago(days):
        import_organizations(io.BytesIO(content), actor=staff, options=options)


def create_people(staff: User) -> None:
    """Create people who cannot sign in. Vera's email address is not verified."""
    people = [
        ("olga", "Olga", "Ortiz"),
        ("leo", "Leo", "Lindqvist"),
        ("mei", "Mei", "Murata"),
        ("otto", "Otto", "Özdemir"),
        ("vera", "Vera", "Vogel"),
    ]
    for username, first_name, last_name in people:
        user = User(
            username=username,
            first_name=first_name,
            last_name=last_name,
            email=f"{username}@example.com",
        )
        user.changed_by = staff
        user.set_unusable_password()
        user.save()
        if username != "vera":
            user.changed_by = user
            user.verify_email()


def begin_work(first: Organization, staff: User) -> None:
    """Add people and contacts to the first organization, and fill in its fields."""
    olga, leo, otto = find_people("olga", "leo", "otto")
    with days_ago(170):
        give_role(first, [olga], ADMIN, staff, "First contact at the company")
    with days_ago(155):
        give_role(first, [leo, otto], REVIEWER, olga)
    with days_ago(150, hour=14):
        change(
            first,
            olga,
            website="https://www.example.com/",
            email="office@example.com",
            phone="+1 555 0100",
        )
    with days_ago(140):
        first.contacts.create(
            name="Carla Castellano",
            role="Head of purchasing",
            email="carla@example.com",
            phone="+1 555 0101",
        )
        first.contacts.create(name="Kim Kowalski", role="Warehouse")


def share_work(first: Organization, other: Organization, staff: User) -> None:
    """Give Leo and Mei roles in two organizations, and deactivate Otto."""
    olga, leo, mei, otto = find_people("olga", "leo", "mei", "otto")
    with days_ago(125):
        give_role(first, [leo], ADMIN, olga, "Looks after the contacts")
    with days_ago(120):
        give_role(other, [leo], ADMIN, staff)
        give_role(other, [mei], REVIEWER, staff)
    with days_ago(110):
        otto.changed_by = staff
        otto.is_active = False
        otto.save()


def lose_leo(
    first: Organization, other: Organization, staff: User, demo_admin: User
) -> None:
    """Add Pia, and offboard Leo. He was the only admin of the organization `other`."""
    with days_ago(40):
        pia = User(
            username="pia@example.com",
            email="pia@example.com",
            first_name="Pia",
            last_name="Petrova",
        )
        pia.set_unusable_password()
        invitation = send_invitation(first, pia.email, REVIEWER, demo_admin)
        accept(invitation, pia, account_is_unused=True)
    [leo] = find_people("leo")
    with days_ago(35, hour=16):
        offboard(leo, actor=staff, reason="Left the company", confirmed=[other.pk])


def replace_olga(first: Organization, second: Organization, demo_admin: User) -> None:
    """Remove Olga from the first organization, where demo-admin replaces her.

    demo-admin works on both organizations, and invites people. One of these invitations
    has expired, and two are pending.
    """
    olga, vera = find_people("olga", "vera")
    with days_ago(30):
        change(first, demo_admin, tax_id="12-3456789", notes="Pays late.\nAsk for Kim.")
    with days_ago(25):
        remove(first, olga, demo_admin, "Moved to another team")
        give_role(first, [vera], REVIEWER, demo_admin)
    with days_ago(18):
        change(first, demo_admin, phone="+1 555 0199")
        change(second, demo_admin, phone="+1 555 0142", email="hello@example.com")
    with days_ago(15):
        send_invitation(first, "late@example.com", REVIEWER, demo_admin)
    with days_ago(12):
        second.contacts.create(name="Per Persson", email="per@example.com")
        give_role(second, [vera], ADMIN, demo_admin)
    give_temporary_roles(first, second, demo_admin)
    with days_ago(2):
        send_invitation(first, "soon@example.com", ADMIN, demo_admin)
    with days_ago(1):
        send_invitation(second, "nina@example.com", ADMIN, demo_admin)


def give_temporary_roles(
    first: Organization, second: Organization, demo_admin: User
) -> None:
    """Give a role that ends in a few days to Mei, and one for two months to Vera."""
    [mei, vera] = find_people("mei", "vera")
    with days_ago(10):
        give_role(first, [mei], REVIEWER, demo_admin, "Helps with the audit", days=5)
    with days_ago(8):
        give_role(second, [vera], ADMIN, demo_admin, "Until Olga is back", days=60)


def record_sign_ins() -> None:
    """Record two sign-ins of each demo account, except demo-newcomer."""
    users = find_people("demo-support", "demo-reviewer", "demo-admin", "demo-staff")
    for days, user in zip((11, 10, 9, 8), users, strict=True):
        with days_ago(days):
            sign_in(user)
    for days, user in zip((4, 3, 2, 1), users, strict=True):
        with days_ago(days, hour=8):
            sign_in(user)


# Single steps


def find_people(*usernames: str) -> list[User]:
    return [User.objects.get(username=username) for username in usernames]


def give_role(
    organization: Organization,
    users: Iterable[User],
    role: Role,
    actor: User,
    reason: str = "",
    days: int | None = None,
) -> None:
    """Give people a role.

    The role ends `days` after the day on which the demo is loaded. Without `days`, the
    end of the role does not change.
    """
    end = None
    if days is not None:
        last_day = datetime.now(UTC).date() + timedelta(days=days)
        end = MembershipEnd(find_start_of_next_day(last_day))
    changes = [RoleChange(user, organization, role, end=end) for user in users]
    change_roles(changes, actor=actor, reason=reason, notify=False)


def remove(organization: Organization, user: User, actor: User, reason: str) -> None:
    """Remove a member from an organization."""
    changes = [RoleChange(user, organization, role=None)]
    change_roles(changes, actor=actor, reason=reason, notify=False)


def change(organization: Organization, actor: User, **values: str) -> None:
    """Change fields, and write the log entry that the organization's page writes."""
    for name, value in values.items():
        setattr(organization, name, value)
    organization._history_user = actor
    organization.save()
    fields = [organization._meta.get_field(name) for name in values]
    labels = [capfirst(str(field.verbose_name)) for field in fields]
    message = [{"changed": {"fields": labels}}]
    LogEntry.objects.log_actions(
        actor.pk, [organization], CHANGE, message, single_object=True
    )


def send_invitation(
    organization: Organization, email: str, role: Role, actor: User
) -> Invitation:
    invitation = invite(organization, email, role, actor=actor, is_limited=False)
    invitation.make_token()
    return invitation


def sign_in(user: User) -> None:
    """Record a sign-in with a wrong password, and then one with the right password."""
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = ADDRESS
    request.id = REQUEST_ID  # type: ignore[attr-defined]
    token = current_request.set(request)
    wrong = {"step": "password"}
    record(SecurityEvent.SIGN_IN_FAILED, user=user, details=wrong)
    right = {"method": "password", "factor": ""}
    record(SecurityEvent.SIGNED_IN, user=user, actor=user, details=right)
    current_request.reset(token)
    User.objects.filter(pk=user.pk).update(last_login=timezone.now())

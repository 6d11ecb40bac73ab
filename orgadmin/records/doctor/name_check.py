"""The doctor's check of usernames and email addresses.

A username or an email address must identify one person, in all its spellings.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db import models
from django.utils.translation import gettext_noop as _

from orgadmin.models import User
from orgadmin.models.addresses import fold_email, fold_username
from orgadmin.records.batches import BATCH
from orgadmin.records.doctor.doctor import Issue

SAME_NAME = _("same name")
OUTDATED_FORM = _("outdated normal form")
WRONG_ORDER = _("order of people")


def examine_names(*, fix: bool = False) -> Iterator[Issue]:
    """Yield outdated normal forms and sort names of users, and ambiguous names.

    During an upgrade, the previous release does not update normal forms and sort names.
    With `fix`, updates them, unless someone else has the same normal form. Reads all
    users.
    """
    fields = ("pk", "username", "email", "username_fold", "email_fold")
    names = ("first_name", "last_name", "sort_name")
    users = User.objects.only(*fields, *names).order_by("pk")
    for user in users.iterator(chunk_size=BATCH):
        if is_outdated(user):
            yield examine_user(user, fix=fix)
        if user.sort_name != user.make_sort_name():
            if fix:
                sort_name = user.make_sort_name()
                models.QuerySet(User).filter(pk=user.pk).update(sort_name=sort_name)
            yield Issue(WRONG_ORDER, f"“{user}” is not sorted by their current name")
    yield from note_usernames_of_others()


def is_outdated(user: User) -> bool:
    stored = (user.username_fold, user.email_fold)
    return stored != (fold_username(user.username), fold_email(user.email) or None)


def examine_user(user: User, *, fix: bool) -> Issue:
    """Return the issue of a user with outdated normal forms.

    With `fix`, updates them, unless someone else has the same normal form.
    """
    others = User.objects.exclude(pk=user.pk)
    namesake = others.find_by_username(user.username)
    if namesake is None and user.email:
        namesake = others.find_by_email(user.email)
    if namesake is not None:
        text = f"“{user}” and “{namesake}” have the same username or email address"
        return Issue(SAME_NAME, text, is_repairable=False)
    if fix:
        # Django's own update(), because no field relevant to security changes.
        models.QuerySet(User).filter(pk=user.pk, username=user.username).update(
            username_fold=fold_username(user.username),
            email_fold=fold_email(user.email) or None,
        )
    return Issue(
        OUTDATED_FORM, f"“{user}” cannot sign in with all spellings of their names"
    )


def note_usernames_of_others() -> Iterator[Issue]:
    """Yield notes about usernames that are the email address of someone else.

    When someone signs in with such a name, the owner of the address takes precedence.
    """
    owners = User.objects.filter(email_fold=models.OuterRef("username_fold"))
    owners = owners.exclude(pk=models.OuterRef("pk")).values("username")
    users = User.objects.filter(username__contains="@")
    users = users.annotate(owner=models.Subquery(owners[:1])).exclude(owner=None)
    for username, owner in users.order_by("pk").values_list("username", "owner"):
        text = (
            f"the username “{username}” is the email address of “{owner}”, who is meant"
            " first when someone signs in with it"
        )
        yield Issue("username of another", text, is_error=False)

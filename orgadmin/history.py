"""What the admin's own log tells, and to whom."""

import json

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import TextField
from django.db.models.functions import Cast
from django.utils import translation
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from .models import Contact, Organization, User
from .roles import CONFIDENTIAL_FIELDS


def list_recent(user):
    """Return the log entries that `user` may see: a superuser all, others their own about what they still may see."""
    entries = LogEntry.objects.select_related("content_type", "user")
    if user.is_superuser:
        return entries
    visible = Organization.objects.permitted(user).order_by().values(key=Cast("pk", TextField()))
    organizations = ContentType.objects.get_for_model(Organization)
    return entries.filter(user=user.pk, content_type=organizations, object_id__in=visible)


def redact(entries, model, organization, rights):
    """Return log entries about a `model`, in their order, as somebody with `rights` on `organization` may read them.

    Without "view_confidential" they name no confidential fields: the log stores labels, and only those of public fields
    are kept, so that the label that a field once had is not told either; an entry of which nothing is left is dropped.
    With "manage_members" they name its members; platform staff, and whoever was here once, have no names.
    """
    members = User.groups.through.objects.filter(group__in=organization.group_ids).values_list("user", flat=True)
    named = set(members) if "manage_members" in rights else set()
    public = {"": _public_labels(model)}  # "": the model's own fields; else what a part of the message is about
    public |= {_untranslated(related._meta.verbose_name): _public_labels(related) for related in (Contact,)}
    kept = []
    for entry in entries:
        if entry.user.is_staff or entry.user.is_superuser:
            entry.user = User(username=_("platform staff"))
        elif entry.user_id not in named:
            entry.user = User(username=_("one of its admins"))
        if "view_confidential" not in rights:
            parts = _redact_message(entry.change_message, public)
            if parts is None:
                continue
            entry.change_message = json.dumps(parts)
        kept.append(entry)
    return kept


def _redact_message(message, public):
    """Return the parts of a message that are public, or None where nothing is left of it."""
    try:
        parts = json.loads(message or "[]")
    except ValueError:
        parts = None
    if not isinstance(parts, list):
        return None  # text of unknown origin
    kept = [part for part in parts if _redact_part(part, public)]
    return kept if kept or not parts else None


def _redact_part(part, public):
    """Leave only public labels in a part, such as {"changed": {"fields": [...]}}; tell whether something is left."""
    if not isinstance(part, dict) or len(part) != 1:
        return False
    [(action, what)] = part.items()
    if not isinstance(what, dict) or not isinstance(what.get("name", ""), str):
        return False
    labels = public.get(what.get("name", ""))
    if labels is None or action != "changed":
        return labels is not None
    fields = what.get("fields")
    what["fields"] = (
        [label for label in fields if isinstance(label, str) and label in labels] if isinstance(fields, list) else []
    )
    return bool(what["fields"])


def log_label(field):
    """Return the label of a model field as Django's log stores it."""
    return capfirst(_untranslated(field.verbose_name))


def _untranslated(text):
    with translation.override(None):
        return str(text)


def _public_labels(model):
    return {log_label(field) for field in model._meta.fields if field.name not in CONFIDENTIAL_FIELDS}

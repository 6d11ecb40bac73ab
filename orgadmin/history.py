"""What the admin's own log tells, and to whom."""

import json

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import TextField
from django.db.models.functions import Cast
from django.utils import translation
from django.utils.text import capfirst

from .models import Organization
from .roles import CONFIDENTIAL_FIELDS


def list_recent(user):
    """Return the log entries that `user` may see: a superuser all, others their own about what they still may see."""
    entries = LogEntry.objects.select_related("content_type", "user")
    if user.is_superuser:
        return entries
    visible = Organization.objects.permitted(user).order_by().values(key=Cast("pk", TextField()))
    organizations = ContentType.objects.get_for_model(Organization)
    return entries.filter(user=user.pk, content_type=organizations, object_id__in=visible)


def redact(entries):
    """Return the entries, oldest first as given, as somebody may read them who may not see confidential fields.

    The log stores labels, not names. Only those of public fields are kept, so that the label that a confidential
    field once had is not told either; an entry of which nothing is left is dropped.
    """
    public = _public_labels()
    kept = []
    for entry in entries:
        parts = _redact_message(entry.change_message, public)
        if parts is not None:
            entry.change_message = json.dumps(parts)
            kept.append(entry)
    return kept


def _redact_message(message, public):
    try:
        parts = json.loads(message or "[]")
    except ValueError:
        return None  # text of unknown origin
    kept = []
    for part in parts if isinstance(parts, list) else []:
        fields = part.get("changed", {}).get("fields")
        if fields is not None:
            fields = [label for label in fields if label in public]
            if not fields:
                continue
            part = {"changed": {**part["changed"], "fields": fields}}
        kept.append(part)
    return kept if kept or not parts else None


def log_label(field):
    """Return the label of a model field as Django's log stores it."""
    with translation.override(None):
        return str(capfirst(field.verbose_name))


def _public_labels():
    return {log_label(field) for field in Organization._meta.fields if field.name not in CONFIDENTIAL_FIELDS}

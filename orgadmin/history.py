"""What the admin's own log and the history of fields tell, and to whom; and putting back what was."""

import json
from itertools import pairwise

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import TextField
from django.db.models.functions import Cast
from django.utils import timezone, translation
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from .models import Contact, Organization, User
from .roles import CONFIDENTIAL_FIELDS, ROLES


def list_recent(user):
    """Return the log entries that `user` may see: a superuser all, others their own about what they still may see."""
    entries = LogEntry.objects.select_related("content_type", "user")
    if user.is_superuser:
        return entries
    visible = Organization.objects.permitted(user).order_by().values(key=Cast("pk", TextField()))
    organizations = ContentType.objects.get_for_model(Organization)
    return entries.filter(user=user.pk, content_type=organizations, object_id__in=visible)


def list_history(entries, model, organization, rights):
    """Return log entries about a `model`, newest first, and among those of Organization the changes of its fields.
    These are unsaved log entries that say what was and what is since, in place of what the log says of the same. They
    tell of confidential fields only with the right."""
    if model is Organization:
        records = list(organization.history.select_related("history_user").order_by("history_id"))
        since = records[0].history_date if records else timezone.now()
        entries = [entry for entry in entries if entry.action_time < since or _strip(entry)]
        entries += _describe_changes(records, rights)
    return sorted(entries, key=lambda entry: entry.action_time, reverse=True)


def _describe_changes(records, rights):
    for before, record in pairwise([None, *records]):
        lines = [_("Added.")] if record.history_type == "+" else describe_difference(before, record, rights)
        if lines:
            user = record.history_user or User(username=_("not known"))
            entry = LogEntry(action_time=record.history_date, user=user, change_message="\n".join(lines))
            entry.record = record
            yield entry


def describe_difference(before, after, rights):
    """Return a line for each field in which two states of an organization differ, as far as `rights` let one see it."""
    lines = []
    for field in Organization.history.model.tracked_fields if before else ():
        old, new = (getattr(state, field.name) or "" for state in (before, after))
        if old != new and ("view_confidential" in rights or field.name not in CONFIDENTIAL_FIELDS):
            values = {"field": capfirst(field.verbose_name), "old": old, "new": new}
            lines.append(_("%(field)s: “%(old)s” → “%(new)s”") % values)
    return lines


@transaction.atomic
def put_back(organization, record, *, actor):
    """Give an organization the values of an earlier record of its history; return it as it is now.
    Raises ValidationError where they are no longer possible, such as a reference that another organization has now."""
    organization = Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
    for field in record.tracked_fields:
        setattr(organization, field.attname, getattr(record, field.attname))
    organization.full_clean(exclude=[role.key for role in ROLES])
    organization._history_user = actor
    organization.save()
    return organization


def _strip(entry):
    """Leave out of a log entry what it says of the object's own fields; tell whether something is left."""
    if not entry.change_message.startswith("["):
        return True
    kept = [part for part in _parse(entry.change_message) if "deleted" in part or "name" in [*part.values()][0]]
    entry.change_message = json.dumps(kept)
    return bool(kept)


def redact(entries, model, organization, rights):
    """Return log entries about a `model`, in their order, as somebody with `rights` on `organization` may read them.
    Without "view_confidential" they name no confidential fields: the log stores labels, and only those of public fields
    are kept, so that the label that a field once had is not told either; an entry of which nothing is left is dropped.
    With "manage_members" they name its members; platform staff, and whoever was here once, have no names."""
    members = User.groups.through.objects.filter(group__in=organization.group_ids).values_list("user", flat=True)
    named = set(members) if "manage_members" in rights else set()
    # "": the model's own fields; else what a part of the message is about
    public = {
        name: [log_label(field) for field in model._meta.fields if field.name not in CONFIDENTIAL_FIELDS]
        for name, model in (("", model), (Contact._meta.verbose_name_raw, Contact))
    }
    kept = []
    for entry in entries:
        if entry.user.is_staff or entry.user.is_superuser:
            entry.user = User(username=_("platform staff"))
        elif entry.user.pk and entry.user.pk not in named:
            entry.user = User(username=_("one of its admins"))
        if "view_confidential" not in rights and not hasattr(entry, "record"):
            parts = [part for part in _parse(entry.change_message) if _redact_part(part, public)]
            if not parts and (entry.change_message or "[]") != "[]":
                continue
            entry.change_message = json.dumps(parts)
        kept.append(entry)
    return kept


def _parse(message):
    """Return the parts of a message, such as {"changed": {"name": …, "fields": […]}}; of other texts, none."""
    try:
        parts = json.loads(message or "[]")
    except ValueError:
        return []
    parts = parts if isinstance(parts, list) else []
    return [part for part in parts if isinstance(part, dict) and [type(what) for what in part.values()] == [dict]]


def _redact_part(part, public):
    """Leave only public labels in a part; tell whether something is left."""
    [(action, what)] = part.items()
    labels = public.get(str(what.get("name", "")), ())
    if action == "changed":
        fields = what["fields"] if isinstance(what.get("fields"), list) else []
        labels = what["fields"] = [label for label in fields if label in labels]
    return bool(labels)


def log_label(field):
    """Return the label of a model field as Django's log stores it."""
    with translation.override(None):
        return capfirst(str(field.verbose_name))

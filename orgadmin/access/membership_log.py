"""The ledger: who joined and left which organization, when, by whom. Rows are added, and never changed or removed."""

from datetime import datetime, time

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import NotSupportedError, models
from django.db.models import Exists, OuterRef, Q
from django.db.models.signals import m2m_changed
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgadmin.access.roles import ROLES


class Event(models.TextChoices):
    JOINED = "joined", _("joined")  # through `membership`: the one role from then on
    FOUND = (
        "found",
        _("found"),
    )  # there when the ledger began, or come by another way: beside any other role
    LEFT = "left", _("left")
    INVITED = "invited", _("invited")
    WITHDRAWN = "withdrawn", _("invitation withdrawn")


def refuse(*args, **kwargs):
    raise NotSupportedError(
        "The ledger is append-only: add an event that says what is so now."
    )


class MembershipEventQuerySet(models.QuerySet):
    def members_on(self, moment=None):
        """Return the events that made somebody a member who still was one at `moment`, an aware datetime, or is now.
        A membership that is older than the ledger counts from the day on which the ledger began."""
        until = Q(at__lte=moment) if moment else Q()
        same = {name: OuterRef(name) for name in ("organization_key", "user_key")}
        later = self.model.objects.filter(until, **same, pk__gt=OuterRef("pk"))
        ended = later.filter(
            Q(event=Event.JOINED)
            | Q(event__in=[Event.LEFT, Event.FOUND], role=OuterRef("role"))
        )
        return self.filter(until, ~Exists(ended), event__in=[Event.JOINED, Event.FOUND])

    update = delete = refuse


def end_of_day(date):
    """Return the last moment of a date, in the time zone of the site."""
    return timezone.make_aware(datetime.combine(date, time.max))


def record(event, memberships, *, actor=None, reason=""):
    """Record `event` for those of `memberships`, a queryset of User.groups.through, that are of organizations."""
    events, model = [], apps.get_model("orgadmin", "Organization")
    for role in ROLES:
        path = f"group__{model._meta.get_field(role.key).related_query_name()}"
        rows = memberships.filter(**{f"{path}__isnull": False})
        for user, username, pk, name in rows.values_list(
            "user", "user__username", f"{path}__pk", f"{path}__name"
        ):
            events.append((event, (user, username), (pk, name), role))
    append(events, actor=actor, reason=reason)


def append(events, *, actor=None, reason=""):
    """Add [(event, (user's key, name), (organization's key, name), role)] to the ledger; `actor` is a User or None."""
    names = (
        "event",
        "user_key",
        "user_name",
        "organization_key",
        "organization_name",
        "role",
    )
    same = {
        "actor_key": actor and actor.pk,
        "actor_name": str(actor or ""),
        "reason": reason,
    }
    rows = [
        (event, *user, *organization, role.key)
        for event, user, organization, role in events
    ]
    model = apps.get_model("orgadmin", "MembershipEvent")
    model.objects.bulk_create(
        [model(**dict(zip(names, row)), **same) for row in rows], batch_size=1_000
    )


def record_other_ways(sender, instance, action, reverse, pk_set, using, **kwargs):
    """Record what reaches `user.groups` by another way than `membership`, which writes the table behind it.
    Django's related managers ask no model: there is nothing but the signal to hear of it. Who did it is not known."""
    if action in ("post_add", "pre_remove", "pre_clear"):
        this, other = ("group", "user") if reverse else ("user", "group")
        memberships = sender.objects.using(using).filter(**{this: instance.pk})
        if pk_set is not None:
            memberships = memberships.filter(**{f"{other}__in": pk_set})
        record(Event.FOUND if action == "post_add" else Event.LEFT, memberships)


def listen(on=True):
    (m2m_changed.connect if on else m2m_changed.disconnect)(
        record_other_ways, sender=get_user_model().groups.through
    )

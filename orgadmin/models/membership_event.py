"""A row of the membership log."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgadmin.access.membership_log import Event, MembershipEventQuerySet, refuse
from orgadmin.access.roles import ROLES


class MembershipEvent(models.Model):
    """A line of the ledger. Keys and names are plain values: nobody's deletion is blocked by it, or erases it."""

    at = models.DateTimeField(_("when"), default=timezone.now)
    event = models.CharField(_("event"), max_length=20, choices=Event.choices)
    user_key = models.BigIntegerField(
        _("user ID"), null=True
    )  # None: invited, and perhaps not known yet
    user_name = models.CharField(
        _("person"), max_length=254
    )  # the user name, or the e-mail of somebody invited
    organization_key = models.BigIntegerField(_("organization ID"))
    organization_name = models.CharField(_("organization"), max_length=255)
    role = models.CharField(
        _("role"), max_length=20, choices=[(role.key, role.label) for role in ROLES]
    )
    actor_key = models.BigIntegerField(
        _("by user ID"), null=True
    )  # None: a command, or not known
    actor_name = models.CharField(_("by"), max_length=150, blank=True)
    reason = models.TextField(_("reason"), blank=True)

    objects = MembershipEventQuerySet.as_manager()

    class Meta:
        verbose_name, verbose_name_plural = (
            _("membership event"),
            _("membership ledger"),
        )
        ordering = ["-pk"]
        base_manager_name = "objects"
        indexes = [
            models.Index(
                fields=["organization_key", "user_key", "id"], name="event_organization"
            ),
            models.Index(fields=["user_key"], name="event_user"),
        ]

    def __str__(self):
        return f"{self.user_name} {self.get_event_display()} {self.organization_name}"

    def save(self, **kwargs):
        return super().save(**kwargs) if self._state.adding else refuse()

    delete = refuse

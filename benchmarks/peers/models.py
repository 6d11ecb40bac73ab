"""The same record twice more: kept the usual way, and in tables of the rows of one person."""

from django.contrib.auth.models import Group
from django.db import models, transaction
from guardian.shortcuts import assign_perm


class Record(models.Model):
    name = models.CharField(max_length=255)
    reference = models.CharField(max_length=100, unique=True, null=True, blank=True)
    website = models.URLField(max_length=500, blank=True)
    email = models.EmailField(blank=True)
    phone = models.CharField(max_length=50, blank=True)
    address = models.TextField(blank=True)
    tax_id = models.CharField(max_length=50, blank=True)
    notes = models.TextField(blank=True)

    class Meta:
        abstract = True

    def __str__(self):
        return self.name


class UsualOrganization(Record):
    """A loop that looks for a name, one group, guardian's generic permissions."""

    admin = models.OneToOneField(Group, on_delete=models.PROTECT, related_name="+")

    def save(self, *args, **kwargs):
        with transaction.atomic():
            if self.admin_id is None:
                name, number = f"{self.name[:50].strip()} Admin", 0
                while Group.objects.filter(name=name).count() > 0:
                    number += 1
                    name = f"{self.name[:50].strip()} {number} Admin"
                self.admin = Group.objects.create(name=name)
            super().save(*args, **kwargs)
            for action in ("view", "change"):
                assign_perm(f"peers.{action}_usualorganization", self.admin, self)


class Contact(models.Model):
    name = models.CharField(max_length=255)
    role = models.CharField(max_length=100, blank=True)
    email = models.EmailField(blank=True)
    phone = models.CharField(max_length=50, blank=True)

    class Meta:
        abstract = True

    def __str__(self):
        return self.name


def _make_floor(count):
    """Return the models for the rows of a person who looks after `count` organizations."""
    organization = type(f"Floor{count}", (Record,), {"__module__": __name__})
    key = models.ForeignKey(
        organization, on_delete=models.CASCADE, related_name="contacts"
    )
    return organization, type(
        f"FloorContact{count}",
        (Contact,),
        {"__module__": __name__, "organization": key},
    )


FLOORS = {count: _make_floor(count) for count in (1, 10, 1_000)}

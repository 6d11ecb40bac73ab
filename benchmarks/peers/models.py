"""The tables that ours are compared with.

Two more kinds of the same organization: kept the usual way, and alone in a table that
has nothing but the organizations of one person.
"""

from dataclasses import dataclass

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


class Contact(models.Model):
    name = models.CharField(max_length=255)
    role = models.CharField(max_length=100, blank=True)
    email = models.EmailField(blank=True)
    phone = models.CharField(max_length=50, blank=True)

    class Meta:
        abstract = True

    def __str__(self):
        return self.name


class UsualOrganization(Record):
    """The usual way: one group, with a name found by trial, and generic permissions."""

    admin = models.OneToOneField(Group, on_delete=models.PROTECT, related_name="+")

    def save(self, *args, **kwargs):
        with transaction.atomic():
            if self.admin_id is None:
                self.admin = self.create_group()
            super().save(*args, **kwargs)
            for action in ("view", "change"):
                assign_perm(f"peers.{action}_usualorganization", self.admin, self)

    def create_group(self):
        base = self.name[:50].strip()
        name = f"{base} Admin"
        number = 0
        while Group.objects.filter(name=name).count() > 0:
            number += 1
            name = f"{base} {number} Admin"
        return Group.objects.create(name=name)


@dataclass(frozen=True)
class Floor:
    """The tables for one person, which make pages as cheap as possible."""

    organization: type[models.Model]
    contact: type[models.Model]


class Floor1(Record):
    pass


class FloorContact1(Contact):
    organization = models.ForeignKey(
        Floor1, on_delete=models.CASCADE, related_name="contacts"
    )


class Floor10(Record):
    pass


class FloorContact10(Contact):
    organization = models.ForeignKey(
        Floor10, on_delete=models.CASCADE, related_name="contacts"
    )


class Floor1000(Record):
    pass


class FloorContact1000(Contact):
    organization = models.ForeignKey(
        Floor1000, on_delete=models.CASCADE, related_name="contacts"
    )


# By the number of organizations that the person looks after.
FLOORS = {
    1: Floor(Floor1, FloorContact1),
    10: Floor(Floor10, FloorContact10),
    1_000: Floor(Floor1000, FloorContact1000),
}

"""Querysets of people and organizations: set-based creation, update and deletion."""

from collections import Counter, defaultdict

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import NotSupportedError, connections, models, transaction
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from orgadmin.access.groups import create_groups, execute, grant_permissions, places
from orgadmin.access.membership_log import Event, record
from orgadmin.access.roles import ROLES
from orgadmin.access.rule import RuleQuerySet

BATCH = 1_000  # rows


def _lock_keys(queryset, **options):
    """Return the keys of a queryset's rows, each once, locked: PostgreSQL locks no rows that are joined or distinct."""
    rows = queryset.model._base_manager.using(queryset.db).filter(
        pk__in=queryset.order_by().values("pk")
    )
    return list(
        rows.order_by("pk").select_for_update(**options).values_list("pk", flat=True)
    )


class UserQuerySet(models.QuerySet):
    def delete(self, *, actor=None):
        """Delete people; the ledger says that they left."""
        self._for_write = True
        with transaction.atomic(using=self.db):
            _lock_keys(
                self
            )  # as `membership` locks whom it gives a role, so that nobody joins meanwhile
            memberships = self.model.groups.through.objects.using(self.db).filter(
                user__in=self.order_by().values("pk")
            )
            record(
                Event.LEFT,
                memberships,
                actor=actor,
                reason=_("The account was deleted."),
            )
            return super().delete()

    delete.queryset_only = True

    def with_email(self, email):
        """Return the person who has this e-mail address, or None. Compared again, both ways, as databases take some
        letters for the small form of others, such as Kelvin's sign for a k, and each is another owner's mailbox."""
        found = self.filter(email__iexact=email).exclude(email="")
        same = (email.lower(), email.upper())
        return next(
            (
                user
                for user in found
                if (user.email.lower(), user.email.upper()) == same
            ),
            None,
        )


class OrganizationQuerySet(RuleQuerySet):
    def bulk_create(
        self,
        objs,
        batch_size=None,
        ignore_conflicts=False,
        update_conflicts=False,
        update_fields=(),
        unique_fields=(),
    ):
        """Create organizations with their groups and permissions: some ten queries per batch of `batch_size` rows."""
        if ignore_conflicts or update_conflicts:
            text = "A skipped or updated row would leave its groups behind. Look up what exists, and create the rest."
            raise NotSupportedError(text)
        if batch_size is not None and batch_size <= 0:
            raise ValueError("Batch size must be a positive integer.")
        objs, size = list(objs), min(batch_size or BATCH, BATCH)
        self._for_write = True
        with self.model.created_whole(objs), transaction.atomic(using=self.db):
            for start in range(0, len(objs), size):
                batch = objs[start : start + size]
                create_groups(batch, using=self.db)
                super().bulk_create(batch, batch_size=size)
                self.complete(batch)
        return objs

    def update(self, **kwargs):
        """Update columns, but for the groups: an organization keeps those that it got."""
        if groups := {
            name for role in ROLES for name in (role.key, role.attname)
        } & set(kwargs):
            raise ValueError(
                f"The groups of organizations cannot be exchanged: {', '.join(sorted(groups))}."
            )
        self._for_write = True
        with transaction.atomic(using=self.db):
            pks, updated = _lock_keys(self, no_key=True), super().update(**kwargs)
            for start in range(0, len(pks), BATCH):
                batch = pks[start : start + BATCH]
                self.write_search_text(batch, set(kwargs))
                self.keep_history(batch, "~")
        return updated

    def delete(self, *, actor=None):
        """Delete organizations with both groups, all memberships of these, and all permissions."""
        self._not_support_combined_queries("delete")
        if self.query.is_sliced:
            raise TypeError("Cannot use 'limit' or 'offset' with delete().")
        self._for_write = True
        deleted = Counter()
        with transaction.atomic(using=self.db):
            pks = _lock_keys(self)  # what is read here is what is deleted below
            for start in range(0, len(pks), BATCH):
                batch = self.model._base_manager.using(self.db).filter(
                    pk__in=pks[start : start + BATCH]
                )
                groups = [
                    group for organization in batch for group in organization.group_ids
                ]
                memberships = (
                    get_user_model()
                    .groups.through.objects.using(self.db)
                    .filter(group__in=groups)
                )
                record(
                    Event.LEFT,
                    memberships,
                    actor=actor,
                    reason=_("The organization was deleted."),
                )
                self.keep_history([row.pk for row in batch], "-", actor)
                deleted += Counter(models.QuerySet.delete(batch)[1])
                deleted += Counter(
                    Group.objects.using(self.db).filter(pk__in=groups).delete()[1]
                )
        self._result_cache = None
        return deleted.total(), dict(deleted)

    delete.queryset_only = True

    def write_search_text(self, pks, written):
        """Compute the search text anew of what was written past save(): one prepared statement, sent for all rows."""
        field = self.model._meta.get_field("search_text")
        if written.intersection(field.sources):
            rows = self.model._base_manager.using(self.db).filter(pk__in=pks)
            texts = [
                (field.pre_save(organization, False), organization.pk)
                for organization in rows
            ]
            with connections[self.db].cursor() as cursor:
                cursor.executemany(
                    f"UPDATE {self.model._meta.db_table} SET search_text = %s WHERE id = %s",
                    texts,
                )

    def complete(self, organizations):
        """Grant the permissions of organizations that were inserted just now, and begin their histories."""
        authors = defaultdict(list)
        for organization in organizations:
            authors[getattr(organization, "_history_user", None)].append(
                organization.pk
            )
        records = [self._record(pks, "+", user) for user, pks in authors.items()]
        grant_permissions(self.model, organizations, using=self.db, also=records)

    def keep_history(self, pks, kind, user=None):
        """Add a record of what is stored of each to its history: "~" changed, "-" deleted."""
        execute([self._record(pks, kind, user)], using=self.db)

    def _record(self, pks, kind, user):
        ops, record = (
            connections[self.db].ops,
            apps.get_model("orgadmin", "HistoricalOrganization"),
        )
        columns = ", ".join(
            ops.quote_name(field.column) for field in record.tracked_fields
        )
        into = f"INSERT INTO {record._meta.db_table} ({columns}, history_date, history_type, history_user_id)"
        rows = f"SELECT {columns}, %s, %s, %s FROM {self.model._meta.db_table} WHERE id IN ({places(pks)}) ORDER BY id"
        return f"{into} {rows}", [
            ops.adapt_datetimefield_value(timezone.now()),
            kind,
            user and user.pk,
            *pks,
        ]

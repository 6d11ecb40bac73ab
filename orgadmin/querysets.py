"""OrganizationQuerySet: the rule who may do what with which organization, and set-based creation and deletion."""

from collections import Counter, defaultdict, namedtuple

from django.apps import apps
from django.contrib.auth import get_permission_codename, get_user_model
from django.contrib.auth.models import Group
from django.db import NotSupportedError, connections, models, transaction
from django.db.models.expressions import RawSQL
from django.utils import timezone
from django.utils.translation import (
    gettext_noop as _,
)  # reasons are translated where they are shown

from .groups import create_groups, execute, grant_permissions, places
from .ledger import Event, record
from .roles import ACTIONS, ROLES

BATCH = 1_000  # rows
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
PERMISSIONS = "auth_permission p JOIN django_content_type t ON t.id=content_type_id WHERE app_label = %s AND model = %s"

# Where a right comes from: "superuser", "model" (a model-level permission), "group" (its id as `group`) or "person".
Source = namedtuple("Source", "kind group", defaults=[None])


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


class OrganizationQuerySet(models.QuerySet):
    # THE RULE: who may do what with which organization. Every page, check and command asks the two methods here.
    # A right, named by a bare verb such as "change", comes from three places: superuser; staff with a model-level
    # permission; an object permission held by the user or by one of the user's groups. It counts only together with
    # "view", and never for somebody who is not active.

    def permitted(self, user, action="view"):
        """Return the organizations on which `user` holds the right `action`."""
        if not user.is_active:  # nor is a visitor
            return self.none()
        organizations = self
        for right in dict.fromkeys(["view", action]):
            if not self._find_source_everywhere(user, right):
                granted = self._select_grants(
                    "content_object_id", "user_id = %s", [user.pk], right
                )
                organizations = organizations.filter(pk__in=RawSQL(*granted))
        return organizations

    def permitted_actions(self, user, pk=None):
        """Return the rights that `user` holds on the organization `pk`, None: on every one. One query, and staff's."""
        if not user.is_active:  # nor is a visitor
            return frozenset()
        found = self.find_sources([user], [] if pk is None else [pk])[user.pk, pk]
        return frozenset(found if "view" in found else ())

    def find_sources(self, users, pks):
        """Return {(user id, pk): {right: [Source]}} of what gives `users`, active or made so, rights on organizations,
        `pks`, and None: on every one. A right without "view" beside it is none. One query, besides those for staff."""
        sources = {}
        for user in users:
            everywhere = {
                act: source
                for act in ACTIONS
                if (source := self._find_source_everywhere(user, act))
            }
            for pk in (None, *pks):
                sources[user.pk, pk] = {
                    action: [source] for action, source in everywhere.items()
                }
        users = [user.pk for user in users if not user.is_superuser]
        if pks and users:
            actions = {self._codename(action): action for action in ACTIONS}
            codename = f"(SELECT codename FROM {PERMISSIONS} AND p.id = permission_id)"
            columns = f"user_id, content_object_id, {codename}, {{group}}"
            condition = (
                f"user_id IN ({places(users)}) AND content_object_id IN ({places(pks)})"
            )
            parameters = [
                self.model._meta.app_label,
                self.model._meta.model_name,
                *users,
                *pks,
            ]
            with connections[self.db].cursor() as cursor:
                cursor.execute(*self._select_grants(columns, condition, parameters))
                for user, pk, codename, group in cursor.fetchall():
                    if action := actions.get(codename):
                        sources[user, pk].setdefault(action, []).append(
                            Source("group" if group else "person", group)
                        )
        return sources

    def find_holders(self, pk):
        """Return the users who may view the organization `pk`, or might were they active: permitted() turned round."""
        users, view = (
            get_user_model().objects,
            f"{self.model._meta.app_label}.{self._codename('view')}",
        )
        granted = users.filter(
            pk__in=RawSQL(
                *self._select_grants("user_id", "content_object_id = %s", [pk], "view")
            )
        )
        everywhere = users.with_perm(
            view, is_active=None, include_superusers=False, backend=MODEL_BACKEND
        )
        sources = (
            users.filter(is_superuser=True),
            everywhere.filter(is_staff=True),
            granted,
        )
        return users.filter(
            pk__in=models.QuerySet.union(*(source.values("pk") for source in sources))
        )

    def _codename(self, action):
        return get_permission_codename(action, self.model._meta)

    def _find_source_everywhere(self, user, action):
        if user.is_superuser:
            return Source("superuser")
        permission = f"{self.model._meta.app_label}.{self._codename(action)}"
        return Source("model") if user.is_staff and user.has_perm(permission) else None

    def _select_grants(self, columns, condition, parameters, right=None):
        """Return SQL for what was granted to people's groups and to themselves, and its parameters.
        As text, as the ORM takes longer to write it than a database to answer it; PostgreSQL reads all for an OR."""
        if right:
            condition += f" AND permission_id = (SELECT p.id FROM {PERMISSIONS} AND codename = %s)"
            parameters = [
                *parameters,
                *self.model._meta.label_lower.split("."),
                self._codename(right),
            ]
        grants = map(self.model._meta.get_field, ("group_grants", "user_grants"))
        group_grants, user_grants = (
            relation.related_model._meta.db_table for relation in grants
        )
        memberships = get_user_model().groups.through._meta.db_table
        sources = (
            (f"{memberships} JOIN {group_grants} USING (group_id)", "group_id"),
            (user_grants, "NULL"),
        )
        sql = [
            f"SELECT {columns.format(group=group)} FROM {source} WHERE {condition}"
            for source, group in sources
        ]
        return " UNION ALL ".join(sql), 2 * parameters

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

"""OrganizationQuerySet: the rule who may do what with which organization, and set-based creation and deletion."""

from collections import Counter
from dataclasses import dataclass

from django.contrib.auth import get_permission_codename, get_user_model
from django.contrib.auth.models import Permission
from django.db import NotSupportedError, models, transaction

from .groups import create_groups, delete_groups
from .permissions import grant_permissions
from .roles import ACTIONS, ROLES

BATCH = 1_000  # rows


@dataclass(frozen=True)
class Source:
    """Where a right comes from: "superuser", "model" (a model-level permission), "group" or "person" (a grant)."""

    kind: str
    group: int | None = None  # the id of the group that holds the grant


def _is_active(user):
    return user.is_authenticated and user.is_active


class OrganizationQuerySet(models.QuerySet):
    # THE RULE: who may do what with which organization. Every page, check and command asks the two methods here.
    #
    # A right, named by a bare verb such as "change", comes from three places: superuser; staff with a model-level
    # permission; an object permission held by the user or by one of the user's groups. It counts only together with
    # "view", and never for somebody who is not active.

    def permitted(self, user, action="view"):
        """Return the organizations on which `user` holds the right `action`."""
        if not _is_active(user):
            return self.none()
        organizations = self
        for right in dict.fromkeys(["view", action]):
            if not self._find_source_everywhere(user, right):
                permission = self._permissions().filter(codename=self._codename(right)).values("pk")[:1]
                groups, persons = (
                    grants.filter(permission=permission).values("content_object_id") for grants in self._grants(user)
                )
                # UNION ALL: PostgreSQL answers `pk IN (...) OR pk IN (...)` by reading the whole table.
                organizations = organizations.filter(pk__in=groups.union(persons, all=True))
        return organizations

    def permitted_actions(self, user, pk=None):
        """Return the rights that `user` holds on the organization `pk`; without one, those held on every organization.

        One query for an organization, besides those for the permissions of staff.
        """
        rights = self.find_sources(user, pk) if _is_active(user) else {}
        return frozenset(rights if "view" in rights else ())

    def find_sources(self, user, pk=None):
        """Return {right: [Source]} of all that would give `user` rights on the organization `pk`, were they active.

        A right without "view" beside it is none.
        """
        sources = {action: [source] for action in ACTIONS if (source := self._find_source_everywhere(user, action))}
        if pk is not None and not user.is_superuser:
            actions = {self._codename(action): action for action in ACTIONS}
            groups, persons = (grants.filter(content_object=pk) for grants in self._grants(user))
            groups = groups.filter(permission__in=self._permissions()).values_list("permission__codename", "group")
            nobody = models.Value(None, models.IntegerField())
            persons = persons.filter(permission__in=self._permissions()).values_list("permission__codename", nobody)
            for codename, group in groups.union(persons, all=True):
                if action := actions.get(codename):
                    sources.setdefault(action, []).append(Source("group" if group else "person", group))
        return sources

    def _codename(self, action):
        return get_permission_codename(action, self.model._meta)

    def _permissions(self):
        opts = self.model._meta
        return Permission.objects.filter(content_type__app_label=opts.app_label, content_type__model=opts.model_name)

    def _find_source_everywhere(self, user, action):
        if user.is_superuser:
            return Source("superuser")
        permission = f"{self.model._meta.app_label}.{self._codename(action)}"
        return Source("model") if user.is_staff and user.has_perm(permission) else None

    def _grants(self, user):
        """Return the object permissions that the user's groups hold, and those that the user holds."""
        group_grants, user_grants = (
            self.model._meta.get_field(name).related_model.objects for name in ("group_grants", "user_grants")
        )
        memberships = get_user_model().groups.through.objects.filter(user=user.pk)
        return group_grants.filter(group__in=memberships.values("group")), user_grants.filter(user=user.pk)

    def bulk_create(
        self,
        objs,
        batch_size=None,
        ignore_conflicts=False,
        update_conflicts=False,
        update_fields=None,
        unique_fields=None,
    ):
        """Create organizations with their groups and permissions: some ten queries per batch of `batch_size` rows."""
        if ignore_conflicts or update_conflicts:
            raise NotSupportedError(
                "Organizations own groups, so that a skipped or updated row would leave groups behind."
                " Look up the existing rows first, and create only the new ones."
            )
        if batch_size is not None and batch_size <= 0:
            raise ValueError("Batch size must be a positive integer.")
        objs, size = list(objs), batch_size or BATCH
        before = [organization.remember() for organization in objs]
        for organization in objs:
            organization.refuse_foreign_groups()
        self._for_write = True
        try:
            with transaction.atomic(using=self.db):
                for start in range(0, len(objs), size):
                    batch = objs[start : start + size]
                    create_groups(batch, using=self.db)
                    super().bulk_create(batch, batch_size=size)
                    grant_permissions(self.model, [organization.pk for organization in batch], using=self.db)
        except BaseException:
            for organization, state in zip(objs, before):
                organization.recall(state)
            raise
        return objs

    bulk_create.alters_data = True

    def update(self, **kwargs):
        """Update columns, but for the groups: an organization keeps those that it got."""
        if groups := {name for role in ROLES for name in (role.key, role.attname)} & set(kwargs):
            raise ValueError(f"The groups of organizations cannot be exchanged: {', '.join(sorted(groups))}.")
        return super().update(**kwargs)

    update.alters_data = True

    def delete(self):
        """Delete organizations with both groups, all memberships of these, and all permissions."""
        self._not_support_combined_queries("delete")
        if self.query.is_sliced:
            raise TypeError("Cannot use 'limit' or 'offset' with delete().")
        self._for_write = True
        deleted = Counter()
        with transaction.atomic(using=self.db):
            ids = list(self.order_by().values_list("pk", flat=True))
            for start in range(0, len(ids), BATCH):
                batch = self.model._base_manager.using(self.db).filter(pk__in=ids[start : start + BATCH])
                # Locked, so that what is read here is what is deleted below.
                rows = list(batch.select_for_update().values_list("pk", *[role.attname for role in ROLES]))
                groups = [group for _, *groups in rows for group in groups]
                deleted += Counter(models.QuerySet.delete(batch)[1])
                deleted += Counter(delete_groups(groups, using=self.db))
        self._result_cache = None
        return deleted.total(), dict(deleted)

    delete.alters_data = True
    delete.queryset_only = True

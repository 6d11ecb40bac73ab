"""The rule: who has which permission on which organization. Everything asks it."""

from collections import namedtuple

from django.contrib.auth import get_permission_codename, get_user_model
from django.db import connections, models
from django.db.models.expressions import RawSQL

from orgadmin.access.groups import places
from orgadmin.access.roles import ACTIONS

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


PERMISSIONS = "auth_permission p JOIN django_content_type t ON t.id=content_type_id WHERE app_label = %s AND model = %s"


# Where a right comes from: "superuser", "model" (a model-level permission), "group" (its id as `group`) or "person".
Source = namedtuple("Source", "kind group", defaults=[None])


class RuleQuerySet(models.QuerySet):
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

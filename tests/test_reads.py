"""Each place that reads memberships has decided whether ended ones count.

A membership ends by its date, and its row remains for a minute or so. Code that reads
the rows without their end would still count it. So each statement that reads them calls
`current()`, or says in the comment above it what it does with ended ones.
"""

import ast
from pathlib import Path

from django.conf import settings
from django.test import SimpleTestCase, tag

APP = Path(settings.BASE_DIR, "orgadmin")

# Django's names for the relation, from either side, and the model.
RELATIONS = {"groups", "user_set", "memberships"}
TABLE = "orgadmin_user_groups"
DECIDED = (
    "current()",
    "groups_of(",
    "users_in(",
    "ended",
    "expired",
    "is_current(",
)

# Attributes with these names that are not relations: what a provider says.
NOT_OF_USERS = {
    "identity.groups",
    "person.groups",
    "target.groups",
    # Pairs that `find_memberships()` has read.
    "stored.memberships",
}

# What only writes rows.
WRITES = (".bulk_create", ".add", ".remove")

# These define the relation, write it, or are about signals of Django's managers, which
# say themselves which rows were changed.
EXCEPT = {
    "access/membership_log.py": "hears what Django's managers change",
    "access/permission_log.py": "hears what Django's managers change",
    "models/membership.py": "defines what the others call",
    "operations/required_relation.py": "counts what a migration deletes",
    "operations/role_holders.py": "stores when memberships end",
}


def is_membership_read(node):
    """Return whether a node of the syntax tree reads memberships."""
    if isinstance(node, ast.Attribute):
        text = ast.unparse(node)
        if node.attr in RELATIONS:
            return text not in NOT_OF_USERS
        return text.endswith(("Membership.objects", "Membership._base_manager"))
    if isinstance(node, ast.keyword):
        return is_path(node.arg or "") and node.arg != "groups_claim"
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return TABLE in node.value or is_path(node.value)
    return False


def is_path(text):
    """Return whether the path of a queryset leads along the relation."""
    if not text.replace("_", "").isalnum() or "__" not in text:
        return False
    parts = text.split("__")
    through_group = "user" in parts[1:] and parts[0] in {"admin", "reviewer", "group"}
    return through_group or bool(RELATIONS.intersection(parts))


def find_statements(tree):
    """Yield the innermost statements, and the definitions of constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and not hasattr(node, "body"):
            yield node
        elif isinstance(node, ast.stmt):
            # The condition of an `if`, or what a loop goes through.
            for name in ("test", "iter", "items"):
                part = getattr(node, name, None)
                if isinstance(part, ast.AST):
                    yield part


def walk_reads(statement):
    """Yield the nodes of a statement, except what it calls only to write rows."""
    yield statement
    for node in ast.iter_child_nodes(statement):
        if isinstance(node, ast.Attribute) and f".{node.attr}" in WRITES:
            continue
        yield from walk_reads(node)


def find_undecided(source):
    """Return the statements that read memberships and do not say which."""
    lines = source.splitlines()
    found = []
    for statement in find_statements(ast.parse(source)):
        if not any(is_membership_read(node) for node in walk_reads(statement)):
            continue
        text = ast.get_source_segment(source, statement)
        if isinstance(statement, ast.Expr) and isinstance(
            statement.value, ast.Constant
        ):
            # A docstring.
            continue
        above = statement.lineno - 2
        while above >= 0 and lines[above].strip().startswith("#"):
            text += lines[above]
            above -= 1
        if not any(word in text for word in DECIDED):
            found.append(f"{statement.lineno}: {text}")
    return found


class ReadsTests(SimpleTestCase):
    @tag("C16")
    def test_each_says_whether_ended_memberships_count(self):
        for path in APP.rglob("*.py"):
            name = str(path.relative_to(APP))
            if name.startswith("migrations/") or name in EXCEPT:
                continue
            with self.subTest(path=name):
                self.assertEqual(find_undecided(path.read_text()), [])

    def test_sees_each_way_to_read_them(self):
        for source in (
            "user.groups.all()",
            "rows = User.groups.through.objects.filter(group=1)",
            "if user.groups.exists():\n    pass",
            "for group in user.groups.all():\n    pass",
            "User.objects.filter(groups__in=[1])",
            "group.user_set.count()",
            "Organization.objects.filter(admin__user__in=users)",
            "rows.values_list('pk', 'admin__user')",
            "Membership.objects.filter(group=1)",
            "membership.Membership.objects.filter(group=1)",
            "user.memberships.all()",
            "SQL = 'SELECT user_id FROM orgadmin_user_groups'",
        ):
            self.assertEqual(len(find_undecided(source)), 1, source)

    def test_accepts_what_has_decided(self):
        for source in (
            "Membership.objects.current().filter(group=1)",
            "# Also those that have ended.\nuser.groups.clear()",
            "Membership.objects.groups_of(user)",
            "user.groups.add(group)",
            "SQL = '… orgadmin_user_groups … {not_ended}'",
        ):
            self.assertEqual(find_undecided(source), [], source)

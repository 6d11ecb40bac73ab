"""How pages name the author of a change, if an import or a command made it."""

from django.utils.translation import gettext as _, pgettext

from orgadmin.access.origin import COMMAND, IMPORT


def describe_means(means: str, name: str) -> str:
    """Return the author of a change, such as "Import by Mary" or "Command assign".

    `means` is a value of `current_means`. `name` is the name of the person who ran the
    import or command, or "". For other means, such as a bulk change, returns `name`.
    """
    if means == IMPORT and not name:
        return pgettext("noun", "Import")
    if means == IMPORT:
        return _("Import by %(name)s") % {"name": name}
    if not means.startswith(COMMAND):
        return name
    command = means.removeprefix(COMMAND)
    if not name:
        return _("Command %(name)s") % {"name": command}
    return _("Command %(command)s by %(name)s") % {"command": command, "name": name}

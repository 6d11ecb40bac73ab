"""Translates the names of permissions in forms into the reader's language.

Django stores the names of permissions in English.
"""

from django import forms
from django.contrib.auth.models import Permission
from django.utils.translation import gettext as _, gettext_noop, override

DEFAULT_NAMES = {
    "add": gettext_noop("Can add %s"),
    "change": gettext_noop("Can change %s"),
    "delete": gettext_noop("Can delete %s"),
    "view": gettext_noop("Can view %s"),
}

# The names of this project's own permissions, as in Organization.Meta
OWN_NAMES = [
    gettext_noop("Can view confidential fields of organization"),
    gettext_noop("Can manage members of organization"),
]

# The names of models that do not have pages, so no other code marks them for
# translation
MODEL_NAMES = [
    gettext_noop("accepted invitation"),
    gettext_noop("access link"),
    gettext_noop("access request"),
    gettext_noop("bulk job"),
    gettext_noop("doctor run"),
    gettext_noop("historical organization"),
    gettext_noop("kept log entry"),
    gettext_noop("mail worker"),
    gettext_noop("monthly count"),
    gettext_noop("organization group object permission"),
    gettext_noop("organization user object permission"),
    gettext_noop("sent form"),
    gettext_noop("sign in attempt"),
    gettext_noop("user session"),
    # Models whose rows are deleted together with a person, an organization or a group
    gettext_noop("access links"),
    gettext_noop("access requests"),
    gettext_noop("authenticators"),
    gettext_noop("group object permissions"),
    gettext_noop("invitations"),
    gettext_noop("organization group object permissions"),
    gettext_noop("organization user object permissions"),
    gettext_noop("user object permissions"),
    gettext_noop("user sessions"),
    # Django's tables between users, groups and permissions
    gettext_noop("group-permission relationships"),
    gettext_noop("user-group relationships"),
    gettext_noop("user-permission relationships"),
]


class PermissionChoiceField(forms.ModelMultipleChoiceField):
    def label_from_instance(self, permission):
        return name_permission(permission)


class NamesPermissions:
    """Translates the names of permissions in the forms of an admin class."""

    def formfield_for_manytomany(self, db_field, request, **kwargs):
        if db_field.related_model is Permission:
            kwargs["form_class"] = PermissionChoiceField
        return super().formfield_for_manytomany(db_field, request, **kwargs)


def name_permission(permission):
    """Return the translated text of a permission in Django's format.

    An example is "Records | contact | Can add contact".
    """
    model = permission.content_type.model_class()
    if model is None:  # The app of the model is no longer installed.
        return str(permission)
    app_name = translate_name(model._meta.app_config.verbose_name)
    model_name = translate_name(model._meta.verbose_name)
    action = permission.codename.removesuffix(f"_{model._meta.model_name}")
    if action in DEFAULT_NAMES:
        name = _(DEFAULT_NAMES[action]) % model_name
    else:
        name = _(permission.name)
    return f"{app_name} | {model_name} | {name}"


def translate_name(name):
    """Translate the name of a model or an app with this project's own catalogue.

    Packages translate only some of their names.
    """
    with override(None):
        english = str(name)
    return _(english)

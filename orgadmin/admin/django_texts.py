"""Texts of Django that this project translates itself.

Django's catalogues do not have these texts, or translate them with other terms than
this site uses. Because the texts are marked here, they are in this project's
catalogues, which take precedence over Django's. A test finds texts that are missing in
a language.
"""

from django.utils.translation import gettext_noop

TEXTS = [
    gettext_noop(
        "After you’ve created a user, you’ll be able to edit more user options."
    ),
    gettext_noop("Conflicting form data submitted. Please try again."),
    gettext_noop("Disable password-based authentication"),
    gettext_noop("Disabled"),
    gettext_noop("Enable password-based authentication"),
    gettext_noop(
        "Enable password-based authentication for this user by setting a password."
    ),
    gettext_noop("Enabled"),
    gettext_noop("Password-based authentication"),
    gettext_noop("Password-based authentication was disabled."),
    gettext_noop(
        "Raw passwords are not stored, so there is no way to see the user’s password."
    ),
    gettext_noop("Reset password"),
    gettext_noop("Set password"),
    gettext_noop("Set password: %s"),
    gettext_noop(
        "This action will <strong>enable</strong> password-based authentication for"
        " this user."
    ),
    gettext_noop(
        "Whether the user will be able to authenticate using a password or not. If"
        " disabled, they may still be able to authenticate using other backends, such"
        " as Single Sign-On or LDAP."
    ),
    # Django's German or French translations of these texts use other terms than this
    # site, or a French word that does not fit before a vowel.
    gettext_noop("Add %(name)s"),
    gettext_noop("Add %s"),
    gettext_noop("Change"),
    gettext_noop("Change %s"),
    gettext_noop("email address"),
    gettext_noop("Enter a valid email address."),
    gettext_noop("Go"),
    gettext_noop("Save"),
    gettext_noop("Save and add another"),
    gettext_noop("Save and continue editing"),
    gettext_noop("Save and view"),
    gettext_noop("staff status"),
    gettext_noop("superuser status"),
    gettext_noop("View %s"),
    # Labels of fields, with a capital letter, as Django's log stores them
    gettext_noop("Active"),
    gettext_noop("Address"),
    gettext_noop("First name"),
    gettext_noop("Last name"),
    gettext_noop("Notes"),
    gettext_noop("Reference"),
    gettext_noop("Staff status"),
    gettext_noop("Superuser status"),
    gettext_noop("Tax ID"),
    gettext_noop("User permissions"),
    # Names of apps and models in the list of permissions
    gettext_noop("authenticator"),
    gettext_noop("group object permission"),
    gettext_noop("Guardian"),
    gettext_noop("MFA"),
    gettext_noop("session"),
    gettext_noop("Sessions"),
    gettext_noop("Task Result"),
    gettext_noop("Tasks Database Backend"),
    gettext_noop("user object permission"),
]

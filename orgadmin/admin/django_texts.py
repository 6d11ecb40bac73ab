"""Django's texts that its catalogue for one of our languages does not translate.

Marked here, they are in this project's catalogues, which come before Django's. A test
finds the texts that are missing here.
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
    # Labels of fields, as the log of changes stores them: with a capital letter
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

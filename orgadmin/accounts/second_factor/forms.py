"""The forms that ask for a code of the second factor. MFA_FORMS names them."""

import logging

from allauth.core import context
from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.forms import AuthenticateForm
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.accounts import throttle
from orgadmin.records.encryption import UnreadableSecret, decrypt, encrypt

logger = logging.getLogger("orgadmin.accounts")


class LimitedCodeMixin:
    """Limits how many wrong codes people can enter, and accepts each code only once.

    The limits apply to all processes together. django-allauth's own limits apply to
    each process separately.
    """

    def clean_code(self):
        subject = throttle.code_subject(self.user, context.request)
        if not throttle.count_for_user("code", self.user, subject):
            raise self._wrong_code()
        try:
            code = super().clean_code()
        except UnreadableSecret as error:
            logger.error("%s", error)
            raise self._wrong_code() from error
        used_code = f"{self.user.pk} {normalize_user_code(code)}"
        if not throttle.count_attempt("used code", used_code, limit=1):
            raise self._wrong_code()
        throttle.forget_attempts("code", subject)
        return code

    def _wrong_code(self):
        return get_adapter().validation_error("incorrect_code")


class SecondFactorForm(LimitedCodeMixin, AuthenticateForm):
    """Asks for a code after the password."""

    def _emit_authentication_failed(self, authenticator):
        super()._emit_authentication_failed(authenticator)
        record(
            SecurityEvent.SIGN_IN_FAILED,
            user=self.user,
            details={"step": "second factor"},
        )


class SetUpSecondFactorForm(LimitedCodeMixin, ActivateTOTPForm):
    """Asks for the first code of a new authenticator app."""

    def __init__(self, *args, **kwargs):
        # Until the app is set up, django-allauth stores its secret in the session. The
        # session is stored in the database, so the secret must be encrypted.
        session = context.request.session
        if SECRET_SESSION_KEY in session:
            session[SECRET_SESSION_KEY] = decrypt(session[SECRET_SESSION_KEY])
        super().__init__(*args, **kwargs)
        session[SECRET_SESSION_KEY] = encrypt(self.secret)

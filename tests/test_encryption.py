"""Second factors are encrypted in the database, with a key that can be replaced."""

import binascii
import io

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import TestCase, override_settings, tag

from orgadmin.records.encryption import examine_second_factors
from tests.factories import create_organization, create_user
from tests.migrating import migrate
from tests.migration_case import MigrationCase
from tests.test_sign_in import CREDENTIALS, ENTER_CODE, LOGIN, make_code, without_cache

SECRET = "JBSWY3DPEHPK3PXP" * 2
SEED = "0123456789abcdef" * 5

NEW_KEY = {
    "SECRET_KEY": "a new secret key",
    "SECRET_KEY_FALLBACKS": [settings.SECRET_KEY],
}
ONLY_NEW_KEY = {"SECRET_KEY": "a new secret key", "SECRET_KEY_FALLBACKS": []}


def encrypt_secrets():
    """Run the command, and return its exit status and what it printed."""
    out = io.StringIO()
    try:
        call_command("encrypt_secrets", stdout=out)
    except SystemExit as error:
        return error.code, out.getvalue()
    return 0, out.getvalue()


def read_stored():
    """Return the stored data of all second factors as one text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT data FROM mfa_authenticator ORDER BY id")
        return str(cursor.fetchall())


@override_settings(SECOND_FACTOR="optional")
class EncryptionTests(TestCase):
    def setUp(self):
        self.ada = create_user("ada", admin_of=[create_organization()])

    def set_up(self):
        TOTP.activate(self.ada, SECRET)
        RecoveryCodes.activate(self.ada)

    def store_unencrypted(self):
        Authenticator.objects.create(
            user=self.ada, type="totp", data={"secret": SECRET}
        )
        Authenticator.objects.create(
            user=self.ada,
            type="recovery_codes",
            data={"seed": SEED, "used_mask": 0},
        )

    def enters_with_code(self, later=0):
        """Return whether a correct code signs in."""
        self.client.logout()
        self.client.post(LOGIN, CREDENTIALS)
        with without_cache():
            self.client.post(ENTER_CODE, {"code": make_code(SECRET, later)})
        return self.client.get("/admin/").status_code == 200

    @tag("D35")
    def test_the_database_has_neither_the_secret_nor_the_seed(self):
        self.set_up()
        stored = read_stored()
        self.assertEqual(stored.count("fernet:"), 2)
        self.assertNotIn(SECRET, stored)
        self.assertTrue(self.enters_with_code())

    def test_secrets_from_before_still_work(self):
        self.store_unencrypted()
        self.assertTrue(self.enters_with_code())

    @tag("D35")
    def test_a_replaced_key_becomes_a_fallback_until_all_is_encrypted_again(self):
        self.set_up()
        codes = Authenticator.objects.get(type="recovery_codes").wrap().generate_codes()
        with override_settings(**NEW_KEY):
            self.assertTrue(self.enters_with_code())
            status, printed = encrypt_secrets()
            self.assertEqual(status, 0)
            self.assertIn("2 of 2 second factors encrypted again", printed)
            self.assertIn("0 of 2", encrypt_secrets()[1])
        with override_settings(**ONLY_NEW_KEY):
            self.assertTrue(self.enters_with_code(later=1))
            recovery = Authenticator.objects.get(type="recovery_codes").wrap()
            self.assertEqual(recovery.generate_codes(), codes)

    @tag("D35")
    def test_without_the_key_no_code_is_accepted(self):
        self.set_up()
        with override_settings(**ONLY_NEW_KEY):
            self.client.post(LOGIN, CREDENTIALS)
            for code in (make_code(SECRET), make_code("")):
                with self.assertLogs("orgadmin.accounts", "ERROR"):
                    response = self.client.post(ENTER_CODE, {"code": code})
                self.assertContains(response, "Incorrect code")
            status, printed = encrypt_secrets()
        self.assertEqual(status, 1)
        self.assertIn("2 cannot be decrypted", printed)
        self.assertTrue(self.enters_with_code())

    @tag("D35")
    def test_the_doctor_finds_and_encrypts_what_has_an_earlier_key(self):
        self.set_up()
        with override_settings(**NEW_KEY):
            stored = read_stored()
            [issue] = examine_second_factors()
            self.assertIn("2 were not encrypted with the current", issue.text)
            self.assertEqual(read_stored(), stored)
            [issue] = examine_second_factors(fix=True)
            self.assertTrue(issue.is_repairable)
            self.assertEqual(list(examine_second_factors()), [])
        with override_settings(SECRET_KEY="lost", SECRET_KEY_FALLBACKS=[]):
            [issue] = examine_second_factors(fix=True)
            self.assertFalse(issue.is_repairable)

    @tag("D35")
    def test_no_page_shows_the_secret_after_it_was_set_up(self):
        self.set_up()
        self.assertTrue(self.enters_with_code())
        for page in ("", "totp/activate/", "totp/deactivate/", "recovery-codes/"):
            response = self.client.get(f"/admin/second-factor/{page}", follow=True)
            self.assertEqual(response.status_code, 200)
            self.assertNotContains(response, SECRET)
        self.assertNotIn(SECRET, str(dict(self.client.session)))


class MigrationTests(MigrationCase):
    @tag("D35")
    def test_the_migration_encrypts_and_going_back_decrypts(self):
        ada = create_user("ada")
        migrate("0025_text_is_cleaned_by_fields")
        Authenticator.objects.create(user=ada, type="totp", data={"secret": SECRET})
        data = {"seed": SEED, "used_mask": 3}
        Authenticator.objects.create(user=ada, type="recovery_codes", data=data)
        migrate("0026_encrypt_second_factors")
        stored = read_stored()
        self.assertNotIn(SECRET, stored)
        self.assertNotIn(SEED, stored)
        self.assertEqual(Authenticator.objects.get(type="totp").user_id, ada.pk)
        migrate("0025_text_is_cleaned_by_fields")
        self.assertIn(SECRET, read_stored())
        self.assertEqual(Authenticator.objects.get(type="recovery_codes").data, data)

    @tag("D35")
    def test_the_previous_release_accepts_no_code_and_breaks_nothing(self):
        """Until it is restarted, it takes the encrypted text for the secret."""
        ada = create_user("ada")
        TOTP.activate(ada, SECRET)
        RecoveryCodes.activate(ada)
        codes = Authenticator.objects.get(type="recovery_codes").wrap().generate_codes()
        before = read_stored()
        app, recovery = Authenticator.objects.order_by("pk")
        with override_settings(MFA_ADAPTER="allauth.mfa.adapter.DefaultMFAAdapter"):
            with self.assertRaises(binascii.Error):
                app.wrap().validate_code(make_code(SECRET))
            # The page that shows these codes shows others, which never work.
            self.assertFalse(set(recovery.wrap().generate_codes()) & set(codes))
            self.assertFalse(recovery.wrap().validate_code(codes[0]))
        self.assertEqual(read_stored(), before)
        self.assertTrue(app.wrap().validate_code(make_code(SECRET)))
        self.assertTrue(recovery.wrap().validate_code(codes[0]))

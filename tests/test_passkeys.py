"""Passkeys, with a software authenticator instead of a browser."""

import json
import time
from contextlib import contextmanager
from unittest import mock

from allauth.mfa.models import Authenticator
from django.db import transaction
from django.test import Client, SimpleTestCase, override_settings, tag
from fido2.utils import websafe_encode

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.accounts import throttle
from orgadmin.accounts.adapters import AccountAdapter
from orgadmin.accounts.second_factor import passkeys
from orgadmin.models import AuditEvent
from orgadmin.records.encryption import encrypt_all, examine_second_factors
from orgadmin.records.personal_data import export_person
from tests.factories import (
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
)
from tests.mailing import read_link
from tests.passkeys import SITE, Device
from tests.test_sign_in import (
    ENTER_CODE,
    LOGIN,
    SECOND_FACTOR,
    SET_UP,
    SignInCase,
    make_code,
)

PASSKEYS = f"{SECOND_FACTOR}passkeys/"
ADD = f"{PASSKEYS}add/"
SIGN_IN = f"{PASSKEYS}sign-in/"
OPTIONS = f"{PASSKEYS}options/"
STEP_UP = "step-up-credential"

REFUSED = "This passkey was not accepted."


@override_settings(SECOND_FACTOR="optional", BASE_URL=SITE)
class PasskeyCase(SignInCase):
    def setUp(self):
        self.acme = create_organization()
        self.ada = create_user("ada", email="ada@example.com", admin_of=[self.acme])
        self.device = Device()

    def ask(self, purpose="sign-in", client=None):
        """Return what the site tells the browser when the button is pressed."""
        return (client or self.client).post(f"{OPTIONS}{purpose}/").json()

    def add(self, device=None, name="Laptop", **changes):
        """Add a passkey for the person who is signed in."""
        device = device or self.device
        answer = device.make(self.client.post(f"{ADD}options/").json())
        data = {"name": name, "credential": answer, **changes}
        return self.client.post(ADD, data)

    def add_as_ada(self, device=None):
        self.sign_in()
        self.open_set_up()
        self.add(device)
        self.client.post("/admin/logout/")

    def send(self, answer, **data):
        return self.client.post(SIGN_IN, {"credential": answer, **data})

    def sign_in_with_passkey(self, **data):
        return self.send(self.device.use(self.ask()), **data)

    def second_step(self, answer):
        return self.client.post(ENTER_CODE, {"credential": answer})

    def last(self, kind):
        return AuditEvent.objects.filter(event=kind).latest("pk")


class OwnPasskeyTests(PasskeyCase):
    """Adding, renaming and removing your own passkeys."""

    @tag("D53")
    def test_the_first_one_needs_the_link_from_the_email(self):
        self.sign_in()
        for url in (ADD, f"{ADD}options/"):
            self.assertRedirects(self.client.post(url), f"{SECOND_FACTOR}set-up/")
        self.client.get(ADD)
        self.client.post(f"{SECOND_FACTOR}set-up/")
        self.assertRedirects(self.client.get(read_link()), ADD)
        response = self.add()
        self.assertRedirects(response, f"{SECOND_FACTOR}recovery-codes/")
        page = self.client.get(SECOND_FACTOR)
        self.assertContains(page, "Laptop")
        self.assertContains(page, "not used yet")
        self.assertContains(page, "10 codes left")

    @tag("D53")
    def test_an_added_one_is_recorded_and_ends_other_sessions(self):
        other = Client()
        other.post(LOGIN, {"username": "ada", "password": "secret"})
        self.sign_in()
        self.open_set_up()
        self.add()
        self.assertEqual(self.client.get("/admin/").status_code, 200)
        self.assertEqual(other.get("/admin/").status_code, 302)
        event = self.last(SecurityEvent.FACTOR_ADDED)
        self.assertEqual(event.details, {"factors": ["webauthn"]})

    @tag("D53")
    def test_changes_need_a_recent_sign_in(self):
        self.sign_in()
        self.open_set_up()
        self.add()
        passkey = Authenticator.objects.get(type="webauthn")
        age_sign_in(self.client, 11)
        urls = [
            ADD,
            f"{ADD}options/",
            f"{PASSKEYS}{passkey.pk}/rename/",
            f"{PASSKEYS}{passkey.pk}/remove/",
        ]
        for url in urls:
            self.assertContains(self.client.post(url), "Confirm it’s you")
        self.assertTrue(Authenticator.objects.filter(pk=passkey.pk).exists())

    def test_is_renamed(self):
        self.sign_in()
        self.open_set_up()
        self.add()
        passkey = Authenticator.objects.get(type="webauthn")
        rename = f"{PASSKEYS}{passkey.pk}/rename/"
        self.assertContains(self.client.get(rename), 'value="Laptop"')
        response = self.client.post(rename, {"name": " Old  phone "}, follow=True)
        self.assertContains(response, "The passkey was renamed.")
        passkey.refresh_from_db()
        self.assertEqual(passkey.data["name"], "Old phone")

    def test_gets_a_name_if_none_was_entered(self):
        self.sign_in()
        self.open_set_up()
        self.add(name="  ")
        self.assertEqual(
            Authenticator.objects.get(type="webauthn").wrap().name, "Passkey"
        )

    @tag("D27")
    def test_removing_the_last_one_removes_the_recovery_codes_and_is_recorded(self):
        self.sign_in()
        self.open_set_up()
        self.add()
        passkey = Authenticator.objects.get(type="webauthn")
        remove = f"{PASSKEYS}{passkey.pk}/remove/"
        self.assertContains(self.client.get(remove), "recovery codes will stop working")
        other = Client()
        options = self.ask(client=other)
        other.post(SIGN_IN, {"credential": self.device.use(options)})
        self.assertEqual(other.get("/admin/").status_code, 200)
        self.assertRedirects(self.client.post(remove), SECOND_FACTOR)
        self.assertFalse(Authenticator.objects.exists())
        self.assertEqual(other.get("/admin/").status_code, 302)
        event = self.last(SecurityEvent.FACTOR_REMOVED)
        self.assertEqual(event.details, {"factors": ["webauthn", "recovery_codes"]})
        self.assertNotIn("second_factor", self.client.session)

    @tag("D27")
    def test_removing_one_of_two_factors_keeps_the_other(self):
        self.sign_in()
        self.set_up()
        self.add()
        self.client.post(f"{SECOND_FACTOR}totp/deactivate/")
        event = self.last(SecurityEvent.FACTOR_REMOVED)
        self.assertEqual(event.details, {"factors": ["totp"]})
        kinds = Authenticator.objects.values_list("type", flat=True).order_by("type")
        self.assertEqual(list(kinds), ["recovery_codes", "webauthn"])
        self.assertEqual(self.client.get("/admin/").status_code, 200)
        self.client.post("/admin/logout/")
        self.assertRedirects(self.sign_in(), ENTER_CODE)

    @tag("D53")
    def test_passkeys_of_others_do_not_exist(self):
        self.add_as_ada()
        passkey = Authenticator.objects.get(type="webauthn")
        create_user("bob", admin_of=[self.acme])
        self.sign_in("bob")
        for page in ("rename", "remove"):
            for pk in (passkey.pk, 999_999, 10**30):
                url = f"{PASSKEYS}{pk}/{page}/"
                self.assertEqual(self.client.get(url).status_code, 404)
                response = self.client.post(url, {"name": "Stolen"})
                self.assertEqual(response.status_code, 404)
        passkey.refresh_from_db()
        self.assertEqual(passkey.wrap().name, "Laptop")

    @tag("D53")
    def test_visitors_are_asked_to_sign_in(self):
        urls = [ADD, f"{ADD}options/", f"{PASSKEYS}1/rename/", f"{PASSKEYS}1/remove/"]
        urls += [f"{OPTIONS}step-up/", f"{OPTIONS}second-step/"]
        for url in urls:
            response = self.client.post(url)
            self.assertTrue(response["Location"].startswith(LOGIN), url)

    def test_stores_nothing_that_the_browser_adds(self):
        self.sign_in()
        self.open_set_up()
        answer = json.loads(self.device.make(self.client.post(f"{ADD}options/").json()))
        answer["note"] = "x" * 1000
        self.client.post(ADD, {"name": "", "credential": json.dumps(answer)})
        stored = Authenticator.objects.get(type="webauthn").data
        self.assertNotIn("x" * 1000, json.dumps(stored))

    @tag("D54")
    def test_refuses_new_ones_that_do_not_fit(self):
        self.sign_in()
        self.open_set_up()
        no_pin = Device()
        no_pin.asks_for_pin = False
        elsewhere = Device()
        elsewhere.origin = "https://orgs.example.com.evil.example"
        framed = Device()
        framed.is_framed = True
        other_domain = Device()
        other_domain.domain = "example.com"
        for device in (no_pin, elsewhere, framed, other_domain):
            self.assertContains(self.add(device), "could not be added")
        answer = self.device.make(self.client.post(f"{ADD}options/").json())
        self.client.post(f"{ADD}options/")
        response = self.client.post(ADD, {"credential": answer})
        self.assertContains(response, "could not be added")
        self.assertContains(self.client.post(ADD), "Passkeys need JavaScript")
        self.assertFalse(Authenticator.objects.exists())

    @tag("D54")
    def test_refuses_the_same_one_twice(self):
        self.sign_in()
        self.open_set_up()
        self.add()
        self.assertContains(self.add(), "could not be added")
        self.assertEqual(Authenticator.objects.filter(type="webauthn").count(), 1)


class PasskeySignInTests(PasskeyCase):
    """Signing in with a passkey alone, and after the password."""

    def setUp(self):
        super().setUp()
        self.add_as_ada()

    @tag("D53")
    def test_a_passkey_alone_signs_in_and_counts_as_second_factor(self):
        page = f"/admin/orgadmin/organization/{self.acme.pk}/change/"
        self.assertContains(self.client.get(LOGIN), "Sign in with a passkey")
        self.assertRedirects(self.sign_in_with_passkey(next=page), page)
        passkey = Authenticator.objects.get(type="webauthn")
        used = {"id": passkey.pk, "type": "webauthn"}
        self.assertEqual(self.client.session["second_factor"], used)
        self.assertIsNotNone(passkey.last_used_at)
        event = self.last(SecurityEvent.SIGNED_IN)
        self.assertEqual(event.details, {"method": "passkey", "factor": "webauthn"})
        self.assertNotContains(self.client.get(SECOND_FACTOR), "not used yet")

    @tag("D14")
    def test_leads_to_no_other_site(self):
        response = self.sign_in_with_passkey(next="https://evil.example/")
        self.assertRedirects(response, "/admin/")

    @tag("D5")
    def test_starts_a_new_session(self):
        self.ask()
        before = self.client.session.session_key
        self.sign_in_with_passkey()
        self.assertNotEqual(self.client.session.session_key, before)

    @tag("D15", "D53")
    def test_the_password_alone_is_not_enough(self):
        self.assertRedirects(self.sign_in(), ENTER_CODE)
        page = self.client.get(ENTER_CODE)
        self.assertContains(page, "Use your passkey")
        self.assertContains(page, "Or enter one of your recovery codes.")
        self.assertFalse(self.is_signed_in())
        self.second_step(self.device.use(self.ask("second-step")))
        self.assertTrue(self.is_signed_in())
        event = self.last(SecurityEvent.SIGNED_IN)
        self.assertEqual(event.details, {"method": "password", "factor": "webauthn"})

    @tag("D53")
    def test_the_step_after_the_password_offers_the_persons_own_passkeys(self):
        self.sign_in()
        [offered] = self.ask("second-step")["publicKey"]["allowCredentials"]
        self.assertEqual(offered["id"], websafe_encode(self.device.credential_id))
        options = self.ask()["publicKey"]
        self.assertNotIn("allowCredentials", options)
        self.assertEqual(options["userVerification"], "required")
        self.assertEqual(options["rpId"], "orgs.example.com")

    @tag("D15")
    def test_failed_ones_count_like_codes(self):
        self.sign_in()
        for _attempt in range(throttle.LIMIT):
            self.assertContains(self.second_step("{}"), REFUSED)
        self.second_step(self.device.use(self.ask("second-step")))
        self.assertFalse(self.is_signed_in())
        failed = AuditEvent.objects.filter(event=SecurityEvent.SIGN_IN_FAILED)
        self.assertEqual(failed.count(), throttle.LIMIT)
        self.assertEqual(failed.latest("pk").details, {"step": "second factor"})

    @tag("D54")
    def test_failed_ones_alone_count_by_address_and_lock_out_nobody_else(self):
        with mock.patch.object(throttle, "ADDRESS_LIMIT", 3):
            for _attempt in range(3):
                self.send("{}")
            self.sign_in_with_passkey()
            self.assertFalse(self.is_signed_in())
            answer = self.device.use(self.ask())
            data = {"credential": answer}
            self.client.post(SIGN_IN, data, REMOTE_ADDR="192.0.2.1")
        self.assertTrue(self.is_signed_in())

    def test_successful_ones_do_not_count(self):
        with mock.patch.object(throttle, "ADDRESS_LIMIT", 2):
            for _time in range(4):
                self.sign_in_with_passkey()
                self.assertTrue(self.is_signed_in())
                self.client.logout()

    def test_an_answer_without_javascript_is_explained(self):
        response = self.client.post(SIGN_IN, {"credential": ""}, follow=True)
        self.assertContains(response, "Passkeys need JavaScript")

    @tag("D28")
    def test_a_half_finished_sign_in_ends_when_the_account_is_deactivated(self):
        self.sign_in()
        self.ada.refresh_from_db()
        for is_active in (False, True):
            self.ada.is_active = is_active
            self.ada.save()
            response = self.client.post(f"{OPTIONS}second-step/")
            if response.status_code == 200:
                self.second_step(self.device.use(response.json()))
            self.assertFalse(self.is_signed_in())

    @tag("D54")
    def test_what_was_proved_in_a_refused_sign_in_does_not_count_in_the_next_one(self):
        # As if the account had been changed after the passkey was checked.
        with mock.patch.object(AccountAdapter, "pre_login", return_value=None):
            self.sign_in_with_passkey()
        self.assertFalse(self.is_signed_in())
        self.assertRedirects(self.sign_in(), ENTER_CODE)


class AttackTests(PasskeyCase):
    """A table of attacks, on each of the three places that ask for a passkey."""

    def setUp(self):
        super().setUp()
        self.add_as_ada()
        self.bob = create_user("bob", admin_of=[self.acme])
        self.bobs = Device()
        self.sign_in("bob")
        self.open_set_up()
        self.add(self.bobs)
        self.client.post("/admin/logout/")

    # Each attack is a function of the test and of what the site asked for. It returns
    # an answer.

    def other_origin(self, options):
        self.device.origin = "https://evil.example"
        self.device.domain = "orgs.example.com"
        return self.device.use(options)

    def subdomain(self, options):
        self.device.origin = "https://blog.orgs.example.com"
        self.device.domain = "orgs.example.com"
        return self.device.use(options)

    def other_port(self, options):
        self.device.origin = f"{SITE}:8443"
        return self.device.use(options)

    def no_https(self, options):
        self.device.origin = "http://orgs.example.com"
        return self.device.use(options)

    def other_domain(self, options):
        self.device.domain = "example.com"
        return self.device.use(options)

    def in_a_frame(self, options):
        self.device.is_framed = True
        return self.device.use(options)

    def without_pin(self, options):
        self.device.asks_for_pin = False
        return self.device.use(options)

    def other_challenge(self, options):
        options["publicKey"]["challenge"] = websafe_encode(b"x" * 32)
        return self.device.use(options)

    def challenge_of_another_session(self, options):
        return self.device.use(self.ask(client=Client()))

    def challenge_of_before(self, options):
        self.ask()
        return self.device.use(options)

    def challenge_too_old(self, options):
        session = self.client.session
        session[passkeys.CHALLENGE]["at"] = (
            time.time() - passkeys.CHALLENGE_LIFETIME - 1
        )
        session.save()
        return self.device.use(options)

    def no_challenge(self, options):
        session = self.client.session
        session.pop(passkeys.CHALLENGE)
        session.save()
        return self.device.use(options)

    def other_persons_passkey(self, options):
        """Bob's passkey, which claims to be Ada's."""
        self.bobs.user_handle = self.device.user_handle
        return self.bobs.use(options)

    def other_persons_id(self, options):
        """Bob's key with the ID of Ada's passkey."""
        self.bobs.user_handle = self.device.user_handle
        self.bobs.credential_id = self.device.credential_id
        return self.bobs.use(options)

    def other_persons_name(self, options):
        """Ada's passkey, which claims to be Bob's."""
        self.device.user_handle = self.bobs.user_handle
        return self.device.use(options)

    def nobodys_name(self, options):
        return self.device.use(options, userHandle=b"zzzzzz")

    def impossible_name(self, options):
        return self.device.use(options, userHandle=b"z" * 60)

    def unknown_passkey(self, options):
        stranger = Device()
        stranger.user_handle = self.device.user_handle
        return stranger.use(options)

    def wrong_signature(self, options):
        return self.device.use(options, signature=b"wrong")

    def inactive_account(self, options):
        self.ada.refresh_from_db()
        self.ada.is_active = False
        self.ada.save()
        return self.device.use(options)

    def removed_passkey(self, options):
        Authenticator.objects.filter(user=self.ada).delete()
        return self.device.use(options)

    ATTACKS = [
        other_origin,
        subdomain,
        other_port,
        no_https,
        other_domain,
        in_a_frame,
        without_pin,
        other_challenge,
        challenge_of_another_session,
        challenge_of_before,
        challenge_too_old,
        no_challenge,
        other_persons_passkey,
        other_persons_id,
        other_persons_name,
        nobodys_name,
        impossible_name,
        unknown_passkey,
        wrong_signature,
        inactive_account,
        removed_passkey,
    ]

    @contextmanager
    def undone(self):
        """Undo what a block changes in the database and on the devices."""
        devices = [(device, dict(vars(device))) for device in (self.device, self.bobs)]
        with transaction.atomic():
            yield
            transaction.set_rollback(True)
        for device, state in devices:
            vars(device).update(state)

    @tag("D54")
    def test_each_attack_on_the_sign_in_page_gets_the_same_answer(self):
        texts = set()
        for attack in self.ATTACKS:
            with self.subTest(attack=attack.__name__), self.undone():
                response = self.send(attack(self, self.ask()), follow=True)
                self.assertRedirects(response, LOGIN, fetch_redirect_response=False)
                self.assertFalse(self.is_signed_in())
                page = self.client.get(LOGIN)
                self.assertContains(page, REFUSED)
                [message] = page.context["messages"]
                texts.add(str(message))
        self.assertEqual(len(texts), 1)
        self.sign_in_with_passkey()
        self.assertTrue(self.is_signed_in())

    @tag("D54")
    def test_each_attack_after_the_password_is_refused(self):
        for attack in self.ATTACKS:
            with self.subTest(attack=attack.__name__), self.undone():
                self.client.logout()
                self.sign_in()
                self.second_step(attack(self, self.ask("second-step")))
                self.assertFalse(self.is_signed_in())
        self.client.logout()
        self.sign_in()
        self.second_step(self.device.use(self.ask("second-step")))
        self.assertTrue(self.is_signed_in())

    @tag("D54")
    def test_each_attack_on_an_old_session_is_refused(self):
        self.sign_in_with_passkey()
        age_sign_in(self.client, 11)
        for attack in self.ATTACKS:
            with self.subTest(attack=attack.__name__), self.undone():
                answer = attack(self, self.ask("step-up"))
                self.client.post(f"{PASSKEYS}1/remove/", {STEP_UP: answer})
                signed_in = self.client.session.get("signed_in", 0)
                self.assertLess(signed_in, time.time() - 600)

    @tag("D54")
    def test_an_answer_counts_once(self):
        answer = self.device.use(self.ask())
        session = dict(self.client.session)
        self.send(answer)
        self.assertTrue(self.is_signed_in())
        self.client.logout()
        self.send(answer)
        self.assertFalse(self.is_signed_in())
        # As if another request of the same session had not seen that it was used.
        store = self.client.session
        store.update(session)
        store.save()
        self.send(answer)
        self.assertFalse(self.is_signed_in())

    @tag("D54")
    def test_what_was_asked_for_one_thing_does_not_count_for_another(self):
        self.sign_in()
        self.send(self.device.use(self.ask("second-step")))
        self.assertFalse(self.is_signed_in())
        self.client.logout()
        self.sign_in()
        self.second_step(self.device.use(self.ask("sign-in")))
        self.assertFalse(self.is_signed_in())

    @tag("D54")
    def test_a_wrong_answer_uses_up_what_was_asked(self):
        options = self.ask()
        self.send(self.device.use(options, signature=b"wrong"))
        self.send(self.device.use(options))
        self.assertFalse(self.is_signed_in())

    @tag("D54")
    def test_an_ended_session_is_not_revived(self):
        self.sign_in_with_passkey()
        age_sign_in(self.client, 11)
        answer = self.device.use(self.ask("step-up"))
        self.ada.refresh_from_db()
        self.ada.end_sessions()
        response = self.client.post(f"{PASSKEYS}1/remove/", {STEP_UP: answer})
        self.assertTrue(response["Location"].startswith(LOGIN))

    @tag("D54")
    def test_garbage_is_a_wrong_answer(self):
        right = json.loads(self.device.use(self.ask()))
        cases = ["", "x", "null", "[]", "7", '"x"', "[" * 19_000, "{}", "x" * 30_000]
        for name in ("id", "rawId", "response", "type", "clientExtensionResults"):
            for value in (None, "", "AA", [], {}, 7, "é"):
                cases.append(json.dumps(right | {name: value}))
        for name in right["response"]:
            for value in (None, "", "AA", "A" * 60, [], {}, 7, "é"):
                response = right["response"] | {name: value}
                cases.append(json.dumps(right | {"response": response}))
        for case in cases:
            with self.subTest(case=case[:300]):
                self.ask()
                response = self.send(case)
                self.assertRedirects(response, LOGIN, fetch_redirect_response=False)
                self.assertFalse(self.is_signed_in())

    @tag("D54")
    def test_what_the_log_says_about_attacks(self):
        self.send(self.device.use(self.ask(), signature=b"wrong"))
        event = self.last(SecurityEvent.SIGN_IN_FAILED)
        self.assertEqual(event.user_key, self.ada.pk)
        self.assertEqual(event.details, {"step": "passkey"})
        stranger = Device()
        stranger.user_handle = self.device.user_handle
        self.send(stranger.use(self.ask()))
        self.assertIsNone(self.last(SecurityEvent.SIGN_IN_FAILED).user_key)


class CopiedPasskeyTests(PasskeyCase):
    """Devices that count how often they have signed."""

    def setUp(self):
        super().setUp()
        self.device = Device(counts=True)
        self.add_as_ada()

    @tag("D55")
    def test_a_counter_that_goes_back_is_refused_and_recorded(self):
        for _time in range(2):
            self.sign_in_with_passkey()
            self.assertTrue(self.is_signed_in())
            self.client.logout()
        for counter in (0, 1, 2):
            self.device.counter = counter
            self.sign_in_with_passkey()
            self.assertFalse(self.is_signed_in())
            event = self.last(SecurityEvent.SIGN_IN_FAILED)
            self.assertEqual(event.user_key, self.ada.pk)
            details = {"step": "passkey", "reason": "copied passkey"}
            self.assertEqual(event.details, details)
        self.sign_in_with_passkey()
        self.assertTrue(self.is_signed_in())

    @tag("D55")
    def test_the_first_use_is_compared_with_when_it_was_made(self):
        self.device.counter = 0
        self.sign_in_with_passkey()
        self.assertFalse(self.is_signed_in())

    @tag("D55")
    def test_renaming_does_not_turn_the_counter_back(self):
        self.sign_in_with_passkey()
        passkey = Authenticator.objects.get(type="webauthn")
        passkeys.record_use(passkey, 7)
        passkeys.rename_passkey(passkey, "Phone")
        self.assertFalse(passkeys.record_use(passkey, 7))
        self.assertTrue(passkeys.record_use(passkey, 8))


class StepUpTests(PasskeyCase):
    """Confirming who you are with a passkey."""

    def setUp(self):
        super().setUp()
        self.add_as_ada()
        self.sign_in_with_passkey()
        age_sign_in(self.client, 11)
        self.passkey = Authenticator.objects.get(type="webauthn")
        self.rename = f"{PASSKEYS}{self.passkey.pk}/rename/"

    @tag("D26", "D53")
    def test_a_passkey_is_enough_and_the_request_goes_on(self):
        page = self.client.post(self.rename, {"name": "Phone"})
        self.assertContains(page, "Confirm with a passkey")
        answer = self.device.use(self.ask("step-up"))
        self.client.post(self.rename, {"name": "Phone", STEP_UP: answer})
        self.passkey.refresh_from_db()
        self.assertEqual(self.passkey.wrap().name, "Phone")
        event = self.last(SecurityEvent.IDENTITY_CONFIRMED)
        self.assertEqual(event.details, {"factor": "webauthn"})

    @tag("D26", "D53")
    def test_people_without_a_password_confirm_with_it(self):
        self.ada.refresh_from_db()
        self.ada.set_unusable_password()
        self.ada.save()
        self.sign_in_with_passkey()
        age_sign_in(self.client, 11)
        page = self.client.get(self.rename)
        self.assertContains(page, "Confirm with a passkey")
        self.assertNotContains(page, "Your password")
        self.assertNotContains(page, "cannot confirm")
        answer = self.device.use(self.ask("step-up"))
        self.client.post(self.rename, {"name": "Phone", STEP_UP: answer})
        self.passkey.refresh_from_db()
        self.assertEqual(self.passkey.wrap().name, "Phone")

    @tag("D26", "D53")
    def test_the_password_still_needs_a_code(self):
        page = self.client.get(self.rename)
        self.assertContains(page, "One of your recovery codes")
        self.assertNotContains(page, "Code from your authenticator app")
        identity = {"step-up-password": "secret", "step-up-code": "1"}
        self.assertContains(self.client.post(self.rename, identity), "is wrong")

    @tag("D26")
    def test_wrong_answers_are_shown_and_counted(self):
        for _attempt in range(throttle.LIMIT):
            page = self.client.post(self.rename, {"name": "Phone", STEP_UP: "{}"})
            self.assertContains(page, REFUSED)
            self.assertContains(page, 'name="name" value="Phone"')
        answer = self.device.use(self.ask("step-up"))
        page = self.client.post(self.rename, {"name": "Phone", STEP_UP: answer})
        self.assertContains(page, REFUSED)


class AvailabilityTests(PasskeyCase):
    """If passkeys cannot be used, their pages do not exist."""

    def list_answers(self):
        urls = [ADD, f"{ADD}options/", f"{PASSKEYS}1/rename/", f"{PASSKEYS}1/remove/"]
        urls += [f"{OPTIONS}step-up/", SIGN_IN, f"{OPTIONS}nothing/"]
        return [self.client.post(url).status_code for url in urls]

    @tag("D53")
    def test_nothing_of_it_exists_when_switched_off(self):
        for settings in (
            {"SECOND_FACTOR": "off"},
            {"BASE_URL": "http://127.0.0.1:8000"},
            {"BASE_URL": "http://orgs.example.com"},
        ):
            with self.subTest(settings), override_settings(**settings):
                self.assertNotContains(self.client.get(LOGIN), "passkey")
                self.assertEqual(set(self.list_answers()), {404})
                self.sign_in()
                self.assertEqual(set(self.list_answers()), {404})
                self.assertNotContains(self.client.get(SECOND_FACTOR), "asskey")
                self.client.post("/admin/logout/")

    @tag("D15")
    def test_without_it_recovery_codes_still_are_asked_for(self):
        self.add_as_ada()
        with override_settings(BASE_URL="http://127.0.0.1:8000"):
            self.assertRedirects(self.sign_in(), ENTER_CODE)
            page = self.client.get(ENTER_CODE)
            self.assertContains(page, "Enter one of your recovery codes.")
            self.assertNotContains(page, "passkey")

    @tag("D15")
    def test_satisfies_the_requirement_for_platform_staff(self):
        create_superuser("root")
        with override_settings(SECOND_FACTOR="staff"):
            self.sign_in("root")
            self.open_set_up()
            self.assertRedirects(self.client.get("/admin/"), SET_UP)
            self.assertContains(self.client.get(SET_UP), "Add a passkey instead")
            self.assertEqual(self.client.get(ADD).status_code, 200)
            self.add()
            self.assertEqual(self.client.get("/admin/").status_code, 200)
            self.client.post("/admin/logout/")
            self.sign_in_with_passkey()
            self.assertEqual(self.client.get("/admin/").status_code, 200)

    @tag("D15")
    def test_an_app_can_be_added_to_it(self):
        self.add_as_ada()
        self.sign_in_with_passkey()
        secret, _codes = self.set_up(open_first=False)
        self.client.post("/admin/logout/")
        self.sign_in()
        page = self.client.get(ENTER_CODE)
        self.assertContains(page, "Or enter the code from your authenticator app")
        self.enter_code(make_code(secret, 1))
        self.assertTrue(self.is_signed_in())


class SiteTests(SimpleTestCase):
    @tag("D54")
    def test_the_domain_and_the_origin_are_those_of_base_url(self):
        cases = [
            ("https://orgs.example.com", "orgs.example.com", None),
            ("https://orgs.example.com:443", "orgs.example.com", SITE),
            ("https://orgs.example.com:8443", "orgs.example.com", None),
            ("http://localhost:8000", "localhost", None),
            ("https://Bücher.example", "xn--bcher-kva.example", None),
        ]
        origins = {"https://Bücher.example": "https://xn--bcher-kva.example"}
        for url, domain, origin in cases:
            with self.subTest(url), override_settings(BASE_URL=url):
                self.assertEqual(passkeys.find_domain(), domain)
                expected = origin or origins.get(url, url)
                self.assertEqual(passkeys.find_origin(), expected)


class StoredPasskeyTests(PasskeyCase):
    """What other parts of the site do with stored passkeys."""

    def setUp(self):
        super().setUp()
        self.add_as_ada()

    @tag("D35")
    def test_a_public_key_is_not_encrypted_and_needs_no_repair(self):
        before = Authenticator.objects.get(type="webauthn").data
        self.assertEqual(list(examine_second_factors()), [])
        with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[]):
            encrypt_all()
        self.assertEqual(Authenticator.objects.get(type="webauthn").data, before)
        self.sign_in_with_passkey()
        self.assertTrue(self.is_signed_in())

    @tag("D36")
    def test_the_export_has_the_name_and_no_key(self):
        text = "".join(export_person(self.ada, actor=create_superuser()))
        exported = json.loads(text)["second_factors"]
        self.assertIn(
            ("webauthn", "Laptop"), [(row["type"], row["name"]) for row in exported]
        )
        self.assertNotIn(websafe_encode(self.device.credential_id), text)

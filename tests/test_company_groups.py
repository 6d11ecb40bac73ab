"""Roles in organizations that follow the groups of people at an OpenID provider."""

from unittest import mock

from django.conf import settings
from django.core import mail
from django.test import (
    TransactionTestCase,
    override_settings,
    skipUnlessDBFeature,
    tag,
)

from config.providers import GroupRole, OpenIDProvider
from orgadmin.gate.explain import explain
from orgadmin.models import MembershipEvent, User
from orgadmin.people import membership
from orgadmin.people.changes import RoleChange
from orgadmin.people.company_accounts import remove_company_accounts
from orgadmin.people.provider_groups import apply_groups
from tests.factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from tests.identity import LEFT_OUT, company_settings, describe_provider
from tests.test_company import CompanyCase, create_verified_user
from tests.together import run_together

MAPPING = (
    GroupRole("staff", "reviewer", "C-1"),
    GroupRole("board", "admin", "C-1"),
    GroupRole("staff", "reviewer", "C-2"),
)


class GroupsCase(CompanyCase):
    def setUp(self):
        super().setUp()
        self.first = create_organization("First", reference="C-1")
        self.second = create_organization("Second", reference="C-2")
        for organization in (self.first, self.second):
            create_user(f"keeper of {organization}", admin_of=[organization])
        self.use(roles=MAPPING)
        self.nora = create_verified_user("nora", email="nora@example.com")

    def use(self, **values):
        changes = company_settings(self.server, **values)
        self.enterContext(override_settings(**changes))

    def sign_in(self, groups=LEFT_OUT, *, user=None, **claims):
        """Sign in as Nora with groups, and return her roles {organization: role}."""
        user = user or self.nora
        person = {"sub": user.username, "email": user.email, **claims}
        if groups is not LEFT_OUT:
            person["groups"] = groups
        self.client.logout()
        self.come(**person)
        self.assertEqual(self.client.session["_auth_user_id"], str(user.pk))
        return self.list_roles(user)

    def list_roles(self, user=None):
        rows = membership.list_roles(user or self.nora)
        return {row.organization.name: row.role for row in rows}

    def give(self, role, organization=None, user=None):
        """Give Nora a role as the page of the people of an organization does."""
        change = RoleChange(user or self.nora, organization or self.first, role)
        membership.change_roles([change], actor=create_superuser("by hand"))


class GroupsTests(GroupsCase):
    @tag("D60")
    def test_gives_the_roles_of_the_groups_and_no_others(self):
        roles = self.sign_in(["staff", "other", "First", "C-1"])
        self.assertEqual(roles, {"First": REVIEWER, "Second": REVIEWER})
        self.assertEqual(self.sign_in(["staff"]), roles)
        self.assertEqual(MembershipEvent.objects.filter(source="company").count(), 2)

    @tag("D60")
    def test_opens_the_site_at_once(self):
        self.come(sub="nora", email="nora@example.com", groups=["staff"])
        self.assertEqual(self.client.get("/admin/").status_code, 200)

    @tag("D60")
    def test_the_role_with_the_most_permissions_counts(self):
        roles = self.sign_in(["staff", "board"])
        self.assertEqual(roles, {"First": ADMIN, "Second": REVIEWER})
        self.assertEqual(self.sign_in(["board"]), {"First": ADMIN})
        self.assertEqual(self.sign_in(["staff"])["First"], REVIEWER)

    @tag("D60")
    def test_a_role_ends_when_the_group_is_gone(self):
        self.sign_in(["staff"])
        self.assertEqual(self.sign_in([]), {})
        events = MembershipEvent.objects.filter(user_key=self.nora.pk)
        self.assertEqual({event.source for event in events}, {"company"})
        self.assertEqual(self.sign_in(["staff"]).keys(), {"First", "Second"})

    @tag("D60")
    def test_nothing_changes_for_an_account_that_has_changed_in_the_meantime(self):
        def deactivate(user):
            user.is_active = False
            user.save()

        for change in (deactivate, User.end_sessions):
            with self.subTest(change):
                self.nora.refresh_from_db()
                stale = User.objects.get(pk=self.nora.pk)
                change(self.nora)
                [provider] = settings.OIDC_PROVIDERS
                self.assertEqual(apply_groups(stale, provider, ["board"]), [])
                self.assertEqual(self.list_roles(), {})

    @tag("D60", "D62")
    def test_a_person_whose_account_is_gone_does_not_give_it_roles(self):
        self.sign_in([])

        def remove_first(user, *others):
            stored = User.objects.get(pk=user.pk)
            remove_company_accounts(stored, actor=stored)
            stored.end_sessions()
            return apply_groups(user, *others)

        with mock.patch("orgadmin.accounts.company.views.apply_groups", remove_first):
            self.come(sub="nora", email="nora@example.com", groups=["board"])
        self.assertEqual(self.list_roles(), {})
        self.assertEqual(self.client.get("/admin/").status_code, 302)

    @tag("D60")
    def test_a_missing_claim_changes_nothing(self):
        roles = self.sign_in(["staff"])
        for groups in (LEFT_OUT, None, 5, {"staff": True}, True):
            with self.subTest(groups=groups):
                self.assertEqual(self.sign_in(groups), roles)
        self.assertEqual(MembershipEvent.objects.filter(source="company").count(), 2)

    @tag("D60")
    def test_reads_a_single_name_and_leaves_out_what_is_none(self):
        self.assertEqual(self.sign_in("board"), {"First": ADMIN})
        self.assertEqual(self.sign_in([5, None, "board"]), {"First": ADMIN})

    @tag("D60")
    def test_the_id_token_outranks_the_user_info(self):
        self.server.token_changes = {"groups": ["board"]}
        self.assertEqual(self.sign_in(["staff"]), {"First": ADMIN})
        self.server.token_changes = {"groups": LEFT_OUT}
        self.assertEqual(self.sign_in(["staff"]).keys(), {"First", "Second"})

    @tag("D60")
    def test_the_name_of_the_claim_is_a_setting(self):
        self.use(roles=MAPPING, groups_claim="cognito:groups")
        self.assertEqual(self.sign_in(["staff"]), {})
        claims = {"cognito:groups": ["board"]}
        self.assertEqual(self.sign_in(["staff"], **claims), {"First": ADMIN})

    @tag("D60")
    def test_without_a_mapping_groups_mean_nothing(self):
        self.use()
        with mock.patch("orgadmin.people.provider_groups.lock") as lock:
            self.assertEqual(self.sign_in(["staff", "board"]), {})
        lock.assert_not_called()

    @tag("D60")
    def test_a_group_that_is_spelled_differently_means_nothing(self):
        self.assertEqual(self.sign_in(["Staff", "staff ", "boards"]), {})

    @tag("D60")
    def test_people_who_are_refused_get_no_role(self):
        User.objects.filter(pk=self.nora.pk).update(is_active=False)
        self.come(sub="nora", email="nora@example.com", groups=["staff"])
        self.assertFalse(self.is_signed_in())
        self.assertEqual(self.list_roles(), {})


class OtherRolesTests(GroupsCase):
    """What the mapping leaves alone."""

    @tag("D60")
    def test_a_role_that_someone_gave_stays(self):
        for role in (ADMIN, REVIEWER):
            with self.subTest(role.key):
                User.objects.filter(username="by hand").delete()
                self.give(role)
                for groups in ([], ["staff"], ["board"]):
                    self.assertEqual(self.sign_in(groups)["First"], role)

    @tag("D60")
    def test_a_role_that_someone_changed_since_stays(self):
        self.sign_in(["board"])
        self.give(REVIEWER)
        self.assertEqual(self.sign_in(["board"]), {"First": REVIEWER})
        self.assertEqual(self.sign_in([]), {"First": REVIEWER})

    @tag("D60")
    def test_a_role_that_someone_gave_again_stays(self):
        self.sign_in(["board"])
        self.give(None)
        User.objects.filter(username="by hand").delete()
        self.give(ADMIN)
        self.assertEqual(self.sign_in([]), {"First": ADMIN})

    @tag("D60")
    def test_a_membership_that_the_log_does_not_explain_stays(self):
        self.sign_in(["staff"])
        self.nora.groups.add(self.first.admin)
        self.sign_in(["board"])
        self.sign_in([])
        held = self.nora.groups.filter(pk__in=self.first.group_ids)
        self.assertEqual(held.count(), 2)

    @tag("D60")
    def test_other_organizations_stay(self):
        set_role(self.acme, [self.nora], REVIEWER)
        self.assertEqual(self.sign_in([]), {"Acme": REVIEWER})

    @tag("D60")
    def test_an_organization_that_the_mapping_no_longer_names_stays(self):
        self.sign_in(["staff"])
        self.use(roles=MAPPING[:2])
        self.assertEqual(self.sign_in([]), {"Second": REVIEWER})

    @tag("D60")
    def test_a_role_from_another_provider_stays(self):
        self.sign_in(["staff"])
        partner = describe_provider(self.server, id="partner", roles=MAPPING)
        for groups in ([], ["board"]):
            self.assertEqual(apply_groups(self.nora, partner, groups), [])

    @tag("D60")
    def test_the_last_admin_keeps_the_role(self):
        third = create_organization("Third", reference="C-3")
        roles = (*MAPPING, GroupRole("owners", "admin", "C-3"))
        self.use(roles=roles)
        self.assertEqual(self.sign_in(["owners"]), {"Third": ADMIN})
        with self.assertLogs("orgadmin.company", "WARNING") as logs:
            self.assertEqual(self.sign_in(["staff"])["Third"], ADMIN)
        [entry] = logs.records
        self.assertEqual(entry.organization_keys, [third.pk])
        # The other changes were made.
        self.assertEqual(self.list_roles().keys(), {"First", "Second", "Third"})
        create_user("another", admin_of=[third])
        self.assertNotIn("Third", self.sign_in(["staff"]))

    @tag("D60")
    def test_an_organization_that_does_not_exist_does_no_harm(self):
        self.use(roles=(*MAPPING, GroupRole("staff", "admin", "C-404")))
        self.assertEqual(self.sign_in(["staff"]).keys(), {"First", "Second"})

    @tag("D60")
    def test_people_who_sign_in_with_a_password_keep_their_roles(self):
        self.sign_in(["staff"])
        self.client.logout()
        data = {"username": "nora", "password": "secret", "next": "/admin/"}
        self.client.post("/admin/login/", data)
        self.assertTrue(self.is_signed_in())
        self.assertEqual(self.list_roles().keys(), {"First", "Second"})


class RecordTests(GroupsCase):
    """The source of a role can be seen."""

    def read_event(self):
        return MembershipEvent.objects.filter(organization_key=self.first.pk).first()

    @tag("D60")
    def test_the_membership_log_says_it(self):
        self.sign_in(["staff", "board"])
        event = self.read_event()
        self.assertEqual(event.source, "company")
        self.assertEqual(event.reason, "board")
        self.assertIsNone(event.actor_key)
        self.client.force_login(create_superuser("root"))
        pages = (
            "/admin/orgadmin/membershipevent/",
            f"/admin/orgadmin/organization/{self.first.pk}/ledger/",
            f"/admin/orgadmin/organization/{self.first.pk}/people/",
        )
        for page in pages:
            text = self.client.get(page).content.decode()
            self.assertRegex(text, ">Example(</bdi>)?</(td|div)>")
        url = f"/admin/orgadmin/organization/{self.first.pk}/ledger/?csv"
        content = b"".join(self.client.get(url).streaming_content).decode()
        self.assertIn(",Example,board,", content)
        self.assertRegex(content, r",company,\r?\n")

    @tag("D60")
    def test_names_a_provider_that_is_no_longer_there_by_its_id(self):
        self.sign_in(["staff"])
        with override_settings(OIDC_PROVIDERS=[]):
            self.assertEqual(self.read_event().shown_actor, "company")

    @tag("D60")
    def test_explain_says_it(self):
        line = "The role comes from a group at Example."
        self.sign_in(["staff"])
        self.assertIn(line, explain(self.nora, self.first).lines)
        self.give(ADMIN)
        self.assertNotIn(line, explain(self.nora, self.first).lines)
        self.sign_in([])
        self.assertNotIn(line, explain(self.nora, self.second).lines)

    @tag("D60")
    def test_mail_names_the_provider(self):
        with self.captureOnCommitCallbacks(execute=True):
            self.sign_in(["board"])
        [text] = [
            message.body
            for message in mail.outbox
            if message.to == ["nora@example.com"] and "access" in message.subject
        ]
        self.assertIn("Example gave you access to “First” as Admin.", text)


class CostTests(GroupsCase):
    def test_a_sign_in_that_changes_nothing_runs_four_queries(self):
        self.sign_in(["staff"])
        [provider] = settings.OIDC_PROVIDERS
        # The transaction of the tests adds a savepoint, with two statements.
        with self.assertNumQueries(4 + 2):
            self.assertEqual(apply_groups(self.nora, provider, ["staff"]), [])


@skipUnlessDBFeature("has_select_for_update")
class TwoAtOnceTests(TransactionTestCase):
    """A sign-in, and another one or a change by hand, at the same time."""

    def setUp(self):
        self.acme = create_organization(reference="C-1")
        create_user("keeper", admin_of=[self.acme])
        self.nora = create_user("nora")
        self.provider = OpenIDProvider(
            "company", "Example", "https://id.example.com", "us", "x", roles=MAPPING
        )

    def sign_in(self, groups):
        return apply_groups(self.nora, self.provider, groups)

    def give(self):
        change = RoleChange(self.nora, self.acme, REVIEWER)
        return membership.change_roles([change])

    @tag("D60")
    def test_two_sign_ins_give_one_role(self):
        results = run_together(
            lambda: self.sign_in(["board"]), lambda: self.sign_in(["board"])
        )
        self.assertEqual(sorted(len(changes) for changes in results), [0, 1])
        self.assertEqual(membership.find_role(self.acme, self.nora), ADMIN)

    @tag("D60")
    def test_what_someone_does_by_hand_at_the_same_time_stays(self):
        for _round in range(3):
            run_together(lambda: self.sign_in(["board"]), self.give)
            self.sign_in([])
            self.assertEqual(membership.find_role(self.acme, self.nora), REVIEWER)
            membership.change_roles([RoleChange(self.nora, self.acme, None)])

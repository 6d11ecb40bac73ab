"""After any sequence of changes, the logs and the rule agree.

Roles begin and end in many ways: by the pages of people, invitations, requests,
reviews, archives and the trash, when people leave, and by Django's own managers. After
each random step, the rows of memberships, the access rule and the replayed membership
log say the same about now. At the end, the log still says what was true in between.
"""

import os
import random
from datetime import UTC, datetime, timedelta

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.test import TestCase, tag

from orgadmin.access.roles import ROLES
from orgadmin.models import (
    AccessReview,
    Membership,
    MembershipEvent,
    Organization,
    ReviewAnswer,
    ReviewItem,
    ReviewScope,
    User,
)
from orgadmin.models.guards import LastAdminError
from orgadmin.people import access_requests, archive, invitations
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.expiry import remove_ended_memberships
from orgadmin.people.held_roles import find_group_owners
from orgadmin.people.membership import EndInThePast, change_roles
from orgadmin.people.offboarding import offboard
from orgadmin.people.review_decisions import Decision, decide
from orgadmin.people.review_items import prepare
from orgadmin.people.review_schedule import run_reviews
from orgadmin.people.reviews import NothingToReview, start_review

from .factories import create_organization, create_superuser, create_user
from .test_reviews import at

BEGIN = datetime(2028, 2, 28, 21, tzinfo=UTC)
SECOND = timedelta(seconds=1)
STEPS = 40

# More stories, with seeds after these.
STORIES = int(os.environ.get("WHOLE_STORIES", "2"))
FIRST_SEED = int(os.environ.get("WHOLE_STORY_SEED", "1"))

# What a step may refuse. Then nothing has changed.
REFUSALS = (
    EndInThePast,
    LastAdminError,
    NothingToReview,
    Organization.DoesNotExist,
    PermissionDenied,
    access_requests.AlreadyAsked,
    access_requests.AlreadyMember,
    access_requests.LinkGone,
    access_requests.TooManyRequests,
    invitations.InvitationError,
)


class Story:
    """A sequence of random steps."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.root = create_superuser("root", email="root@example.com")
        self.people = [
            create_user(f"user {number}", email=f"user{number}@example.com")
            for number in range(4)
        ]
        for number in range(3):
            create_organization(f"Number {number}")
        self.now = BEGIN
        self.steps = [
            self.give_role,
            self.give_role,
            self.change_many,
            self.remove_ended,
            self.add_by_manager,
            self.add_by_manager,
            self.remove_by_manager,
            self.set_by_manager,
            self.archive,
            self.restore,
            self.delete,
            self.let_someone_leave,
            self.accept_invitation,
            self.approve_request,
            self.start_review,
            self.answer_review,
            self.answer_review,
            self.run_reviews,
        ]

    def choose_moment(self):
        """Advance the time, often to the end of a membership or to just before it."""
        ends = Membership.objects.filter(ends_at__gt=self.now + SECOND)
        moments = list(ends.values_list("ends_at", flat=True))
        if moments and self.chance.random() < 0.5:
            end = self.chance.choice(moments)
            moment = end - self.chance.choice([0, 1]) * SECOND
            return max(moment, self.now + SECOND)
        pauses = [SECOND, timedelta(hours=1), timedelta(days=9), timedelta(days=40)]
        return self.now + self.chance.choice(pauses)

    def take_step(self):
        step = self.chance.choice(self.steps)
        try:
            with transaction.atomic():
                step()
        except REFUSALS:
            pass
        return step.__name__

    # What a step is about

    def person(self):
        return User.objects.get(pk=self.chance.choice(self.people).pk)

    def organization(self, organizations=None):
        rows = organizations or Organization.objects.all()
        found = list(rows.order_by("pk"))
        return self.chance.choice(found) if found else create_organization("New")

    def group(self):
        organization = self.organization()
        return getattr(organization, self.chance.choice(ROLES).key)

    def end(self):
        kinds = [None, None, MembershipEnd(None)]
        for after in (-SECOND, SECOND, timedelta(hours=2), timedelta(days=20)):
            kinds.append(MembershipEnd(self.now + after))
        return self.chance.choice(kinds)

    # Steps

    def give_role(self):
        role = self.chance.choice([*ROLES, None])
        change = RoleChange(self.person(), self.organization(), role, end=self.end())
        change_roles([change], notify=False)

    def change_many(self):
        role = self.chance.choice([*ROLES, None])
        organizations = Organization.objects.unarchived()
        changes = [RoleChange(self.person(), row, role) for row in organizations]
        change_roles(changes, notify=False)

    def remove_ended(self):
        remove_ended_memberships()

    def member(self):
        """Return a user and a group; often of a membership that has just ended."""
        ended = list(Membership.objects.ended().order_by("pk"))
        if ended and self.chance.random() < 0.7:
            row = self.chance.choice(ended)
            return row.user, row.group
        return self.person(), self.group()

    def add_by_manager(self):
        user, group = self.member()
        if self.chance.random() < 0.5:
            user.groups.add(group)
        else:
            group.user_set.add(user)
        # Also if the row of a membership that has ended was still there.
        assert Membership.objects.current().filter(user=user, group=group).exists()

    def remove_by_manager(self):
        user, group = self.person(), self.group()
        if self.chance.random() < 0.5:
            user.groups.remove(group)
        else:
            group.user_set.remove(user)

    def set_by_manager(self):
        user, group = self.member()
        if self.chance.random() < 0.5:
            user.groups.set([group])
        else:
            group.user_set.set([user])
        assert Membership.objects.current().filter(user=user, group=group).exists()

    def archive(self):
        archive.archive([self.organization().pk], actor=self.root)

    def restore(self):
        archive.restore([self.organization().pk], actor=self.root)

    def delete(self):
        pk = self.organization().pk
        archive.archive([pk], actor=self.root)
        archive.move_to_trash([pk], actor=self.root)
        if self.chance.random() < 0.5:
            archive.delete_permanently([pk], actor=self.root)
        archive.purge_trash()

    def let_someone_leave(self):
        user = self.person()
        pks = Organization.objects.values_list("pk", flat=True)
        offboard(user, actor=self.root, confirmed=list(pks))
        # They come back, with no roles.
        User.objects.filter(pk=user.pk).update(is_active=True)

    def accept_invitation(self):
        user = self.person()
        organization = self.organization(Organization.objects.unarchived())
        invitation = invitations.invite(
            organization,
            user.email,
            self.chance.choice(ROLES),
            actor=self.root,
            ends_at=self.now + timedelta(days=15),
        )
        invitations.accept(invitation, user, account_is_unused=False)

    def approve_request(self):
        user = self.person()
        organization = self.organization(Organization.objects.unarchived())
        token = access_requests.make_link(organization, actor=self.root)
        asked = access_requests.ask(token, user, self.chance.choice(ROLES), "Please")
        role = self.chance.choice(ROLES)
        access_requests.approve(asked, role, actor=self.root, end=self.end())

    def start_review(self):
        review = start_review(
            ReviewScope.ALL,
            due_on=self.now.date() + timedelta(days=30),
            ends_access=self.chance.random() < 0.7,
            actor=self.root,
        )
        prepare(review.pk)

    def answer_review(self):
        items = ReviewItem.objects.filter(
            path="member", section__review__in=AccessReview.objects.answerable()
        )
        found = list(items.with_decisions().order_by("pk"))
        if not found:
            return
        item = self.chance.choice(found)
        answer = self.chance.choice(["confirmed", "changed", "ended"])
        role = self.chance.choice(ROLES) if answer == "changed" else None
        decision = Decision(
            item.pk,
            ReviewAnswer(answer),
            role=role,
            number=len(item.list_decisions()),
        )
        decide(item.section, [decision], actor=self.root)

    def run_reviews(self):
        run_reviews()


class StoryTests(TestCase):
    @tag("C15", "C16")
    def test_rows_rule_and_log_agree(self):
        for seed in range(FIRST_SEED, FIRST_SEED + STORIES):
            with self.subTest(seed=seed), transaction.atomic():
                self.tell(Story(seed))
                transaction.set_rollback(True)

    def tell(self, story):
        past = []
        for number in range(STEPS):
            story.now = story.choose_moment()
            with at(story.now):
                step = f"step {number}: {story.take_step()} at {story.now}"
                members = self.read_rows()
                self.assertEqual(self.replay(None), members, step)
                self.assertEqual(self.ask_rule(story), self.predict(members), step)
            past.append((step, story.now, members))
        with at(story.now + timedelta(days=400)):
            self.check_past(past)
            remove_ended_memberships()
            self.check_past(past)

    def check_past(self, past):
        for step, moment, members in past:
            self.assertEqual(self.replay(moment + SECOND / 2), members, step)

    def read_rows(self):
        """Return {(user ID, organization ID, role)} of memberships that count."""
        rows = Membership.objects.current().exclude(user__username="root")
        owners = find_group_owners(rows.values("group"))
        return {
            (
                row.user_id,
                owners[row.group_id].organization.pk,
                owners[row.group_id].role.key,
            )
            for row in rows
        }

    def replay(self, moment):
        events = MembershipEvent.objects.find_joining_events_of_members(moment)
        rows = list(events.values_list("user_key", "organization_key", "role"))
        self.assertEqual(len(rows), len(set(rows)))
        return set(rows)

    def predict(self, members):
        """Return {(user ID, organization ID): permissions} that roles amount to."""
        unarchived = Organization.objects.unarchived()
        pks = set(unarchived.values_list("pk", flat=True))
        expected = {}
        for user, organization, key in members:
            if organization in pks:
                [role] = [role for role in ROLES if role.key == key]
                held = expected.setdefault((user, organization), set())
                held |= set(role.permissions)
        return expected

    def ask_rule(self, story):
        found = {}
        for user in User.objects.filter(pk__in=[row.pk for row in story.people]):
            listed = set(Organization.objects.permitted(user))
            for organization in Organization.objects.all():
                permissions = Organization.objects.permissions_on(user, organization.pk)
                self.assertEqual("view" in permissions, organization in listed)
                if permissions:
                    found[user.pk, organization.pk] = set(permissions)
        return found

"""Access reviews: what they ask, what people decide, and when they start again."""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orgadmin", "0063_search_and_feed_indexes"),
    ]

    operations = [
        migrations.CreateModel(
            name="ReviewRhythm",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "every_days",
                    models.PositiveSmallIntegerField(
                        default=90,
                        validators=[
                            django.core.validators.MinValueValidator(7),
                            django.core.validators.MaxValueValidator(1000),
                        ],
                        verbose_name="repeat every (days)",
                    ),
                ),
                (
                    "answer_days",
                    models.PositiveSmallIntegerField(
                        default=30,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(365),
                        ],
                        verbose_name="time to answer (days)",
                    ),
                ),
                (
                    "ends_access",
                    models.BooleanField(
                        default=False,
                        help_text="On the due date, members whose access nobody has confirmed lose it. Otherwise, the review only reports them.",
                        verbose_name="unconfirmed access ends",
                    ),
                ),
                ("next_on", models.DateField(verbose_name="next review starts on")),
                ("is_active", models.BooleanField(default=True, verbose_name="active")),
            ],
            options={
                "verbose_name": "review schedule",
                "verbose_name_plural": "review schedules",
                "ordering": ["next_on", "pk"],
            },
        ),
        migrations.CreateModel(
            name="AccessReview",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "started_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="started"
                    ),
                ),
                (
                    "started_by_key",
                    models.BigIntegerField(null=True, verbose_name="by user ID"),
                ),
                (
                    "started_by_name",
                    models.CharField(
                        blank=True, max_length=150, verbose_name="started by"
                    ),
                ),
                (
                    "scope",
                    models.CharField(
                        choices=[
                            ("all", "All organizations"),
                            ("list", "The organizations of a filtered list"),
                            ("one", "One organization"),
                        ],
                        max_length=10,
                        verbose_name="organizations",
                    ),
                ),
                ("scope_text", models.CharField(blank=True, max_length=500)),
                ("due_on", models.DateField(verbose_name="due date")),
                (
                    "ends_access",
                    models.BooleanField(
                        default=False, verbose_name="unconfirmed access ends"
                    ),
                ),
                ("prepared_to", models.BigIntegerField(default=0, editable=False)),
                ("prepared_at", models.DateTimeField(editable=False, null=True)),
                ("asking", models.CharField(blank=True, editable=False, max_length=20)),
                ("asked_to", models.BigIntegerField(default=0, editable=False)),
                ("asked", models.CharField(blank=True, editable=False, max_length=20)),
                ("log_position", models.BigIntegerField(default=0, editable=False)),
                (
                    "completed_at",
                    models.DateTimeField(null=True, verbose_name="completed"),
                ),
                (
                    "rhythm",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reviews",
                        to="orgadmin.reviewrhythm",
                        verbose_name="schedule",
                    ),
                ),
            ],
            options={
                "verbose_name": "access review",
                "verbose_name_plural": "access reviews",
                "ordering": ["-pk"],
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="ReviewSection",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "organization_key",
                    models.BigIntegerField(null=True, verbose_name="organization ID"),
                ),
                (
                    "organization_name",
                    models.CharField(
                        blank=True, max_length=255, verbose_name="organization"
                    ),
                ),
                ("items_total", models.PositiveIntegerField(default=0)),
                ("open_items", models.PositiveIntegerField(default=0)),
                (
                    "answered_at",
                    models.DateTimeField(null=True, verbose_name="answered"),
                ),
                (
                    "review",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="sections",
                        to="orgadmin.accessreview",
                    ),
                ),
            ],
            options={
                "verbose_name": "section of an access review",
                "verbose_name_plural": "sections of access reviews",
                "ordering": ["organization_key"],
            },
        ),
        migrations.CreateModel(
            name="ReviewItem",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("key", models.CharField(max_length=80)),
                (
                    "path",
                    models.CharField(
                        choices=[
                            ("member", "Role"),
                            ("superuser", "Superuser"),
                            (
                                "delegated",
                                "Staff with a permission on all organizations",
                            ),
                            ("grant", "Permission on one organization"),
                            ("group", "Group with a permission on one organization"),
                            ("provider", "Group at a sign-in provider"),
                        ],
                        max_length=20,
                        verbose_name="access",
                    ),
                ),
                ("user_key", models.BigIntegerField(null=True, verbose_name="user ID")),
                (
                    "user_name",
                    models.CharField(blank=True, max_length=254, verbose_name="person"),
                ),
                (
                    "full_name",
                    models.CharField(blank=True, max_length=310, verbose_name="name"),
                ),
                (
                    "organization_key",
                    models.BigIntegerField(null=True, verbose_name="organization ID"),
                ),
                (
                    "organization_name",
                    models.CharField(
                        blank=True, max_length=255, verbose_name="organization"
                    ),
                ),
                (
                    "role",
                    models.CharField(
                        blank=True,
                        choices=[("admin", "Admin"), ("reviewer", "Reviewer")],
                        default="",
                        max_length=20,
                        verbose_name="role",
                    ),
                ),
                (
                    "detail",
                    models.CharField(
                        blank=True, max_length=1000, verbose_name="details"
                    ),
                ),
                ("since", models.DateTimeField(null=True, verbose_name="since")),
                ("is_older", models.BooleanField(default=False)),
                (
                    "added_by_key",
                    models.BigIntegerField(null=True, verbose_name="by user ID"),
                ),
                (
                    "added_by_name",
                    models.CharField(
                        blank=True, max_length=150, verbose_name="added by"
                    ),
                ),
                (
                    "source",
                    models.CharField(blank=True, max_length=200, verbose_name="source"),
                ),
                (
                    "last_sign_in",
                    models.DateTimeField(null=True, verbose_name="last sign-in"),
                ),
                ("ends_at", models.DateTimeField(null=True, verbose_name="ends")),
                (
                    "section",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="items",
                        to="orgadmin.reviewsection",
                    ),
                ),
            ],
            options={
                "verbose_name": "item of an access review",
                "verbose_name_plural": "items of access reviews",
                "ordering": ["pk"],
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="ReviewDecision",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="when"
                    ),
                ),
                (
                    "answer",
                    models.CharField(
                        choices=[
                            ("confirmed", "confirmed"),
                            ("changed", "changed"),
                            ("ended", "ended"),
                            ("left", "left before an answer"),
                            ("unconfirmed", "not confirmed"),
                            ("expired", "not confirmed, ended"),
                            ("kept", "not confirmed, kept as last admin"),
                        ],
                        max_length=20,
                        verbose_name="decision",
                    ),
                ),
                (
                    "actor_key",
                    models.BigIntegerField(null=True, verbose_name="by user ID"),
                ),
                (
                    "actor_name",
                    models.CharField(blank=True, max_length=150, verbose_name="by"),
                ),
                (
                    "role_before",
                    models.CharField(
                        blank=True,
                        choices=[("admin", "Admin"), ("reviewer", "Reviewer")],
                        max_length=20,
                    ),
                ),
                ("ends_at_before", models.DateTimeField(null=True)),
                (
                    "role",
                    models.CharField(
                        blank=True,
                        choices=[("admin", "Admin"), ("reviewer", "Reviewer")],
                        max_length=20,
                        verbose_name="role",
                    ),
                ),
                ("ends_at", models.DateTimeField(null=True, verbose_name="ends")),
                ("reason", models.TextField(blank=True, verbose_name="reason")),
                (
                    "item",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="decision",
                        to="orgadmin.reviewitem",
                    ),
                ),
            ],
            options={
                "verbose_name": "decision of an access review",
                "verbose_name_plural": "decisions of access reviews",
                "ordering": ["pk"],
                "base_manager_name": "objects",
                "indexes": [
                    models.Index(fields=["actor_key"], name="review_decision_actor")
                ],
            },
        ),
        migrations.CreateModel(
            name="ReviewNotice",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                (
                    "organization_key",
                    models.BigIntegerField(verbose_name="organization ID"),
                ),
                ("user_key", models.BigIntegerField(verbose_name="user ID")),
                ("user_name", models.CharField(max_length=254, verbose_name="person")),
                ("kind", models.CharField(max_length=20)),
                (
                    "at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="when"
                    ),
                ),
                (
                    "review",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="notices",
                        to="orgadmin.accessreview",
                    ),
                ),
            ],
            options={
                "verbose_name": "request of an access review",
                "verbose_name_plural": "requests of access reviews",
                "ordering": ["pk"],
                "base_manager_name": "objects",
                "indexes": [
                    models.Index(fields=["user_key"], name="review_notice_user")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("review", "organization_key", "user_key", "kind"),
                        name="review_asked_once",
                    )
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="accessreview",
            constraint=models.UniqueConstraint(
                condition=models.Q(("completed_at", None)),
                fields=("rhythm",),
                name="one_open_review_per_rhythm",
            ),
        ),
        migrations.AddIndex(
            model_name="reviewsection",
            index=models.Index(
                fields=["organization_key", "review"], name="review_of_organization"
            ),
        ),
        migrations.AddIndex(
            model_name="reviewsection",
            index=models.Index(
                condition=models.Q(("open_items__gt", 0)),
                fields=["review", "organization_key"],
                name="review_unanswered",
            ),
        ),
        migrations.AddConstraint(
            model_name="reviewsection",
            constraint=models.UniqueConstraint(
                fields=("review", "organization_key"), name="review_organization"
            ),
        ),
        migrations.AddConstraint(
            model_name="reviewsection",
            constraint=models.UniqueConstraint(
                condition=models.Q(("organization_key", None)),
                fields=("review",),
                name="review_staff_section",
            ),
        ),
        migrations.AddConstraint(
            model_name="reviewsection",
            constraint=models.CheckConstraint(
                condition=models.Q(("open_items__lte", models.F("items_total"))),
                name="review_open_items",
            ),
        ),
        migrations.AddIndex(
            model_name="reviewitem",
            index=models.Index(fields=["user_key"], name="review_item_user"),
        ),
        migrations.AddConstraint(
            model_name="reviewitem",
            constraint=models.UniqueConstraint(
                fields=("section", "key"), name="review_item_key"
            ),
        ),
    ]

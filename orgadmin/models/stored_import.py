"""Import: an uploaded file of organizations or people, and its import."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgadmin.models.user import User

# How long an import that nobody has confirmed is kept.
LIFETIME = timedelta(hours=24)

# How long a completed import can be undone.
UNDO_LIFETIME = timedelta(days=30)


class ImportQuerySet(models.QuerySet["Import"]):
    def readable_by(self, user: User) -> ImportQuerySet:
        """Return the imports that a superuser can view.

        Until an import is done, only its author can view it.
        """
        return self.filter(
            models.Q(state__in=Import.DONE_STATES) | models.Q(actor_key=user.pk)
        )

    def delete_old(self) -> None:
        """Delete imports that are older than LIFETIME and are in one of OPEN_STATES.

        Also deletes the parts of imports that finished more than UNDO_LIFETIME ago, so
        that they can no longer be undone.
        """
        now = timezone.now()
        unfinished = self.filter(
            state__in=Import.OPEN_STATES, created_at__lt=now - LIFETIME
        )
        unfinished.delete()
        ImportPart.objects.filter(
            stored_import__finished_at__lt=now - UNDO_LIFETIME
        ).delete()


class Import(models.Model):
    """A file of organizations or people, and the state of its import.

    While the import waits, its `parts` contain the file, its records, and the preview.
    When it is done, they contain the data for undoing it. The row of a completed import
    remains even after its parts were deleted.
    """

    class Subject(models.TextChoices):
        ORGANIZATIONS = "organizations", _("Organizations")
        PEOPLE = "people", _("People")

    class State(models.TextChoices):
        PREPARING = "preparing", _("Being read")
        WAITING = "waiting", _("Waiting for confirmation")
        QUEUED = "queued", _("Waiting to be imported")
        WORKING = "working", _("Being imported")
        FAILED = "failed", _("Nothing was imported")
        DONE = "done", _("Imported")
        UNDONE = "undone", _("Undone")

    DONE_STATES = (State.DONE, State.UNDONE)
    # Imports in these states are deleted if nobody continues them.
    OPEN_STATES = (State.PREPARING, State.WAITING, State.FAILED)
    # An import can be canceled until a worker has started it.
    CANCELLABLE_STATES = (*OPEN_STATES, State.QUEUED)

    # Not a foreign key, so that a release that does not know this table can delete the
    # account.
    actor_key = models.BigIntegerField(_("imported by"))
    file_name = models.CharField(_("file"), max_length=255, blank=True)
    # Whether the rows of the file are organizations or people. The default is for
    # earlier releases.
    subject = models.CharField(
        _("content"),
        max_length=16,
        choices=Subject.choices,
        default=Subject.ORGANIZATIONS,
        db_default=Subject.ORGANIZATIONS,
    )
    sha256 = models.CharField(max_length=64)
    state = models.CharField(
        _("status"), max_length=16, choices=State.choices, default=State.PREPARING
    )
    # The author's choices: the fields of ImportOptions, and whether emails are sent.
    choices = models.JSONField(default=dict)
    # How the file was read, and the number of rows for each kind of change.
    summary = models.JSONField(default=dict)
    # A hash of the preview and the choices.
    digest = models.CharField(max_length=64, blank=True)
    # Why nothing was imported, in the author's language.
    notice = models.TextField(blank=True)
    # The line of the file that the worker has reached.
    line = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(_("uploaded"), default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    undone_at = models.DateTimeField(null=True, blank=True)
    undone_by_key = models.BigIntegerField(null=True, blank=True)

    objects = ImportQuerySet.as_manager()

    class Meta:
        verbose_name = _("import")
        verbose_name_plural = _("imports")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["state", "created_at"], name="import_state_created"),
        ]

    def __str__(self) -> str:
        return self.file_name or str(_("Import %d") % self.pk)

    @property
    def is_done(self) -> bool:
        return self.state in self.DONE_STATES

    @property
    def is_running(self) -> bool:
        """Whether a worker is processing the import, or will process it."""
        return self.state in (
            self.State.PREPARING,
            self.State.QUEUED,
            self.State.WORKING,
        )

    def move(self, states: Collection[str], state: str, **values: object) -> bool:
        """Change the state, unless it has changed in the meantime.

        `states` are the states that the import may have now. Returns whether the state
        was changed.
        """
        rows = type(self).objects.filter(pk=self.pk, state__in=states)
        if not rows.update(state=state, **values):
            return False
        self.refresh_from_db()
        return True


class ImportPart(models.Model):
    """A part of an import's data, such as a thousand records of its file.

    The data is split into parts so that large files need little memory.
    """

    class Kind(models.TextChoices):
        FILE = "file", "file"
        RECORDS = "records", "records"
        PREVIEW = "preview", "preview"
        PROBLEMS = "problems", "problems"
        WARNINGS = "warnings", "warnings"
        SKIPPED = "skipped", "skipped"
        CHANGES = "changes", "changes"

    stored_import = models.ForeignKey(
        Import, on_delete=models.CASCADE, related_name="parts", db_index=False
    )
    kind = models.CharField(max_length=16, choices=Kind.choices)
    number = models.PositiveIntegerField()
    content = models.BinaryField()  # compressed

    class Meta:
        default_permissions = ()
        constraints = [
            # The index of this constraint also serves to find the parts of an import.
            models.UniqueConstraint(
                fields=["stored_import", "kind", "number"], name="unique_import_part"
            )
        ]

    def __str__(self) -> str:
        return f"{self.stored_import_id} {self.kind} {self.number}"

    @staticmethod
    def pack(items: Sequence[Any]) -> bytes:
        """Return the content of a part with these items, as compressed JSON."""
        text = json.dumps(items, ensure_ascii=False, separators=(",", ":"))
        # Files can contain text that is not valid Unicode.
        return zlib.compress(text.encode("utf-8", "surrogatepass"))

    def read_text(self) -> str:
        return zlib.decompress(self.content).decode("utf-8", "surrogatepass")

    def read_items(self) -> list[Any]:
        return json.loads(self.read_text())

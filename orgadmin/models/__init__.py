"""The models: people, organizations, and what belongs to them."""

from orgadmin.models.accepted_invitation import AcceptedInvitation
from orgadmin.models.access_request import AccessLink, AccessRequest
from orgadmin.models.access_review import (
    AccessReview,
    ReviewIsComplete,
    ReviewRhythm,
    ReviewScope,
    ReviewSection,
)
from orgadmin.models.audit_event import AuditEvent
from orgadmin.models.bulk_job import BulkJob
from orgadmin.models.column_mapping import ColumnMapping
from orgadmin.models.contact import Contact
from orgadmin.models.doctor_run import DoctorRun
from orgadmin.models.end_reminder import EndReminder
from orgadmin.models.invitation import Invitation
from orgadmin.models.kept_log_entry import KeptLogEntry
from orgadmin.models.mail_worker import MailWorker
from orgadmin.models.membership import Membership
from orgadmin.models.membership_event import MembershipEvent
from orgadmin.models.monthly_count import MonthlyCount
from orgadmin.models.organization import Organization
from orgadmin.models.permissions import (
    OrganizationGroupObjectPermission,
    OrganizationUserObjectPermission,
)
from orgadmin.models.review_evidence import (
    AccessPath,
    Decided,
    LaterDecision,
    ReviewAnswer,
    ReviewDecision,
    ReviewItem,
    ReviewNotice,
)
from orgadmin.models.role_holder import RoleHolder
from orgadmin.models.sent_form import SentForm
from orgadmin.models.sign_in_attempt import SignInAttempt
from orgadmin.models.stored_import import Import, ImportPart
from orgadmin.models.user import User
from orgadmin.models.user_session import UserSession

__all__ = [
    "AcceptedInvitation",
    "AccessLink",
    "AccessRequest",
    "AccessReview",
    "ReviewAnswer",
    "AuditEvent",
    "BulkJob",
    "ColumnMapping",
    "Contact",
    "Decided",
    "DoctorRun",
    "EndReminder",
    "Import",
    "ImportPart",
    "Invitation",
    "KeptLogEntry",
    "LaterDecision",
    "MailWorker",
    "Membership",
    "MembershipEvent",
    "MonthlyCount",
    "Organization",
    "OrganizationGroupObjectPermission",
    "OrganizationUserObjectPermission",
    "AccessPath",
    "ReviewDecision",
    "ReviewIsComplete",
    "ReviewItem",
    "ReviewNotice",
    "ReviewRhythm",
    "ReviewSection",
    "ReviewScope",
    "RoleHolder",
    "SentForm",
    "SignInAttempt",
    "User",
    "UserSession",
]

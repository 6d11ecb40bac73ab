"""The pages of archived organizations, and the page that archives one.

Only superusers can open the pages of archived organizations. These pages use their own
querysets, because the access rule does not give anyone access to an archived
organization.
"""

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext as _, gettext_lazy, ngettext

from orgadmin.access.rule import is_active_superuser
from orgadmin.admin.base import clean_search
from orgadmin.admin.lists.changelist import LimitedPaginator, get_page
from orgadmin.admin.organizations.overview import list_details, list_log_entries
from orgadmin.gate.answers import ArchiveGate
from orgadmin.models import Contact, Membership, Organization
from orgadmin.models.fields import normalize
from orgadmin.models.validators import is_primary_key
from orgadmin.people import archive, membership
from orgadmin.records.event_actors import find_names_for_superusers
from orgadmin.records.history import Position, read_history

# What superusers can do with an archived organization. Each name is the last part of a
# URL.
STEPS = ("restore", "trash", "purge")

# The maximum number of members listed on the page that asks before restoring.
MEMBERS_SHOWN = 100


class ArchivesOrganizations:
    """Archives organizations where Django's pages would delete objects.

    Only archived organizations can be deleted, on the pages of `ArchivedPages`.
    """

    def log_deletions(self, request, queryset):
        """Do nothing, because `archive()` writes to the history."""

    def delete_model(self, request, obj):
        archive.archive([obj.pk], actor=request.user)

    def response_delete(self, request, obj_display, obj_id):
        text = _("“%s” was archived. Nobody has access to it any more.") % obj_display
        return self._confirm_archiving(request, text)

    @admin.action(
        permissions=["delete"],
        description=gettext_lazy("Archive selected %(verbose_name_plural)s"),
    )
    def delete_selected(self, request, queryset):
        """Archive the selected organizations, or ask for confirmation first."""
        if "post" not in request.POST:
            return self._ask_about_selected(request, queryset)
        pks = list(queryset.values_list("pk", flat=True))
        number = len(archive.archive(pks, actor=request.user))
        text = ngettext(
            "%d organization was archived. Nobody has access to it any more.",
            "%d organizations were archived. Nobody has access to them any more.",
            number,
        )
        return self._confirm_archiving(request, text % number)

    def _ask_about_selected(self, request, queryset):
        lines, *_others = self.get_deleted_objects(queryset, request)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Archive organizations?"),
            "opts": self.opts,
            "media": self.media,
            "queryset": queryset,
            "lines": lines,
        }
        template = "admin/orgadmin/organization/archive_selected.html"
        return TemplateResponse(request, template, context)

    def _confirm_archiving(self, request, text):
        """Redirect to the list with the message `text`.

        For superusers, the message links to the archived organizations.
        """
        if is_active_superuser(request.user):
            link = reverse("admin:orgadmin_organization_archived")
            label = _("Archived organizations")
            text = format_html('{} <a href="{}">{}</a>', text, link, label)
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:orgadmin_organization_changelist"))


class ArchivedPages:
    """The pages archived/ beside the list of organizations."""

    def get_urls(self):
        protect = self.admin_site.admin_view
        name = "orgadmin_organization_archived"
        urls = [path("archived/", protect(self.archived_view), name=name)]
        for step in STEPS:
            urls.append(
                path(
                    f"archived/<path:object_id>/{step}/",
                    protect(self.archived_step_view),
                    {"step": step},
                    name=f"{name}_{step}",
                )
            )
        record = path(
            "archived/<path:object_id>/",
            protect(self.archived_record_view),
            name=f"{name}_record",
        )
        return [*urls, record, *super().get_urls()]

    def archived_view(self, request):
        """List the archived organizations, starting with the last one archived."""
        rows = find_archived(request)
        text = clean_search(request.GET.get("q", ""))
        if text.strip():
            words = normalize(text).split()
            for word in words:
                rows = rows.filter(search_text__contains=word)
            if not words:
                rows = rows.none()
        in_trash = "trash" in request.GET
        if in_trash:
            rows = rows.filter(trashed_at__isnull=False)
        rows = rows.order_by("-archived_at", "-pk").defer("notes", "search_text")
        page = get_page(request, rows, LimitedPaginator)
        set_archiver_names(page)
        for organization in page:
            set_deletion_day(organization)
        query = request.GET.copy()
        query.pop("p", None)
        return self.render_archived(
            request,
            "archived",
            _("Archived organizations"),
            page=page,
            text=text,
            in_trash=in_trash,
            query=query.urlencode(),
        )

    def archived_record_view(self, request, object_id):
        """Show an archived organization: its fields, members and history."""
        organization = get_archived(request, object_id)
        if organization is None:
            return self.respond_to_unarchived(request, object_id)
        page = get_page(request, list_memberships(organization))
        gate = ArchiveGate(request.user)
        position = Position.parse(request.GET.get("before", ""))
        history = read_history(
            list_log_entries(organization), organization, gate, position
        )
        permissions = gate.permissions_on(organization.pk)
        set_archiver_names([organization])
        return self.render_archived(
            request,
            "archived_record",
            str(organization),
            organization,
            details=list_details(organization, permissions),
            page=page,
            members=membership.describe_members(organization, page),
            sees_people=True,
            action_list=history.entries,
            older=history.older,
            is_newest="before" not in request.GET,
        )

    def archived_step_view(self, request, object_id, step):
        """Ask before a step, such as restoring the organization, or carry it out.

        For the step "restore", `ask_restore()` returns the variables of the page that
        asks, and `archived_restore()` carries out the step and returns the response.
        Raises `Http404` for everyone except superusers.
        """
        organization = get_archived(request, object_id)
        if organization is None:
            return self.respond_to_unarchived(request, object_id)
        if request.method == "POST":
            try:
                return getattr(self, f"archived_{step}")(request, organization)
            except PermissionDenied as error:
                # The person's access ended in the meantime.
                raise Http404 from error
        ask = getattr(self, f"ask_{step}")
        return self.render_archived(
            request, f"archived_{step}", "", organization, **ask(organization)
        )

    def ask_restore(self, organization):
        memberships = list_memberships(organization)
        shown = list(memberships[: MEMBERS_SHOWN + 1])
        members = membership.describe_members(organization, shown[:MEMBERS_SHOWN])
        return {
            "members": members,
            "number": memberships.count() if len(shown) > MEMBERS_SHOWN else len(shown),
            "invitations": organization.invitations.count(),
        }

    def archived_restore(self, request, organization):
        if not archive.restore([organization.pk], actor=request.user):
            return self.respond_to_unarchived(request, str(organization.pk))
        text = _("“%s” was restored. Its members have access again.") % organization
        return self.redirect_with_message(
            request, text, to=self.get_record_url(organization)
        )

    def ask_trash(self, organization):
        return {"until": archive.find_deletion_time()}

    def archived_trash(self, request, organization):
        archive.move_to_trash([organization.pk], actor=request.user)
        text = _("“%s” is in the trash.") % organization
        url = get_archived_url(organization)
        return self.redirect_with_message(request, text, to=url)

    def ask_purge(self, organization):
        people = list_memberships(organization).values("user").distinct()
        contacts = Contact.objects.filter(organization=organization)
        return {"people": people.count(), "contacts": contacts.count()}

    def archived_purge(self, request, organization):
        deleted = archive.delete_permanently([organization.pk], actor=request.user)
        if not deleted:
            return self.respond_to_unarchived(request, str(organization.pk))
        text = _("“%s” was deleted permanently.") % organization
        archived = reverse("admin:orgadmin_organization_archived")
        return self.redirect_with_message(request, text, to=archived)

    def render_archived(self, request, template, title, organization=None, **context):
        """Render a template of the archived pages.

        The pages do not have tabs, because tabs lead to pages that the access rule does
        not allow.
        """
        page_context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": title,
            "sees_people": True,
            **context,
        }
        if organization is not None:
            set_deletion_day(organization)
            page_context["original"] = organization
            page_context["title"] = title or str(organization)
        name = f"admin/orgadmin/organization/{template}.html"
        return TemplateResponse(request, name, page_context)

    def respond_to_unarchived(self, request, object_id):
        """Redirect to the list if an organization is not archived, or no longer is."""
        text = _("There is no archived organization “%s”.") % object_id
        return self.redirect_with_message(
            request,
            text,
            messages.WARNING,
            reverse("admin:orgadmin_organization_archived"),
        )

    def _get_obj_does_not_exist_redirect(self, request, opts, object_id):
        """Redirect to the page of an archived organization, if the person can open it.

        Everyone except superusers gets the same response as for a missing object.
        """
        organization = None
        if is_active_superuser(request.user):
            organization = get_archived(request, object_id)
        if organization is None:
            return super()._get_obj_does_not_exist_redirect(request, opts, object_id)
        text = _("“%s” is archived, so nobody has access to it.") % organization
        return self.redirect_with_message(
            request, text, messages.WARNING, get_archived_url(organization)
        )


def find_archived(request):
    """Return the archived organizations. Raises `Http404` unless a superuser asks."""
    if not is_active_superuser(request.user):
        raise Http404
    return Organization.objects.archived()


def get_archived(request, object_id):
    """Return an archived organization, or None if it is not archived.

    Raises `Http404` unless a superuser asks.
    """
    key = int(object_id) if is_primary_key(object_id) else None
    return find_archived(request).filter(pk=key).first()


def get_archived_url(organization):
    """Return the URL of the page of an archived organization."""
    name = "admin:orgadmin_organization_archived_record"
    return reverse(name, args=[organization.pk])


def set_deletion_day(organization):
    """Set `deleted_on` to the day on which an organization will be deleted, as text.

    The text is empty for an organization that is not in the trash.
    """
    organization.deleted_on = ""
    if organization.trashed_at is not None:
        at = archive.find_deletion_time(organization.trashed_at)
        organization.deleted_on = date_format(at, "DATE_FORMAT")


def set_archiver_names(organizations):
    """Set `archiver` to the name of the person who archived each organization.

    The names are for superusers only. Runs one query.
    """
    names = find_names_for_superusers({row.archived_by_key for row in organizations})
    for row in organizations:
        row.archiver = names.get(row.archived_by_key, row.archived_by_name)


def list_memberships(organization):
    """Return the current memberships of an organization, sorted by user."""
    memberships = Membership.objects.current().filter(group__in=organization.group_ids)
    return memberships.select_related("user").order_by("user__sort_name", "pk")

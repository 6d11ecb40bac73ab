"""The pages that export and erase the personal data of a person."""

from django.contrib import messages
from django.http import StreamingHttpResponse
from django.utils.translation import gettext_lazy as _

from orgadmin.admin.successors import read_successor_form, require_successor_form
from orgadmin.models.guards import LastSuperuserError
from orgadmin.records.erasure import ErasureRefused, erase_person
from orgadmin.records.personal_data import (
    export_person,
    find_person,
    list_not_included,
)


class PersonalDataPages:
    """The pages export/ and erase/ below a person, for superusers."""

    def export_view(self, request, user):
        """Explain the export, or send the file."""
        if request.method != "POST":
            title = _("Export personal data of “%s”?") % user.label
            others = list_not_included(find_person(user))
            return self.render_page(request, user, "export", title, not_included=others)
        included = request.POST.getlist("include")
        lines = export_person(user, actor=request.user, included=included)
        response = StreamingHttpResponse(
            (f"{line}\n" for line in lines),
            content_type="application/json; charset=utf-8",
        )
        filename = f"person-{user.pk}.json"
        response["Content-Disposition"] = f'attachment; filename="{filename}"'
        return response

    def erase_view(self, request, user):
        """Show what would be erased, or erase it if the username was entered."""
        url = self.get_record_url(user)
        entered = request.POST.get("username", "")
        is_confirmed = request.method == "POST" and entered == user.username
        if is_confirmed:
            successor_form = require_successor_form(request.POST, [user])
        else:
            successor_form = read_successor_form(request.POST, [user], is_sent=False)
        try:
            report = erase_person(
                user,
                actor=request.user,
                dry_run=not is_confirmed,
                confirmed=successor_form.confirmed,
                successors=successor_form.chosen if is_confirmed else {},
                included=request.POST.getlist("include") if is_confirmed else (),
                replaces_texts=is_confirmed and "replace_texts" in request.POST,
            )
        except (ErasureRefused, LastSuperuserError) as error:
            return self.redirect_with_message(
                request, str(error), messages.ERROR, to=url
            )
        if is_confirmed:
            text = _("The person was erased. The account is now called “%s”.")
            return self.redirect_with_message(request, text % report.pseudonym, to=url)
        return self.render_page(
            request,
            user,
            "erase",
            _("Erase “%s”?") % user,
            report=report,
            successor_form=successor_form,
            is_refused=request.method == "POST",
        )

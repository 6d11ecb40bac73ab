"""The page that adds or changes an object.

The page saves only what the person changed. If a form that adds rows is sent twice, it
is saved only once. If a change by someone else prevents saving, a message explains
this. If the person has to sign in again before the form is saved, the page shows again
what they had entered.
"""

from functools import partial

from django.contrib import messages
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.utils import unquote
from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, IntegrityError, transaction
from django.urls import resolve
from django.utils.translation import gettext_lazy as _, ngettext

from orgadmin.accounts.sessions.kept_forms import (
    choose_key,
    get_returned_form,
    tell_not_saved,
)
from orgadmin.admin.once import AlreadySent, has_form_key, note_sent


class FormPage:
    """Changes Django's page with the form of an object."""

    def get_form(self, request, obj=None, **kwargs):
        form = super().get_form(request, obj, **kwargs)
        # Django makes a new class for each request, so the class can store the user.
        form.user = request.user
        returned = self.find_returned_form(request, obj)
        return form if returned is None else fill_in(form, returned)

    def get_formset_kwargs(self, request, obj, inline, prefix):
        kwargs = super().get_formset_kwargs(request, obj, inline, prefix)
        returned = self.find_returned_form(request, obj)
        if returned is not None:
            kwargs["data"] = returned
        return kwargs

    def find_returned_form(self, request, obj=None):
        """Return what the person had entered before they signed in again, or None.

        Returns None if the person can no longer change the object. The page then shows
        the stored values.
        """
        returned = get_returned_form(request)
        is_new = obj is None or obj.pk is None
        if is_new or self.has_change_permission(request, obj):
            return returned
        return None

    def render_change_form(
        self, request, context, add=False, change=False, form_url="", obj=None
    ):
        """Add the form key, and whether the form contains unsaved input."""
        returned = self.find_returned_form(request, obj)
        context["form_key"] = choose_key(request)
        context["is_unsaved"] = request.method == "POST" or returned is not None
        if returned is not None:
            tell_not_saved(request)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def save_model(self, request, obj, form, change):
        """Save a new object, or only the changed fields of an existing one.

        Someone else may have changed other fields after the page was opened.
        """
        obj._history_user = request.user
        request.saved_object = obj
        if change:
            columns = {field.name for field in self.opts.concrete_fields}
            obj.save(update_fields=columns.intersection(form.changed_data))
        else:
            obj.save()
        merged = getattr(form, "merged", None)
        if merged:
            text = ngettext(
                "Someone else changed %s while you were editing. Their change was"
                " kept; the history has the details.",
                "Someone else changed %s while you were editing. Their changes were"
                " kept; the history has the details.",
                len(merged),
            )
            self.message_user(request, text % ", ".join(merged))

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        """Show or save the form.

        If saving fails because someone else changed something at the same time, the
        form is validated and saved once more. It then takes that change into account,
        and shows an error if necessary. If saving fails again, the page is reloaded
        with a message.
        """
        view = super().changeform_view
        if has_form_key(request) and self._can_add_rows(object_id):
            view = partial(self._save_once, view)
        arguments = (request, object_id, form_url, extra_context)
        try:
            response = self._try(view, *arguments)
            if response is None:
                response = self._try(view, *arguments)
        except AlreadySent as error:
            return self.respond_to_repeated_form(request, error.location)
        if response is not None:
            return response
        text = _(
            "Nothing was saved, because someone changed or deleted a related object at"
            " the same time. Try again."
        )
        return self.redirect_with_message(request, text, messages.WARNING)

    def _try(self, view, request, *args):
        """Return the response, or None if a change by someone else prevented saving."""
        request.saved_object = None
        try:
            return view(request, *args)
        except (ObjectDoesNotExist, DatabaseError) as error:
            if not is_caused_by_another_change(error):
                raise
        return None

    def _can_add_rows(self, object_id):
        """Return whether the form can add an object, or rows that belong to it."""
        return object_id is None or bool(self.inlines)

    @transaction.atomic
    def _save_once(self, view, request, *args):
        """Save a form, and record that it was sent.

        Raises `AlreadySent` if the form was saved before.
        """
        sent = note_sent(request, request.get_full_path())
        response = view(request, *args)
        saved = request.saved_object
        if saved is None:
            # The form has errors, so the person will send it again.
            sent.delete()
            return response
        sent.location = self.get_record_url(saved)
        sent.save(update_fields=["location"])
        return response

    def respond_to_repeated_form(self, request, location):
        """Respond to a form that was sent twice.

        A popup passes the new object to the page that opened it.
        """
        if IS_POPUP_VAR not in request.POST:
            return self.respond_to_second(request, location)
        object_id = resolve(location).kwargs["object_id"]
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return self.response_add(request, obj)


def fill_in(form, data):
    """Return a form class with the same fields as `form`, filled in with `data`.

    Django does not pass data to the form when it shows a page. This class adds it.
    """

    class FilledInForm(form):
        def __init__(self, **kwargs):
            super().__init__(data, **kwargs)

    return FilledInForm


def is_caused_by_another_change(error):
    """Return whether an error means that a row was changed or deleted during a save.

    Django raises a plain `DatabaseError` if the row to update no longer exists. The
    database reports an `IntegrityError` if a related row no longer exists, or if a
    unique value is already used. Returns False for all other subclasses of
    `DatabaseError`.
    """
    if isinstance(error, ObjectDoesNotExist):
        return True
    return type(error) in (DatabaseError, IntegrityError)

"""Suggests people while someone types the name of a person to add."""

from django.db.models import Q

from orgadmin.admin.base import clean_search
from orgadmin.admin.members.people_list_log import record_people_suggested
from orgadmin.gate.answers import get_gate
from orgadmin.models import Membership, User
from orgadmin.models.naming import mark_namesakes
from orgadmin.people.find_people import find_known_people, name_for

# The maximum number of people who are suggested.
MAX_SUGGESTIONS = 8

# The minimum number of characters of a text that is searched for.
MIN_CHARACTERS = 2

# The maximum number of words that are searched for. Further words are ignored.
MAX_WORDS = 5


def sees_people(request, site):
    """Return whether the person can see all people, as in the list of people."""
    return site.get_model_admin(User).has_view_permission(request)


def suggest(request, organization, site):
    """Return suggestions of people to add, each as {"name": …, "text": …}.

    The name is entered in the field, and the text describes the person. For people who
    can see all people, everyone can be suggested. For anyone else, the suggestions are
    limited to people in organizations that they manage, because they can already see
    them on the People pages. Returns [] if the text is shorter than MIN_CHARACTERS.
    """
    term = clean_search(request.GET["suggest"]).strip()
    if len(term) < MIN_CHARACTERS:
        return []
    if sees_people(request, site):
        return search_everyone(request, site, term)
    return search_known(request, organization, term)


def suggest_anyone(request, site):
    """Return suggestions for a superuser, who can add anyone."""
    term = clean_search(request.GET.get("suggest", "")).strip()
    if len(term) < MIN_CHARACTERS:
        return []
    return search_everyone(request, site, term)


def search_everyone(request, site, term):
    """Return suggestions from all people on the site, and record this.

    For readers who are not superusers, leaves out people without an email address.
    """
    record_people_suggested(request)
    people_admin = site.get_model_admin(User)
    rows = people_admin.get_queryset(request).order_by("username", "pk")
    users, _may_have_duplicates = people_admin.get_search_results(request, rows, term)
    suggestions = []
    for user in users[:MAX_SUGGESTIONS]:
        # Only superusers can add anyone by username. Others must send an invitation to
        # an email address.
        name = name_for(user) if request.user.is_superuser else user.email
        if name:
            text = people_admin.describe_choice(user)
            suggestions.append({"name": name, "text": text})
    return suggestions


def search_known(request, organization, term):
    """Return suggestions from the active people whom the person knows.

    Leaves out members of the organization. Returns [] if the person manages the members
    of all organizations.
    """
    if get_gate(request).permits_everywhere("manage_members"):
        # Otherwise, people from all organizations would be suggested.
        return []
    known = find_known_people(request.user).filter(is_active=True)
    members = Membership.objects.users_in(organization.group_ids)
    others = known.exclude(pk__in=members)
    suggestions = []
    matches = search_names(others, term)
    found = matches.order_by("username", "pk")[:MAX_SUGGESTIONS]
    mark_namesakes(found)
    for user in found:
        suggestions.append({"name": user.username, "text": user.label_without_email})
    return suggestions


def search_names(users, term):
    """Return the users whose username or name contains each word of a text."""
    for word in term.split()[:MAX_WORDS]:
        users = users.filter(
            Q(username__icontains=word)
            | Q(first_name__icontains=word)
            | Q(last_name__icontains=word)
        )
    return users

"""Suggests people while someone types whom to add to an organization."""

from django.db.models import Q

from orgadmin.admin.base import clean_search
from orgadmin.admin.members.viewed import note_people_suggested
from orgadmin.gate.answers import get_gate
from orgadmin.models import Membership, User
from orgadmin.models.naming import mark_namesakes
from orgadmin.people.find_people import find_known_people, name_for

# How many people are suggested.
LIMIT = 8

# From how many letters on, and how many words of a text are searched for.
SHORTEST = 2
WORDS = 5


def sees_people(request, site):
    """Return whether the person may see all people, as in the list of people."""
    return site.get_model_admin(User).has_view_permission(request)


def suggest(request, organization, site):
    """Return people who can be added, each as the name to enter and a text.

    People who may see all people get suggestions from among them. Everyone else gets
    the people of the organizations that they manage, whom the People pages of these
    show them.
    """
    term = clean_search(request.GET["suggest"]).strip()
    if len(term) < SHORTEST:
        return []
    if sees_people(request, site):
        return search_everyone(request, site, term)
    return search_known(request, organization, term)


def suggest_anyone(request, site):
    """Return people to a superuser, who may name anyone."""
    term = clean_search(request.GET.get("suggest", "")).strip()
    if len(term) < SHORTEST:
        return []
    return search_everyone(request, site, term)


def search_everyone(request, site, term):
    note_people_suggested(request)
    people_admin = site.get_model_admin(User)
    rows = people_admin.get_queryset(request).order_by("username", "pk")
    users, _may_have_duplicates = people_admin.get_search_results(request, rows, term)
    suggestions = []
    for user in users[:LIMIT]:
        # Only superusers add people by their username. Others invite an address.
        name = name_for(user) if request.user.is_superuser else user.email
        if name:
            text = people_admin.describe_choice(user)
            suggestions.append({"name": name, "text": text})
    return suggestions


def search_known(request, organization, term):
    if get_gate(request).permits_everywhere("manage_members"):
        # These would be the people of all organizations.
        return []
    known = find_known_people(request.user).filter(is_active=True)
    members = Membership.objects.users_in(organization.group_ids)
    others = known.exclude(pk__in=members)
    suggestions = []
    found = search_names(others, term).order_by("username", "pk")[:LIMIT]
    mark_namesakes(found)
    for user in found:
        suggestions.append({"name": user.username, "text": user.label_without_email})
    return suggestions


def search_names(users, term):
    """Return the users whose username or name contains each word."""
    for word in term.split()[:WORDS]:
        users = users.filter(
            Q(username__icontains=word)
            | Q(first_name__icontains=word)
            | Q(last_name__icontains=word)
        )
    return users

"""What the front page shows."""

from collections import defaultdict

from django.db.models import Count, Max, Window
from django.db.models.functions import RowNumber

from orgadmin.access.roles import ROLES
from orgadmin.gate.answers import get_gate
from orgadmin.models import Contact, Organization, User

CARDS, NAMED, FOUND = 12, 3, 5  # organizations, people of each role, rows of each model


WANTED = (
    "website",
    "email",
    "phone",
    "address",
    "tax_id",
)  # told to be missing where empty


def list_cards(request):
    """Return the first CARDS organizations that a person was let into, none for who may see all, with the `role` and,
    as far as rights go, `people` (NAMED others of each role), `more` (how many besides), `changed_at` and `missing`."""
    user = request.user
    if get_gate(request).permits_everywhere("view"):
        return []
    cards = {card.pk: card for card in Organization.objects.permitted(user)[:CARDS]}
    sources = Organization.objects.find_sources([user], list(cards))
    records = Organization.history.filter(id__in=cards).order_by().values_list("id")
    changed_at, people, groups = (
        dict(records.annotate(Max("history_date"))),
        defaultdict(list),
        {},
    )
    for card in cards.values():
        rights = sources[user.pk, card.pk]
        held = {source.group_id for source in rights["view"]}
        card.role = next(
            (role for role in ROLES if getattr(card, role.attname) in held), None
        )
        if "manage_members" in rights:
            groups |= dict.fromkeys(card.group_ids, card)
        if "view_confidential" in rights:  # its history tells others of less
            card.changed_at = changed_at.get(card.pk)
        if "change" in rights:
            card.missing = [
                card._meta.get_field(name).verbose_name
                for name in WANTED
                if not getattr(card, name)
            ]
    others = User.groups.through.objects.filter(
        group__in=groups, user__is_active=True
    ).exclude(user=user.pk)
    others = others.annotate(
        number=Window(RowNumber(), "group", order_by="pk"),
        total=Window(Count("pk"), "group"),
    )
    for member in (
        others.filter(number__lte=NAMED)
        .select_related("user")
        .order_by("group", "number")
    ):
        people[member.group_id].append(member)
    for card in groups.values():
        card.people = [member.user for key in card.group_ids for member in people[key]]
        card.more = sum(
            people[key][0].total for key in card.group_ids if people[key]
        ) - len(card.people)
    return list(cards.values())


def search(request, site):
    """Return [(admin of a model, rows)] of what a person finds in what they may see (?q=), FOUND rows of each."""
    found, text = [], request.GET.get("q", "")
    for model_admin in (
        site._registry[model] for model in (Organization, Contact, User)
    ):
        if text.strip() and model_admin.has_view_permission(request):
            rows, _ = model_admin.get_search_results(
                request, model_admin.get_queryset(request), text
            )
            found += [(model_admin, rows[:FOUND])]
    return found

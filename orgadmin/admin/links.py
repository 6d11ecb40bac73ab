"""Makes links to websites, email addresses and phone numbers."""

from urllib.parse import quote, urlsplit

from orgadmin.models.phone_numbers import format_phone, make_phone_link


def make_website_link(url):
    """Return a URL that begins with http or https, or "" for any other text."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    is_website = parts.scheme in ("http", "https") and bool(parts.netloc)
    return url if is_website else ""


def make_email_link(address):
    """Return the mailto URL of an email address, or "" if it is not an address."""
    if "@" not in address:
        return ""
    return f"mailto:{quote(address, safe='@')}"


def add_links(contacts):
    """Set the links and the formatted phone number of contacts, for templates."""
    for contact in contacts:
        contact.email_link = make_email_link(contact.email)
        contact.phone_link = make_phone_link(contact.phone)
        contact.shown_phone = format_phone(contact.phone)


# {field name: function that returns a link for its value}
LINKS = {
    "website": make_website_link,
    "email": make_email_link,
    "phone": make_phone_link,
}

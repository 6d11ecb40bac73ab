"""Links to a website, an email address or a phone number, from stored values."""

from urllib.parse import quote, urlsplit

from orgadmin.models.phone_numbers import format_phone, make_phone_link


def make_website_link(url):
    """Return the URL of a website, or "" if a browser should not open it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    is_website = parts.scheme in ("http", "https") and bool(parts.netloc)
    return url if is_website else ""


def make_email_link(address):
    """Return the URL that writes to an email address, or "" if the text is none."""
    if "@" not in address:
        return ""
    return f"mailto:{quote(address, safe='@')}"


def add_links(contacts):
    """Give contacts the attributes that templates show them with."""
    for contact in contacts:
        contact.email_link = make_email_link(contact.email)
        contact.phone_link = make_phone_link(contact.phone)
        contact.shown_phone = format_phone(contact.phone)


# {field: function that makes its link}
LINKS = {
    "website": make_website_link,
    "email": make_email_link,
    "phone": make_phone_link,
}

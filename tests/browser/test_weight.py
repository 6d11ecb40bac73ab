"""How much a phone has to load for the heaviest pages, served as in production."""

from tests.browser import BrowserTestCase
from tests.scratch import scratch_database
from tests.servers import serve

PRODUCTION = {
    "DEBUG": "false",
    "SECRET_KEY": "tests",
    "DJANGO_SETTINGS_MODULE": "config.settings",
}
LIMIT = 150_000  # bytes over the wire, with an empty cache
CREATE_RECORDS = """
from django.contrib.auth.models import Group
from orgadmin.models import Organization, User

User.objects.create_superuser("root", password="secret")
organizations = Organization.objects.bulk_create(
    Organization(name=f"Name {number}", phone=f"+49 30 {number}")
    for number in range(120)
)
people = User.objects.bulk_create(
    User(username=f"person-{number}", first_name=f"Anna {number}")
    for number in range(120)
)
first = organizations[0]
Group.objects.get(pk=first.admin_id).user_set.add(*people)
for number in range(30):
    first.contacts.create(
        name=f"Contact {number}",
        email=f"contact-{number}@example.com",
        phone="+49 30 1234",
    )
print(first.pk, people[0].pk)
"""


class Traffic:
    """What a page loads from the server, as Chromium's developer tools report it."""

    def __init__(self, page):
        self.sizes = {}  # {request id: bytes over the wire}
        self.responses = {}  # {request id: response}
        self.cached_requests = set()  # ids
        tools = page.context.new_cdp_session(page)
        tools.send("Network.enable")
        tools.on("Network.loadingFinished", self.add_size)
        tools.on("Network.responseReceived", self.add_response)
        tools.on("Network.requestServedFromCache", self.add_cached)

    def add_size(self, event):
        self.sizes[event["requestId"]] = event["encodedDataLength"]

    def add_response(self, event):
        self.responses[event["requestId"]] = event["response"]

    def add_cached(self, event):
        self.cached_requests.add(event["requestId"])

    def count_bytes(self):
        return sum(self.sizes.values())

    def list_requested(self):
        """Return the addresses that were not in a cache."""
        addresses = []
        for request_id, response in self.responses.items():
            is_cached = request_id in self.cached_requests or response["fromDiskCache"]
            if not is_cached and not response["url"].startswith("data:"):
                addresses.append(response["url"])
        return addresses


class WeightTests(BrowserTestCase):
    def test_pages_are_light_and_take_one_request_the_second_time(self):
        with scratch_database() as scratch:
            scratch.environment |= PRODUCTION
            scratch.migrate()
            scratch.run("manage.py", "collectstatic", "--noinput", "--verbosity", "0")
            organization, person = scratch.run(CREATE_RECORDS).split()
            with serve(scratch.environment, workers=2) as server:
                site = "http://{}:{}".format(*server.address)
                session = self.sign_in_as_staff(site)
                for path in (
                    "?q=name",
                    "orgadmin/organization/",
                    f"orgadmin/organization/{organization}/change/",
                    f"orgadmin/organization/{organization}/people/",
                    f"orgadmin/organization/{organization}/access/",
                    f"orgadmin/organization/{organization}/history/",
                    f"orgadmin/user/{person}/change/",
                    "orgadmin/user/",
                ):
                    with self.subTest(path=path):
                        self.check_weight(session, f"{site}/admin/{path}")

    def sign_in_as_staff(self, site):
        """Return the session of a new browser context."""
        context = self.chromium.new_context(base_url=site)
        self.sign_in("root", page=context.new_page())
        session = context.storage_state()
        context.close()
        return session

    def check_weight(self, session, address):
        """Load a page twice, beginning with an empty cache."""
        context = self.chromium.new_context(storage_state=session)
        self.addCleanup(context.close)
        page = context.new_page()
        traffic = Traffic(page)
        page.goto(address, wait_until="networkidle")
        self.assertLess(traffic.count_bytes(), LIMIT)
        traffic.responses.clear()
        page.goto("about:blank")
        page.goto(address, wait_until="networkidle")
        self.assertEqual(traffic.list_requested(), [address])

"""How much the heaviest pages weigh, served by gunicorn as in production."""

from tests.browser import BrowserTestCase
from tests.scratch import Scratch, scratch_database
from tests.servers import serve

PRODUCTION = {
    "DEBUG": "false",
    "SECRET_KEY": "tests",
    "DJANGO_SETTINGS_MODULE": "config.settings",
}
LIMIT = 150_000  # bytes over the wire, with an empty cache
FILL = """
from django.contrib.auth.models import Group
from orgadmin.models import Organization, User
User.objects.create_superuser("root", password="secret")
organizations = Organization.objects.bulk_create(
    Organization(name=f"Name {n}", phone=f"+49 30 {n}") for n in range(120)
)
people = User.objects.bulk_create(
    User(username=f"person-{n}", first_name=f"Anna {n}") for n in range(120)
)
first = organizations[0]
Group.objects.get(pk=first.admin_id).user_set.add(*people)
for n in range(30):
    first.contacts.create(
        name=f"Contact {n}", email=f"contact-{n}@example.com", phone="+49 30 1234"
    )
print(first.pk, people[0].pk)
"""


class Traffic:
    """What a browser page loads, as Chromium's developer tools report it."""

    def __init__(self, page):
        self.sizes = {}  # {id of the request: bytes over the wire}
        self.responses = {}  # {id of the request: response}
        self.cached = set()  # ids of the requests that the cache answered
        tools = page.context.new_cdp_session(page)
        tools.send("Network.enable")
        tools.on("Network.loadingFinished", self.add_size)
        tools.on("Network.requestServedFromCache", self.add_cached)
        tools.on("Network.responseReceived", self.add_response)

    def add_size(self, event):
        self.sizes[event["requestId"]] = event["encodedDataLength"]

    def add_cached(self, event):
        self.cached.add(event["requestId"])

    def add_response(self, event):
        self.responses[event["requestId"]] = event["response"]

    def list_requests(self):
        """Return the addresses that the server was asked for."""
        addresses = []
        for request_id, response in self.responses.items():
            is_cached = request_id in self.cached or response["fromDiskCache"]
            if not is_cached and not response["url"].startswith("data:"):
                addresses.append(response["url"])
        return addresses


class WeightTests(BrowserTestCase):
    def weigh(self, address):
        """Load a page twice, signed in, beginning with an empty cache.

        Returns the bytes of the first time, and the addresses of which the server was
        asked the second time.
        """
        context = self.chromium.new_context(storage_state=self.state)
        self.addCleanup(context.close)
        page = context.new_page()
        traffic = Traffic(page)
        page.goto(address, wait_until="networkidle")
        size = sum(traffic.sizes.values())
        traffic.responses.clear()
        page.goto("about:blank")
        page.goto(address, wait_until="networkidle")
        return size, traffic.list_requests()

    def test_no_page_is_heavy_and_the_second_time_is_one_request(self):
        with scratch_database() as scratch:
            production = Scratch(scratch.environment["DATABASE_URL"])
            production.environment |= PRODUCTION
            production.run(
                "manage.py", "collectstatic", "--noinput", "--verbosity", "0"
            )
            # The lines before are those of the log.
            printed = production.run(FILL).splitlines()[-1]
            organization, person = printed.split()
            with serve(production.environment, 2) as server:
                site = "http://{}:{}".format(*server.address)
                self.state = self.sign_in_to(site)
                app = f"{site}/admin/orgadmin/"
                for address in (
                    f"{site}/admin/search/?q=name",
                    f"{app}organization/",
                    f"{app}organization/{organization}/overview/",
                    f"{app}organization/{organization}/change/",
                    f"{app}organization/{organization}/people/",
                    f"{app}organization/{organization}/access/",
                    f"{app}organization/{organization}/history/",
                    f"{app}user/{person}/change/",
                    f"{app}user/",
                ):
                    with self.subTest(address=address):
                        size, again = self.weigh(address)
                        self.assertLess(size, LIMIT)
                        self.assertEqual(again, [address])

    def sign_in_to(self, site):
        """Return the cookies of a superuser."""
        context = self.chromium.new_context(base_url=site)
        self.sign_in("root", page=context.new_page())
        state = context.storage_state()
        context.close()
        return state

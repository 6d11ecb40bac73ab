"""What a phone has to load: the heaviest pages, from gunicorn, as they are served in production."""

from ..scratch import scratch_database
from ..servers import serve
from . import BrowserTestCase

PRODUCTION = {
    "DEBUG": "false",
    "SECRET_KEY": "tests",
    "DJANGO_SETTINGS_MODULE": "config.settings",
}
LIMIT = 150_000  # bytes over the wire, with nothing in the cache
FILL = """
from django.contrib.auth.models import Group
from orgadmin.models import Organization, User
User.objects.create_superuser("root", password="secret")
rows = Organization.objects.bulk_create(Organization(name=f"Name {n}", phone=f"+49 30 {n}") for n in range(120))
people = User.objects.bulk_create(User(username=f"person-{n}", first_name=f"Anna {n}") for n in range(120))
Group.objects.get(pk=rows[0].admin_id).user_set.add(*people)
for n in range(30):
    rows[0].contacts.create(name=f"Contact {n}", email=f"contact-{n}@example.com", phone="+49 30 1234")
print(rows[0].pk, people[0].pk)
"""


class WeightTests(BrowserTestCase):
    def weigh(self, address):
        """Load a page twice, signed in, beginning with an empty cache. Return the bytes of the first time, and the
        addresses that were asked of the server the second time."""
        context = self.chromium.new_context(storage_state=self.state)
        self.addCleanup(context.close)
        page, sizes, asked, cached = context.new_page(), {}, {}, set()
        tools = context.new_cdp_session(page)
        tools.send("Network.enable")
        tools.on(
            "Network.loadingFinished",
            lambda event: sizes.update(
                {event["requestId"]: event["encodedDataLength"]}
            ),
        )
        tools.on(
            "Network.requestServedFromCache",
            lambda event: cached.add(event["requestId"]),
        )
        tools.on(
            "Network.responseReceived",
            lambda event: asked.update({event["requestId"]: event["response"]}),
        )
        page.goto(address, wait_until="networkidle")
        size = sum(sizes.values())
        asked.clear()
        page.goto("about:blank")
        page.goto(address, wait_until="networkidle")
        again = {
            key: answer
            for key, answer in asked.items()
            if key not in cached and not answer["fromDiskCache"]
        }
        return size, [
            answer["url"]
            for answer in again.values()
            if not answer["url"].startswith("data:")
        ]

    def test_no_page_is_heavy_and_the_second_time_is_one_request(self):
        with scratch_database() as scratch:
            scratch.environment |= PRODUCTION
            scratch.migrate()
            scratch.run("manage.py", "collectstatic", "--noinput", "--verbosity", "0")
            organization, person = scratch.run(FILL).split()
            with serve(scratch.environment, 2) as server:
                site = "http://{}:{}".format(*server.address)
                context = self.chromium.new_context(base_url=site)
                self.sign_in("root", page=context.new_page())
                self.state = context.storage_state()
                context.close()
                app = f"{site}/admin/orgadmin/"
                for address in (
                    f"{site}/admin/?q=name",
                    f"{app}organization/",
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

"""What a phone has to load: the heaviest pages, from gunicorn, as they are served in production."""

import socket
import time
from contextlib import closing, contextmanager
from urllib.request import urlopen

from ..scratch import scratch_database
from . import BrowserTestCase

PRODUCTION = {"DEBUG": "false", "SECRET_KEY": "tests", "DJANGO_SETTINGS_MODULE": "config.settings"}
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


@contextmanager
def serve(scratch):
    """Serve the site of a database as in production; yield its address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    scratch.run("manage.py", "collectstatic", "--noinput", "--verbosity", "0")
    process = scratch.start("-m", "gunicorn", "--bind", address, "--workers", "2", "config.wsgi")
    try:
        for _ in range(100):
            try:
                urlopen(f"http://{address}/livez")
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.communicate()


class WeightTests(BrowserTestCase):
    def weigh(self, address):
        """Return the bytes that a browser with an empty cache loads for a page, while signed in."""
        context = self.chromium.new_context(storage_state=self.state)
        self.addCleanup(context.close)
        page, sizes = context.new_page(), []
        tools = context.new_cdp_session(page)
        tools.send("Network.enable")
        tools.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        page.goto(address, wait_until="networkidle")
        return sum(sizes)

    def test_no_page_is_heavy(self):
        with scratch_database() as scratch:
            scratch.environment |= PRODUCTION
            scratch.migrate()
            organization, person = scratch.run(FILL).split()
            with serve(scratch) as site:
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
                        self.assertLess(self.weigh(address), LIMIT)

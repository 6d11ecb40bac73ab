from django.urls import path

from benchmarks.peers.admin import floor_site, usual_site
from config.urls import handler500, urlpatterns  # noqa: F401 (Django uses handler500)

urlpatterns = [
    path("usual/", usual_site.urls),
    path("floor/", floor_site.urls),
    *urlpatterns,
]

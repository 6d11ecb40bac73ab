from django.urls import path

from benchmarks.peers.admin import floor, usual
from config.urls import handler500, urlpatterns  # noqa: F401 (Django looks for it here)

urlpatterns = [path("usual/", usual.urls), path("floor/", floor.urls), *urlpatterns]

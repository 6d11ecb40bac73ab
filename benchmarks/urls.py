from django.urls import path

from benchmarks.peers.admin import floor, usual
from config.urls import urlpatterns

urlpatterns = [path("usual/", usual.urls), path("floor/", floor.urls), *urlpatterns]

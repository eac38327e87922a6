"""A Django project in one file; `manage.py runserver` as it is."""
import os
import sys

from django.conf import settings
from django.http import HttpResponse
from django.urls import re_path

settings.configure(DEBUG=True, SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
urlpatterns = [re_path(".*", lambda request: HttpResponse(str(os.getpid())))]

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)

"""A site in one file."""
import os

import tracing
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from opentelemetry.instrumentation.django import DjangoInstrumentor

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY=os.urandom(8).hex())
tracing.set_up()
DjangoInstrumentor().instrument()
urlpatterns = [path("", lambda request: HttpResponse("hello"))]
app = get_wsgi_application()

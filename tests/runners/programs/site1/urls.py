import os

from django.http import HttpResponse
from django.urls import path
from opentelemetry import trace

with trace.get_tracer("app").start_as_current_span("start-up"):
    pass

urlpatterns = [path("", lambda request: HttpResponse(f"save 0 {os.getpid()}"))]

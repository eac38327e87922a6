"""The lanes of this process in its mailbox: one for each resource, with the scopes that are in its dictionary.

Invariant: under the sink's lock, whoever calls. Nothing raises for what a program has made of a resource or a scope: it
is noted, to be told later, and the lane of the process or no scope is taken instead.
"""
import os

from . import _encode, _environment, _mailbox

SCOPES_MAX = 256
RESOURCES_MAX = 8  # lanes of one process


class Lanes:
    def __init__(self, mailbox, attributes, note):
        self._mailbox = mailbox
        self._attributes = attributes  # that replace those of a program's resource
        self._note = note  # called with what went wrong, and the error
        self._lanes = {}  # encoded resource -> lane
        self._last = (None, None)  # resource and its lane
        self._scopes = {}  # id(scope) -> (scope, encoded)

    def any(self):
        return next(iter(self._lanes.values())) if self._lanes else self.of(None)

    def of(self, resource):
        if self._last[0] is resource and self._last[1] is not None:
            return self._last[1]
        encoded = self._encoded_resource(resource)
        lane = self._lanes.get(encoded)
        if lane is None and len(self._lanes) < RESOURCES_MAX:
            lane = self._take_lane(encoded)
        if lane is None and self._lanes:
            lane = next(iter(self._lanes.values()))
        self._last = (resource, lane)
        return lane

    def _encoded_resource(self, resource):
        if resource is not None:
            try:
                return _encode.encode_resource(resource.attributes, self._attributes)
            except Exception as error:
                self._note("a resource could not be encoded", error)
        return _encode.encode_resource(_default_resource(), self._attributes)

    def _take_lane(self, encoded):
        try:
            lane = self._mailbox.take_lane(encoded)
        except (OSError, ValueError) as error:  # the program has closed what it does not know
            self._note("the mailbox cannot be used", error)
            return None
        if lane is not None:
            lane.scopes = {}
            self._lanes[encoded] = lane
        return lane

    def scope(self, lane, scope):
        if scope is None:
            return _mailbox.SCOPE_LOST
        known = self._scopes.get(id(scope))
        if known is None:
            if len(self._scopes) >= SCOPES_MAX:
                self._scopes.clear()
            # Holding the scope keeps its id from being another's.
            known = self._scopes[id(scope)] = (scope, self._encoded_scope(scope))
        if known[1] is None:
            return _mailbox.SCOPE_LOST
        index = lane.scopes.get(known[1])
        if index is None:
            index = lane.add_entry(_mailbox.ENTRY_SCOPE, known[1])
            if index != _mailbox.SCOPE_LOST:
                lane.scopes[known[1]] = index
        return index

    def _encoded_scope(self, scope):
        try:
            return _encode.encode_scope(scope)
        except Exception as error:
            self._note("a tracer's name could not be encoded", error)
            return None


def _default_resource():
    return {"service.name": os.environ.get("OTEL_SERVICE_NAME", _environment.environment.service)}

"""The objects of a cluster, in memory: versions, changes, owners; knows no HTTP and no patch."""

import marshal
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.kubernetes import refusals, rules
from tests.kubernetes.kinds import KINDS, kind_of


def timestamp(at=None):
    """Return a time in Kubernetes' words, by default now."""
    return (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def copied(obj):
    """Return a deep copy of plain data, much faster than `copy.deepcopy` does."""
    return marshal.loads(marshal.dumps(obj))


@dataclass(frozen=True)
class Change:
    """An object was ADDED, MODIFIED or DELETED."""

    version: int
    type: str
    key: tuple[str, str, str]
    obj: dict
    before: dict | None


class Objects:
    """All objects under one counter of versions; every change wakes the watchers."""

    def __init__(self):
        self.changed = threading.Condition(threading.RLock())
        self.version = 100
        self.changes = []
        self.forgotten = 0
        self.applied = {}
        self._objects = {}

    def get(self, kind, namespace, name):
        """Return a copy of an object.

        Raises:
            ApiError: There is none (404).
        """
        with self.changed:
            obj = self._objects.get((kind.plural, namespace or "", name))
            if obj is None:
                raise refusals.not_found(kind, name)
            return copied(obj)

    def find(self, kind, namespace, name):
        """Return a copy of an object, or None."""
        with self.changed:
            return copied(self._objects.get((kind.plural, namespace or "", name)))

    def list(self, kind, namespace=None):
        """Return copies of the objects of a kind, by namespace and name."""
        with self.changed:
            return [
                copied(obj)
                for (plural, place, _), obj in sorted(self._objects.items())
                if plural == kind.plural and (not namespace or place == namespace)
            ]

    def create(self, kind, namespace, obj, *, dry_run=False):
        """Add an object that was checked.

        Raises:
            ApiError: No such namespace (404), the name is taken (409), it is invalid (422).
        """
        with self.changed:
            metadata = dict(obj.get("metadata") or {})
            if not metadata.get("name"):
                if not metadata.get("generateName"):
                    text = "Required value: name or generateName is required"
                    causes = [("metadata.name", "FieldValueRequired", text)]
                    raise refusals.invalid(kind, "", causes)
                metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
            name = metadata["name"]
            if namespace and self.find(kind_of("Namespace"), "", namespace) is None:
                raise refusals.not_found(kind_of("Namespace"), namespace)
            if there := self.find(kind, namespace, name):
                raise refusals.already_exists(kind, name, "deletionTimestamp" in there["metadata"])
            metadata.update(uid=str(uuid.uuid4()), creationTimestamp=timestamp())
            if namespace:
                metadata["namespace"] = namespace
            if kind.has_status:
                metadata["generation"] = 1
            created = rules.with_kind_defaults(kind, {**obj, "metadata": metadata})
            rules.check(kind, created)
            if dry_run:
                return created
            self._put((kind.plural, namespace or "", name), "ADDED", created)
            if kind.name == "Namespace":
                account = {"metadata": {"name": "default"}}
                self.create(kind_of("ServiceAccount"), name, account)
            return self.get(kind, namespace, name)

    def replace(self, kind, namespace, obj, *, status=False, dry_run=False):
        """Put a new state of an object; with `status` of its status alone, else of all but that.

        Raises:
            ApiError: There is none (404), it was changed in between (409), it is invalid (422).
        """
        with self.changed:
            name = obj["metadata"]["name"]
            before = self.get(kind, namespace, name)
            self._check_unchanged(kind, before, obj["metadata"])
            if status:
                after = {**before, "status": obj.get("status") or {}}
            else:
                after = {**obj, "apiVersion": kind.api_version, "kind": kind.name}
                after["metadata"] = {**obj["metadata"], **_fixed(before["metadata"])}
                if kind.has_status:
                    after["status"] = before.get("status")
                    after = {key: value for key, value in after.items() if value is not None}
                    if _contents(after) != _contents(before):
                        after["metadata"]["generation"] = before["metadata"]["generation"] + 1
            rules.check(kind, after)
            if after != before and not dry_run:
                metadata = after["metadata"]
                is_over = "deletionTimestamp" in metadata and not metadata.get("finalizers")
                key = (kind.plural, namespace or "", name)
                self._put(key, "DELETED" if is_over else "MODIFIED", after)
                self.collect_garbage()
            return copied(after)

    def _check_unchanged(self, kind, before, metadata):
        name, current = metadata["name"], before["metadata"]
        if metadata.get("uid") not in (None, current["uid"]):
            why = (
                f"Precondition failed: UID in precondition: {metadata['uid']}, "
                f"UID in object meta: {current['uid']}"
            )
            raise refusals.conflict(kind, name, why)
        if metadata.get("resourceVersion") not in (None, "", current["resourceVersion"]):
            raise refusals.conflict(kind, name)

    def set_status(self, kind, namespace, name, **fields):
        """Set fields of an object's status, as a controller does; None removes one."""
        with self.changed:
            obj = self.get(kind, namespace, name)
            status = {**(obj.get("status") or {}), **fields}
            obj["status"] = {key: value for key, value in status.items() if value is not None}
            return self.replace(kind, namespace, obj, status=True)

    def delete(self, kind, namespace, name, *, options=None, dry_run=False):
        """Remove an object, and what belongs to it unless its dependents are to be orphans.

        One with finalizers is only marked; it goes when its last finalizer does.

        Raises:
            ApiError: There is none (404), or another one than was meant (409).
        """
        with self.changed:
            obj, options = self.get(kind, namespace, name), options or {}
            wanted = {"name": name, **(options.get("preconditions") or {})}
            self._check_unchanged(kind, obj, wanted)
            if dry_run:
                return obj
            if options.get("propagationPolicy") == "Orphan":
                self._orphan(obj["metadata"]["uid"])
            key = (kind.plural, namespace or "", name)
            if obj["metadata"].get("finalizers"):
                obj["metadata"].setdefault("deletionTimestamp", timestamp())
                return self._put(key, "MODIFIED", obj)
            obj = self._put(key, "DELETED", obj)
            if kind.name == "Namespace":
                for inner in [key for key in self._objects if key[1] == name]:
                    self._put(inner, "DELETED", self._objects[inner])
            self.collect_garbage()
            return obj

    def collect_garbage(self):
        """Remove all objects none of whose owners are there."""
        with self.changed:
            uids = {obj["metadata"]["uid"] for obj in self._objects.values()}
            orphans = [
                key
                for key, obj in self._objects.items()
                if (owners := obj["metadata"].get("ownerReferences"))
                and not any(owner["uid"] in uids for owner in owners)
            ]
            for key in orphans:
                self._put(key, "DELETED", self._objects[key])
            if orphans:
                self.collect_garbage()

    def _orphan(self, uid):
        for key, obj in list(self._objects.items()):
            owners = obj["metadata"].get("ownerReferences") or []
            left = [owner for owner in owners if owner["uid"] != uid]
            if len(left) < len(owners):
                freed = copied(obj)
                freed["metadata"]["ownerReferences"] = left
                self._put(key, "MODIFIED", freed)

    def _put(self, key, change, obj):
        self.version += 1
        obj, before = copied(obj), self._objects.get(key)
        obj["metadata"]["resourceVersion"] = str(self.version)
        if change == "DELETED":
            del self._objects[key]
        else:
            self._objects[key] = obj
        self.changes.append(Change(self.version, change, key, copied(obj), before))
        self.changed.notify_all()
        return obj

    def forget_changes(self):
        """Drop the history, as the real server does after minutes: older watches are refused."""
        with self.changed:
            self.changes, self.forgotten = [], self.version

    def served(self):
        """Return the kinds that are served: custom ones while their definition is there."""
        definitions = kind_of("CustomResourceDefinition").plural
        with self.changed:
            return [
                kind
                for kind in KINDS
                if not kind.custom or (definitions, "", kind.resource) in self._objects
            ]


def _fixed(metadata):
    keys = ("uid", "creationTimestamp", "namespace", "generation", "resourceVersion")
    return {key: metadata[key] for key in (*keys, "deletionTimestamp") if key in metadata}


def _contents(obj):
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}

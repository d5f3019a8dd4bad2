"""The API server's answers to create, update, patch and delete; keeps nothing itself."""

from tests.kubernetes import patches, refusals
from tests.kubernetes.requests import Answer
from tests.kubernetes.schemas import checked, without_nulls
from tests.kubernetes.selectors import field_matcher, label_matcher

MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


class Writing:
    """Changes the objects of one server."""

    def __init__(self, objects, faults):
        self._objects = objects
        self._faults = faults

    def create(self, request):
        """Add an object."""
        obj = self._checked(request, request.body())
        if request.kind.name == "SelfSubjectAccessReview":
            return Answer(self._review(obj), 201)
        created = self._objects.create(
            request.kind, request.namespace, obj, dry_run=request.dry_run
        )
        return Answer(created, 201)

    def _checked(self, request, obj):
        kind, group_version = request.kind, request.kind.api_version
        if not isinstance(obj, dict):
            raise refusals.bad_request("the object provided is unrecognized")
        if obj.get("apiVersion", group_version) != group_version:
            raise refusals.bad_request(
                f"the API version in the data ({obj['apiVersion']}) does not match the expected "
                f"API version ({group_version})"
            )
        if obj.get("kind", kind.name) != kind.name:
            raise refusals.bad_request(
                f"the kind in the data ({obj['kind']}) does not match the expected ({kind.name})"
            )
        metadata = obj.get("metadata") or {}
        if metadata.get("namespace", request.namespace) != request.namespace:
            raise refusals.bad_request(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
        if request.name and metadata.get("name", request.name) != request.name:
            raise refusals.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL "
                f"({request.name})"
            )
        typed = {**obj, "apiVersion": group_version, "kind": kind.name}
        result, warnings = checked(kind, typed, request.query.get("fieldValidation", "Warn"))
        request.warnings.extend(warnings)
        return result

    def _review(self, obj):
        asked = obj["spec"].get("resourceAttributes") or {}
        resource = asked.get("resource", "")
        if asked.get("subresource"):
            resource += f"/{asked['subresource']}"
        allowed = not self._faults.denies(asked.get("verb"), resource)
        return {**obj, "status": {"allowed": allowed, "reason": "" if allowed else "no rule"}}

    def update(self, request):
        """Put a new state of an object, or of its status."""
        obj = self._checked(request, request.body())
        if request.kind.custom and not obj["metadata"].get("resourceVersion"):
            text = "Invalid value: 0: must be specified for an update"
            cause = ("metadata.resourceVersion", "FieldValueInvalid", text)
            raise refusals.invalid(request.kind, request.name, [cause])
        obj["metadata"].setdefault("name", request.name)
        return Answer(self._replace(request, obj))

    def _replace(self, request, obj):
        return self._objects.replace(
            request.kind,
            request.namespace,
            obj,
            status=request.subresource == "status",
            dry_run=request.dry_run,
        )

    def patch(self, request):
        """Change an object by a patch."""
        content_type = request.content_type.partition(";")[0].strip()
        accepted = [JSON_PATCH, MERGE, *([] if request.kind.custom else [STRATEGIC]), APPLY]
        if content_type not in accepted:
            raise refusals.unsupported_media_type(accepted)
        patch = request.body()
        with self._objects.changed:
            if content_type == APPLY:
                return self._apply(request, patch)
            current = self._objects.get(request.kind, request.namespace, request.name)
            if content_type == JSON_PATCH:
                patched = patches.json_patch(current, patch)
            elif content_type == MERGE:
                patched = patches.merge_patch(current, patch)
            else:
                patched = patches.strategic_patch(current, patch)
            return Answer(self._replace(request, self._checked(request, patched)))

    def _apply(self, request, wanted):
        manager = request.query.get("fieldManager")
        if not manager:
            text = "Required value: is required for apply patch"
            raise refusals.ApiError(
                422, "Invalid", f'PatchOptions.meta.k8s.io "" is invalid: fieldManager: {text}'
            )
        wanted = without_nulls(wanted)
        current = self._objects.find(request.kind, request.namespace, request.name)
        if current is None:
            obj = self._checked(request, wanted)
            obj["metadata"].setdefault("name", request.name)
            created = self._objects.create(
                request.kind, request.namespace, obj, dry_run=request.dry_run
            )
            self._remember(request, created, manager, wanted)
            return Answer(created, 201)
        merged = self._applied(request, current, manager, wanted)
        answer = Answer(self._replace(request, self._checked(request, merged)))
        self._remember(request, current, manager, wanted)
        return answer

    def _remember(self, request, obj, manager, wanted):
        if not request.dry_run:
            self._objects.applied.setdefault(obj["metadata"]["uid"], {})[manager] = wanted

    def _applied(self, request, current, manager, wanted):
        managers = self._objects.applied.get(current["metadata"]["uid"], {})
        asked, live = patches.leaves(wanted), patches.leaves(current)
        if request.query.get("force") != "true":
            _refuse_conflicts(request, asked, live, managers, manager)
        merged = current
        for path in patches.leaves(managers.get(manager, {})):
            others = (patches.leaves(each) for name, each in managers.items() if name != manager)
            if path and path not in asked and not any(path in other for other in others):
                merged = patches.without(merged, path)
        return patches.strategic_patch(merged, wanted)

    def delete(self, request):
        """Remove an object."""
        gone = self._objects.delete(
            request.kind,
            request.namespace,
            request.name,
            options={**request.body(), **_options(request)},
            dry_run=request.dry_run,
        )
        told_whole = ("Pod", "Namespace", "PersistentVolumeClaim", "ServiceAccount")
        if request.kind.name in told_whole or "deletionTimestamp" in gone["metadata"]:
            return Answer(gone)
        details = {
            "name": request.name,
            "group": request.kind.group,
            "kind": request.kind.plural,
            "uid": gone["metadata"]["uid"],
        }
        success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return Answer({**success, "details": details})

    def deletecollection(self, request):
        """Remove all objects that the selectors mean."""
        labels = label_matcher(request.query.get("labelSelector"))
        fields = field_matcher(request.kind, request.query.get("fieldSelector"))
        with self._objects.changed:
            gone = [
                obj
                for obj in self._objects.list(request.kind, request.namespace)
                if labels(obj) and fields(obj)
            ]
            for obj in gone:
                name = obj["metadata"]["name"]
                if self._objects.find(request.kind, request.namespace, name):
                    self._objects.delete(
                        request.kind,
                        request.namespace,
                        name,
                        options={**request.body(), **_options(request)},
                        dry_run=request.dry_run,
                    )
            metadata = {"resourceVersion": str(self._objects.version)}
        kind = request.kind
        listed = {"kind": f"{kind.name}List", "apiVersion": kind.api_version}
        return Answer({**listed, "metadata": metadata, "items": gone})


def _options(request):
    keys = ("propagationPolicy", "gracePeriodSeconds")
    return {key: request.query[key] for key in keys if key in request.query}


def _refuse_conflicts(request, asked, live, managers, manager):
    for name, applied in managers.items():
        paths = [
            path
            for path in patches.leaves(applied)
            if name != manager and path in asked and asked[path] != live.get(path)
        ]
        if paths:
            fields = "".join(f"\n- .{'.'.join(path)}" for path in paths)
            many = "conflict" if len(paths) == 1 else "conflicts"
            version = request.kind.api_version
            message = (
                f'Apply failed with {len(paths)} {many}: {many} with "{name}" using {version}:'
                + (fields if len(paths) > 1 else fields.replace("\n-", ""))
            )
            raise refusals.ApiError(409, "Conflict", message)

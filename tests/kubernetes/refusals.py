"""The refusals of an API server, in the real one's words and codes; decides none."""


class ApiError(Exception):
    """A request is answered by a Status object, or by plain text."""

    def __init__(self, code, reason, message, *, details=None, headers=(), plain=False):
        super().__init__(message)
        self.code = code
        self.headers = dict(headers)
        self.plain = plain
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details or {},
            "code": code,
        }


def _about(kind, name):
    return {"name": name, "group": kind.group, "kind": kind.plural}


def no_such_path():
    return ApiError(404, "NotFound", "404 page not found\n", plain=True)


def not_found(kind, name):
    message = f'{kind.resource} "{name}" not found'
    return ApiError(404, "NotFound", message, details=_about(kind, name))


def already_exists(kind, name, is_going=False):
    message = f'{kind.resource} "{name}" already exists'
    if is_going:
        message = f"object is being deleted: {message}"
    return ApiError(409, "AlreadyExists", message, details=_about(kind, name))


def conflict(kind, name, why=None):
    why = why or (
        "the object has been modified; please apply your changes to the latest version "
        "and try again"
    )
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_about(kind, name))


def invalid(kind, name, causes):
    """Refuse contents; `causes` are triples of field, reason and message."""
    texts = [f"{field}: {text}" for field, _, text in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {
        "name": name,
        "group": kind.group,
        "kind": kind.name,
        "causes": [
            {"reason": reason, "message": message, "field": field}
            for field, reason, message in causes
        ],
    }
    message = f'{kind.qualified} "{name}" is invalid: {text}'
    return ApiError(422, "Invalid", message, details=details)


def bad_request(message):
    return ApiError(400, "BadRequest", message)


def unreadable(kind, why):
    return bad_request(
        f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: {why}'
    )


def unauthorized():
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(kind, verb, *, user, resource, namespace, name):
    subject = f'{kind.resource} "{name}"' if name else kind.resource
    place = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    message = (
        f'{subject} is forbidden: User "{user}" cannot {verb} resource "{resource}" '
        f'in API group "{kind.group}" {place}'
    )
    return ApiError(403, "Forbidden", message, details=_about(kind, name or ""))


def expired(message):
    return ApiError(410, "Expired", message)


def too_large_version(asked, current):
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(504, "Timeout", message, details=details)


def too_many_requests(retry_after):
    return ApiError(
        429,
        "TooManyRequests",
        "Too many requests, please try again later.\n",
        headers={"Retry-After": str(retry_after)},
        plain=True,
    )


def unsupported_media_type(accepted):
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted)
    )
    return ApiError(415, "UnsupportedMediaType", message)


def method_not_allowed():
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message)

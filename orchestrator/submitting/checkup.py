"""Examines a cluster as `submit` does, without a sweep; asks for no pod."""

from __future__ import annotations

import getpass
from collections.abc import Iterator

from cluster.bundle import Bundle, package_files
from cluster.profile import Profile
from cluster.target import Submission, TargetError
from orchestrator.errors import SubmissionError
from orchestrator.running.checkup import Finding
from orchestrator.submitting.own_code import PACKAGES
from orchestrator.submitting.profile_file import store_there
from orchestrator.submitting.sending import reached
from orchestrator.submitting.submission import MODULE


def examine_cluster(profile: Profile) -> Iterator[Finding]:
    """Yield what of a cluster is unfit, or that nothing is."""
    submission = Submission(
        name="doctor",
        bundle=Bundle(files=package_files(PACKAGES)),
        module=MODULE,
        shapes=(),
        owner=getpass.getuser(),
        store=store_there(profile) or "",
        tracking_uri=profile.tracking_uri,
    )
    try:
        problems = reached(profile).problems(submission)
    except (SubmissionError, TargetError) as error:
        yield Finding(
            subject="target", is_fit=False, found=str(error), remedy="see the message above"
        )
        return
    for problem in problems:
        yield Finding(
            subject=problem.subject, is_fit=False, found=problem.message, remedy=problem.remedy
        )
    if not problems:
        yield Finding(subject=profile.kind, is_fit=True, found="a sweep can be sent there")

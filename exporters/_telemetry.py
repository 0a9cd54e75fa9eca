"""OpenVINO and NNCF report every import and call to their maker; here they do not.

Their report is sent by a process that is forked, which can hang a program at its end where the network does not answer.
"""

import contextlib


def keep_off() -> None:
    """Whatever asks for the user's consent to be reported on in this process is told that it was declined."""
    with contextlib.suppress(ImportError):  # an OpenVINO without that package reports nothing
        from openvino_telemetry.utils import opt_in_checker

        declined = opt_in_checker.ConsentCheckResult.DECLINED
        opt_in_checker.OptInChecker.check = lambda *_, **__: declined

"""What a run found, as its report holds it: who was measured, what was judged, how it all came to be."""

from kd2deploy.stages.telling.beginning import data_of, described, described_and_refused, with_training
from kd2deploy.stages.telling.making import Sign, sign
from kd2deploy.stages.telling.whole import full_report

__all__ = ["Sign", "data_of", "described", "described_and_refused", "full_report", "sign", "with_training"]

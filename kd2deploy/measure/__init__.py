"""Measuring and judging: intervals first, verdicts from intervals. Knows no model, no runtime and no task's name."""

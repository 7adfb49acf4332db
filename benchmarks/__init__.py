"""Figures: every number in the docs comes from here, each beside what it is compared with, in the same run."""

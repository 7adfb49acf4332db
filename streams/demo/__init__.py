"""The main job on real events: run it, watch it from outside, measure what it promised, leave a report."""

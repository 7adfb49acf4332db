"""What learns: labels, recipes, the scoreboard, guards, state and ONNX export. No Kafka, no HTTP."""

from learners.model import Model, event_type, every, happens, load_model
from schemas.features import category, count, hour, number, seconds_since, weekday

__all__ = [
    "Model",
    "category",
    "count",
    "event_type",
    "every",
    "happens",
    "hour",
    "load_model",
    "number",
    "seconds_since",
    "weekday",
]

"""River models as ONNX graphs that give River's own answers: one small file per family of estimators."""

from learners.onnx_export import compose, linear, preprocessing
from learners.onnx_export.convert import refuse_unexportable, to_onnx

# Importing a family registers its converters, so the list below is the list of families.
FAMILIES = (compose, linear, preprocessing)

__all__ = ["FAMILIES", "refuse_unexportable", "to_onnx"]

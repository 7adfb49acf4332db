"""scikit-learn models as ONNX graphs that give scikit-learn's own answers, River learners inside them included.

    convert.py      `sklearn_to_onnx`: typed columns in, freshet's outputs and metadata out
    parity.py       `check_sklearn_parity`: model and artifact asked the same rows
    walk.py         every estimator inside a fitted model, with the path that names it in errors
    refused.py      what would not become exact, told before the conversion
    floats.py       what did not, told after it
    embed.py        a graph of `learners.onnx_export` as one operator's part of a skl2onnx graph
    surface.py      freshet's inputs and outputs in place of skl2onnx's
    wrappers.py     the wrappers of `river.compat`, registered with skl2onnx by importing this package
    trees.py        trees, forests and boosting in doubles: skl2onnx's own are floats
    one_hot.py      OneHotEncoder in doubles; imputer.py and polynomial.py are for steps like it

>>> from sklearn.linear_model import LinearRegression
>>> model = LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])
>>> artifact = sklearn_to_onnx(model, {"price": float}, name="worth", version=0).SerializeToString()
>>> check_sklearn_parity(model, artifact, [{"price": 3.0}]).rows
1
"""

from learners.sklearn_export.convert import sklearn_to_onnx
from learners.sklearn_export.parity import check_sklearn_parity
from learners.sklearn_export.wrappers import register

register()

__all__ = ["check_sklearn_parity", "sklearn_to_onnx"]

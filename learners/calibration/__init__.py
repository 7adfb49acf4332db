"""Calibration: what makes a classifier's probabilities true ones, and what says from which probability on it is a yes.

    binary.py      what stands around one classifier of two classes
    calibrated.py  log-odds, and the order in which a calibrated classifier asks and learns
    platt.py       `PlattCalibrated`: two numbers, for a whole range that is shifted or stretched
    isotonic.py    `IsotonicCalibrated`: any curve that rises, for a range that is bent
    threshold.py   `Thresholded`: yes from another probability on than a half

All three are River estimators: around a whole pipeline, or as its last step around the classifier there.

    PlattCalibrated(StandardScaler() | LogisticRegression())
    StandardScaler() | Thresholded(PlattCalibrated(LogisticRegression()), at=0.2)

They export to ONNX with what is inside them, and live in the journal as River's own estimators do.
"""

from learners.calibration.isotonic import IsotonicCalibrated
from learners.calibration.platt import PlattCalibrated
from learners.calibration.threshold import Thresholded

__all__ = ["IsotonicCalibrated", "PlattCalibrated", "Thresholded"]

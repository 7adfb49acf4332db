"""The same question where purchases are rare: learned from as many yes as no, calibrated back to how many there are.

Half of what the logistic regression learns from is a purchase, so that the rare ones have a say; what it then says is
far too high, and `PlattCalibrated` keeps correcting it by what happened.
"""

from river import compose, imblearn, linear_model, preprocessing

from learners import Model, category, count, event_type, every, happens
from learners.calibration import PlattCalibrated

model = Model(
    name="purchase-calibrated",
    applies_to=event_type(
        "web.webpagedetails.pageViews",
        "commerce.productViews",
        "commerce.productListViews",
        "commerce.productListAdds",
        "commerce.checkouts",
    ),
    features=[
        category("eventType"),
        category("placeContext.geo.countryCode"),
        category("web.webPageDetails.siteSection"),
        category("_experience.analytics.session.web.webReferrer.type"),
        category("marketing.trackingCode"),
        count("web.webpagedetails.pageViews", within="30m"),
        count("web.webinteraction.linkClicks", within="30m"),
        count("commerce.productViews", within="30m"),
        count("commerce.productListAdds", within="30m"),
        count("commerce.checkouts", within="30m"),
        count("commerce.purchases", within="30m"),
        count("web.webpagedetails.pageViews", within="3d"),
        count("commerce.checkouts", within="3d"),
        count("commerce.purchases", within="3d"),
    ],
    outcome=happens("commerce.purchases", within="30m"),
    learner=(
        (compose.SelectType(str) | preprocessing.OneHotEncoder())
        + (compose.SelectType(float) | preprocessing.StandardScaler())
    )
    | PlattCalibrated(
        imblearn.RandomUnderSampler(linear_model.LogisticRegression(), desired_dist={False: 0.5, True: 0.5}, seed=1)
    ),
    release=every("2s"),
)

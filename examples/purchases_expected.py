"""How many purchases will these visits come to? The score is a share of a purchase, to be added up over many events.

It learns 1.0 where a purchase came and 0.0 where none did, and is judged by squared error, so that the scores of a
thousand events add up to the purchases that follow them. One score alone may lie below 0 or above 1: for the chance of
a single visitor take `purchase_propensity.py`.
"""

from learners import Model, category, count, event_type, every, happens
from learners.recipes import regression

model = Model(
    name="purchases-expected",
    applies_to=event_type("commerce.productViews", "commerce.productListAdds", "commerce.checkouts"),
    features=[
        category("eventType"),
        category("placeContext.geo.countryCode"),
        category("web.webPageDetails.siteSection"),
        category("_experience.analytics.session.web.webReferrer.type"),
        count("commerce.productViews", within="30m"),
        count("commerce.productListAdds", within="30m"),
        count("commerce.checkouts", within="30m"),
        count("commerce.purchases", within="3d"),
    ],
    outcome=happens("commerce.purchases", within="30m"),
    learner=regression(),
    release=every("2s"),
)

"""The same question with an adaptive random forest: slower to learn, quicker to follow a drift."""

from river import forest

from learners import Model, category, count, event_type, every, happens

model = Model(
    name="purchase-forest",
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
    learner=forest.ARFClassifier(n_models=5, leaf_prediction="mc", seed=1),  # takes categories as they are
    release=every("2s"),
)

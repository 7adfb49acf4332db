"""Will this visitor purchase within half an hour? For a web shop and its app, on XDM ExperienceEvents."""

from river import compose, linear_model, preprocessing

from learners import Model, category, count, event_type, every, happens

model = Model(
    name="purchase-propensity",
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
    | linear_model.LogisticRegression(),
    release=every("2s"),
)

"""Which visits are unlike all others: bots, broken tags, a campaign? 0 is as usual, 1 is where hardly any visit was.

Its scores depend on how visits look and not on what comes of them: it never learns the outcome. An outcome is waited
for all the same, and the AUC among the release's metrics tells whether unusual visits purchase more often (above 0.5)
or less often (below). Counts in two windows, since a bot differs in its pace; counts and the hour are always there.
"""

from learners import Model, count, event_type, every, happens, hour
from learners.recipes import anomaly

model = Model(
    name="unusual-visits",
    applies_to=event_type("web.webpagedetails.pageViews", "commerce.productViews"),
    features=[
        hour(),
        count("web.webpagedetails.pageViews", within="1m"),
        count("web.webpagedetails.pageViews", within="30m"),
        count("web.webinteraction.linkClicks", within="1m"),
        count("commerce.productViews", within="1m"),
        count("commerce.productViews", within="30m"),
        count("commerce.productListAdds", within="30m"),
    ],
    outcome=happens("commerce.purchases", within="30m"),
    learner=anomaly(),
    release=every("2s"),
)

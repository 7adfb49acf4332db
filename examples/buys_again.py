"""Will a customer of CDNOW buy again within 30 days? Scored at every purchase of the `cdnow` data set.

Recent purchases say more than old ones, so they are counted in three windows that nest. Left out on purpose:
`seconds_since` (a first purchase has none, and what is missing counts as average, which a newcomer is not) and the hour
(the record knows days only).
"""

from river import linear_model, optim, preprocessing

from learners import Model, count, event_type, every, happens, number

model = Model(
    name="buys-again",
    applies_to=event_type("commerce.purchases"),
    features=[
        count("commerce.purchases", within="30d"),
        count("commerce.purchases", within="90d"),
        count("commerce.purchases", within="365d"),
        number("commerce.order.priceTotal", least=0, most=100_000),
    ],
    outcome=happens("commerce.purchases", within="30d"),
    # Slow steps: a label comes up to 30 days late and the positive ones come first, so at River's usual pace (0.01) the
    # intercept runs after them; and the counts have a long tail.
    learner=preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.001), intercept_lr=0.001),
    release=every("2s"),
    remembers="730d",
)

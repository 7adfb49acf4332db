"""The ExperienceEvent fields a model may name, by XED path and type, and the event types.

Names and types are those of Adobe's Experience Data Model (github.com/adobe/xdm, CC BY 4.0). A tenant's own fields
(paths that start with `_`) are not listed: what a model file says of them is believed and checked on every event.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final, Literal

from schemas.errors import ModelFileError

FieldType = Literal["number", "string", "boolean"]

_FIELDS: Final[Mapping[FieldType, str]] = {
    "string": """
        _id eventType eventMergeId producedBy timestamp receivedTimestamp
        application.id application.name application.version application.userPerspective
        channel._id channel._type channel.mode channel.mediaType channel.mediaAction channel.typeAtSource
        commerce.order.currencyCode commerce.order.purchaseID commerce.order.purchaseOrderNumber
        commerce.order.orderType commerce.promotionID commerce.cart.cartID commerce.cart.cartSource
        dataSource._id
        device.typeID device.typeIDService device.type device.manufacturer device.model device.modelNumber
        device.screenOrientation
        environment.type environment.operatingSystem environment.operatingSystemVersion
        environment.operatingSystemVendor environment.connectionType environment.carrier environment.domain
        environment.ISP environment._dc.language environment.viewedScreen environment.previousScreen
        environment.browserDetails.name environment.browserDetails.vendor environment.browserDetails.version
        environment.browserDetails.acceptLanguage environment.browserDetails.userAgent
        environment.browserDetails.javaScriptVersion environment.browserDetails.javaVersion
        implementationDetails.name implementationDetails.version implementationDetails.environment
        marketing.trackingCode marketing.campaignName marketing.campaignGroup
        placeContext.localTime placeContext.ianaTimezone placeContext.geo._id placeContext.geo.countryCode
        placeContext.geo.stateProvince placeContext.geo.city placeContext.geo.postalCode
        search.searchEngine search.keywords
        web.webPageDetails.siteSection web.webPageDetails.name web.webPageDetails.viewName web.webPageDetails.URL
        web.webPageDetails.server web.webInteraction.type web.webInteraction.URL web.webInteraction.name
        web.webInteraction.region web.webReferrer.type web.webReferrer.URL
        _experience.analytics.session.web.webReferrer.type _experience.analytics.session.search.searchEngine
        _experience.analytics.endUser.firstWeb.webReferrer.type
    """,
    "number": """
        application.applicationCloses.value application.crashes.value application.featureUsages.value
        application.firstLaunches.value application.installs.value application.launches.value
        application.upgrades.value application.sessionLength
        botDetection.score
        commerce.cartAbandons.value commerce.checkouts.value commerce.inStorePurchase.value
        commerce.instantPurchase.value commerce.productListAdds.value commerce.productListOpens.value
        commerce.productListRemovals.value commerce.productListReopens.value commerce.productListViews.value
        commerce.productViews.value commerce.purchases.value commerce.saveForLaters.value
        commerce.order.priceTotal commerce.order.taxAmount commerce.order.discountAmount commerce.order.refundTotal
        commerce.shipping.shippingAmount
        device.screenWidth device.screenHeight device.colorDepth
        environment.colorDepth environment.viewportHeight environment.viewportWidth
        environment.browserDetails.viewportHeight environment.browserDetails.viewportWidth
        placeContext.localTimezoneOffset placeContext.geo.dmaID placeContext.geo.msaID
        placeContext.geo._schema.latitude placeContext.geo._schema.longitude placeContext.geo._schema.elevation
        search.pageDepth search.position
        web.webPageDetails.pageViews.value web.webInteraction.linkClicks.value
        _experience.analytics.session.num _experience.analytics.session.depth
        _experience.analytics.session.timestamp _experience.analytics.session.search.pageDepth
        _experience.analytics.endUser.firstTimestamp
        _experience.analytics.event1to100.event1.value _experience.analytics.event1to100.event2.value
    """,
    "boolean": """
        application.isClose application.isInstall application.isLaunch application.isUpgrade
        device.isBackgroundPushEnabled device.isLocationEnabled device.isPushOptIn
        environment.browserDetails.cookiesEnabled environment.browserDetails.javaScriptEnabled
        environment.browserDetails.javaEnabled environment.browserDetails.thirdPartyCookiesEnabled
        search.isPaid web.webPageDetails.isErrorPage web.webPageDetails.isHomePage web.webPageDetails.isPreRendered
        _experience.analytics.session.search.isPaid
    """,
}
FIELDS: Final[Mapping[str, FieldType]] = {path: kind for kind, paths in _FIELDS.items() for path in paths.split()}

# Where an event type shows itself when `eventType` is missing: the measure that is then above zero. The order decides
# when an event carries several measures: nearer to the purchase first, a page view last.
MEASURES: Final[Mapping[str, str]] = {
    "commerce.purchases": "commerce.purchases.value",
    "commerce.checkouts": "commerce.checkouts.value",
    "commerce.productListAdds": "commerce.productListAdds.value",
    "commerce.productListRemovals": "commerce.productListRemovals.value",
    "commerce.saveForLaters": "commerce.saveForLaters.value",
    "commerce.productListOpens": "commerce.productListOpens.value",
    "commerce.productListReopens": "commerce.productListReopens.value",
    "commerce.productListViews": "commerce.productListViews.value",
    "commerce.productViews": "commerce.productViews.value",
    "application.launch": "application.launches.value",
    "application.close": "application.applicationCloses.value",
    "web.webinteraction.linkClicks": "web.webInteraction.linkClicks.value",
    "web.webpagedetails.pageViews": "web.webPageDetails.pageViews.value",
}

_EVENT_TYPES: Final[Mapping[str, str]] = {
    "advertising": "completes timePlayed federated clicks conversions firstQuartiles impressions midpoints starts"
    " thirdQuartiles",
    "application": "close launch",
    "commerce": "checkouts productListAdds productListOpens productListRemovals productListReopens productListViews"
    " productViews purchases saveForLaters backofficeOrderPlaced backofficeOrderCancelled backofficeOrderItemsShipped"
    " backofficeCreditMemoIssued backofficeShipmentCompleted",
    "decisioning": "propositionDisplay propositionInteract propositionSend propositionDismiss propositionTrigger",
    "delivery": "feedback",
    "directMarketing": "emailBounced emailBouncedSoft emailDelivered emailUnsubscribed emailOpened emailClicked"
    " emailSent",
    "inappmessageTracking": "dismiss display interact",
    "leadOperation": "scoreChanged revenueStageChanged statusInCampaignProgressionChanged interestingMoment newLead"
    " convertLead callWebhook changeEngagementCampaignCadence addToCampaign changeCampaignStream mergeLeads",
    "listOperation": "removeFromList addToList",
    "location": "entry exit",
    "media": "ping sessionStart play bufferStart pauseStart chapterStart chapterSkip chapterComplete adStart adSkip"
    " adComplete adBreakStart adBreakComplete bitrateChange error sessionComplete sessionEnd statesUpdate downloaded"
    " customTracking",
    "message": "feedback tracking renderingData",
    "opportunityEvent": "removeFromOpportunity addToOpportunity opportunityUpdated",
    "pushTracking": "applicationOpened customAction",
    "web": "webpagedetails.pageViews webinteraction.linkClicks formFilledOut",
}
EVENT_TYPES: Final = frozenset(f"{group}.{name}" for group, names in _EVENT_TYPES.items() for name in names.split())


def field_type(path: str, assumed: FieldType) -> FieldType:
    """Return the type of the field at an XED path; a tenant's field has the type its user assumes.

    Raises:
        ModelFileError: no such field; names the nearest one.

    >>> field_type("commerce.order.priceTotal", "number")
    'number'
    >>> field_type("commerce.order.pricetotal", "number")
    Traceback (most recent call last):
    schemas.errors.ModelFileError: no XDM field commerce.order.pricetotal; did you mean commerce.order.priceTotal?
    """
    known = FIELDS.get(path)
    if known is not None:
        return known
    if path.startswith("_") and not path.startswith("_experience.") and "." in path:
        return assumed
    raise ModelFileError(f"no XDM field {path}{_nearest(path, FIELDS)}")


def event_type_name(name: str) -> str:
    """Return `name`, an event type; the list is open, so only what looks like a slip of the pen is refused.

    Raises:
        ModelFileError: almost, but not quite, one of Adobe's event types.

    >>> event_type_name("commerce.purchase")
    Traceback (most recent call last):
    schemas.errors.ModelFileError: no XDM event type commerce.purchase; did you mean commerce.purchases?
    """
    if name in EVENT_TYPES:
        return name
    nearest = _nearest(name, EVENT_TYPES)
    if nearest or "." not in name:
        raise ModelFileError(f"no XDM event type {name}{nearest or '; a type of your own needs a dot in its name'}")
    return name


def _nearest(name: str, known: Mapping[str, object] | frozenset[str]) -> str:
    lower = {each.lower(): each for each in known}
    match = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.75)
    return f"; did you mean {lower[match[0]]}?" if match else ""

"""Products and prices: what is sold."""

from __future__ import annotations

from compose.standins.payments import params as p
from compose.standins.payments.errors import invalid
from compose.standins.payments.resource import Route, listing, page, retrieving
from compose.standins.payments.store import Object, Transaction, public

_PRODUCT: p.Fields = {
    **p.COMMON,
    "id": p.text,
    "active": p.boolean,
    "default_price": p.text,
    "description": p.text,
    "name": p.text,
    "statement_descriptor": p.text,
    "unit_label": p.text,
    "url": p.text,
}
_PRODUCT_PLAIN = (
    "active",
    "default_price",
    "description",
    "name",
    "statement_descriptor",
    "unit_label",
    "url",
)
_RECURRING = p.hash_of(
    interval=p.one_of("day", "week", "month", "year"),
    interval_count=p.number(1, 365),
    usage_type=p.one_of("licensed"),
)
_PRICE: p.Fields = {
    **p.COMMON,
    "active": p.boolean,
    "billing_scheme": p.one_of("per_unit"),
    "currency": p.currency,
    "lookup_key": p.text,
    "nickname": p.text,
    "product": p.text,
    "product_data": p.hash_of(id=p.text, name=p.text, active=p.boolean, metadata=p.metadata),
    "recurring": _RECURRING,
    "tax_behavior": p.one_of("exclusive", "inclusive", "unspecified"),
    "transfer_lookup_key": p.boolean,
    "unit_amount": p.number(0, p.MAX_AMOUNT),
}
_PRICE_CHANGES = ("active", "lookup_key", "nickname", "tax_behavior")


def create_product(tx: Transaction, given: p.Params) -> Object:
    """Make a product, under an id of the caller's when one is given."""
    plain = {name: given.get(name) for name in _PRODUCT_PLAIN}
    plain["active"] = given.get("active") is not False
    own = {}
    if given.get("id"):
        if tx.any(given["id"]):
            raise invalid("Product already exists.", "id", "resource_already_exists")
        own["id"] = given["id"]
    made = tx.add(
        "prod",
        "product",
        **{**plain, **own},
        images=[],
        marketing_features=[],
        metadata=p.merged({}, given.get("metadata")),
        package_dimensions=None,
        shippable=None,
        tax_code=None,
        type="service",
        updated=tx.now,
    )
    tx.emit("product.created", made)
    return made


def update_product(tx: Transaction, given: p.Params, one: str) -> Object:
    """Change a product."""
    found = tx.get("product", one, status=404, param="id")
    found.update({name: given[name] for name in _PRODUCT_PLAIN if name in given}, updated=tx.now)
    found["metadata"] = p.merged(found["metadata"], given.get("metadata"))
    tx.emit("product.updated", found)
    return tx.save(found)


def create_price(tx: Transaction, given: p.Params) -> Object:
    """Make a price of a product, or of a new one."""
    if given.get("unit_amount") is None:
        raise invalid("Missing required param: unit_amount.", "unit_amount", "parameter_missing")
    if given.get("product_data"):
        if not given["product_data"].get("name"):
            name = "product_data[name]"
            raise invalid(f"Missing required param: {name}.", name, "parameter_missing")
        product = create_product(tx, given["product_data"])
    elif given.get("product"):
        product = tx.get("product", given["product"])
    else:
        raise invalid("Missing required param: product.", "product", "parameter_missing")
    recurring = given.get("recurring")
    if recurring is not None and not recurring.get("interval"):
        raise invalid("Missing required param: recurring[interval].", "recurring[interval]")
    _take_key(tx, given)
    made = tx.add(
        "price",
        "price",
        active=given.get("active") is not False,
        billing_scheme="per_unit",
        currency=given["currency"],
        custom_unit_amount=None,
        lookup_key=given.get("lookup_key"),
        metadata=p.merged({}, given.get("metadata")),
        nickname=given.get("nickname"),
        product=product["id"],
        recurring=recurring
        and {
            "interval": recurring["interval"],
            "interval_count": recurring.get("interval_count") or 1,
            "meter": None,
            "trial_period_days": None,
            "usage_type": "licensed",
        },
        tax_behavior=given.get("tax_behavior") or "unspecified",
        tiers_mode=None,
        transform_quantity=None,
        type="recurring" if recurring else "one_time",
        unit_amount=given["unit_amount"],
        unit_amount_decimal=str(given["unit_amount"]),
    )
    tx.emit("price.created", made)
    return made


def update_price(tx: Transaction, given: p.Params, one: str) -> Object:
    """Change what may change of a price: never its amount."""
    found = tx.get("price", one, status=404, param="id")
    if given.get("lookup_key") != found["lookup_key"]:
        _take_key(tx, given)
    found.update({name: given[name] for name in _PRICE_CHANGES if name in given})
    found["metadata"] = p.merged(found["metadata"], given.get("metadata"))
    tx.emit("price.updated", found)
    return tx.save(found)


def _take_key(tx: Transaction, given: p.Params) -> None:
    """Make sure that no other price has this look-up key, taking it away when that was asked for."""
    if not (key := given.get("lookup_key")):
        return
    for other in tx.select("price", {"lookup_key": key}):
        if not given.get("transfer_lookup_key"):
            raise invalid(
                f"A price (`{other['id']}`) already uses that lookup key.",
                "lookup_key",
                "resource_already_exists",
            )
        tx.save({**other, "lookup_key": None})


def list_prices(tx: Transaction, given: p.Params) -> Object:
    """List prices."""
    names = ("active", "currency", "product", "type")
    where: dict[str, object] = {n: given[n] for n in names if given.get(n) is not None}
    if keys := given.get("lookup_keys"):
        where[
            "EXISTS (SELECT 1 FROM json_each(?) WHERE value = json_extract(body, '$.lookup_key'))"
        ] = p.as_json(keys)
    return page(tx, "price", "/v1/prices", given, where)


def price_of(tx: Transaction, given: str, param: str) -> Object:
    """Return an active recurring price as a subscription shows it. Raises `ApiError`."""
    found = tx.get("price", given, param=param)
    if found["type"] != "recurring":
        raise invalid(
            f"The price specified is set to `type=one_time` but this field only accepts prices "
            f"with `type=recurring`: {given}",
            param,
        )
    if not found["active"]:
        raise invalid(f"The price specified is inactive: {given}", param)
    return public(found)


_PRODUCT_CHANGES = {name: field for name, field in _PRODUCT.items() if name != "id"}
_CHANGES = (*_PRICE_CHANGES, "metadata", "expand", "transfer_lookup_key")
_IDS = p.list_of(p.text)
ROUTES = (
    Route("POST", "/v1/products", create_product, _PRODUCT, ("name",)),
    listing("product", "/v1/products", {"active": p.boolean}),
    retrieving("product", "/v1/products/{}"),
    Route("POST", "/v1/products/{}", update_product, _PRODUCT_CHANGES),
    Route("POST", "/v1/prices", create_price, _PRICE, ("currency",)),
    Route(
        "GET",
        "/v1/prices",
        list_prices,
        {
            **p.PAGE,
            "active": p.boolean,
            "currency": p.currency,
            "product": p.text,
            "lookup_keys": _IDS,
            "type": p.one_of("one_time", "recurring"),
        },
    ),
    retrieving("price", "/v1/prices/{}"),
    Route("POST", "/v1/prices/{}", update_price, {name: _PRICE[name] for name in _CHANGES}),
)

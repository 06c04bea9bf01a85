"""Connected accounts, the platform's balance, and transfers from one to the other.

Money is available as soon as it was charged: Stripe's settlement delay of days would only be waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compose.standins.payments import params as p
from compose.standins.payments.errors import ApiError, invalid
from compose.standins.payments.resource import Route, listing, retrieving

if TYPE_CHECKING:
    from compose.standins.payments.store import Object, Transaction

_ACCOUNT: p.Fields = {
    **p.COMMON,
    "business_profile": p.free_hash,
    "business_type": p.one_of("company", "government_entity", "individual", "non_profit"),
    "capabilities": p.free_hash,
    "controller": p.free_hash,
    "country": p.text,
    "default_currency": p.currency,
    "email": p.text,
    "settings": p.free_hash,
    "tos_acceptance": p.free_hash,
    "type": p.one_of("custom", "express", "standard"),
}
_TRANSFER: p.Fields = {
    **p.COMMON,
    "amount": p.amount,
    "currency": p.currency,
    "description": p.text,
    "destination": p.text,
    "source_transaction": p.text,
    "source_type": p.one_of("bank_account", "card", "fpx"),
    "transfer_group": p.text,
}


def create_account(tx: Transaction, given: p.Params) -> Object:
    """Make a connected account that can be paid at once: nobody is asked for papers here."""
    made = tx.add(
        "acct",
        "account",
        business_profile=given.get("business_profile"),
        business_type=given.get("business_type"),
        capabilities=dict.fromkeys(given.get("capabilities") or {}, "active"),
        charges_enabled=True,
        controller=given.get("controller") or {"type": "application"},
        country=given.get("country") or "US",
        default_currency=given.get("default_currency") or "usd",
        details_submitted=True,
        email=given.get("email"),
        external_accounts={
            "object": "list",
            "data": [],
            "has_more": False,
            "url": "/v1/accounts/external_accounts",
        },
        metadata=p.merged({}, given.get("metadata")),
        payouts_enabled=True,
        requirements={"currently_due": [], "disabled_reason": None, "past_due": []},
        settings={},
        type=given.get("type") or "none",
    )
    tx.emit("account.updated", made)
    return made


def update_account(tx: Transaction, given: p.Params, one: str) -> Object:
    """Change a connected account."""
    found = tx.get("account", one, status=404, param="account")
    names = ("business_profile", "business_type", "email", "default_currency")
    found.update({name: given[name] for name in names if name in given})
    found["capabilities"].update(dict.fromkeys(given.get("capabilities") or {}, "active"))
    found["metadata"] = p.merged(found["metadata"], given.get("metadata"))
    tx.emit("account.updated", found)
    return tx.save(found)


def create(tx: Transaction, given: p.Params) -> Object:
    """Pay a connected account out of the platform's balance, never more than is in it."""
    amount, currency = given["amount"], given["currency"]
    destination = tx.get("account", given["destination"], param="destination")
    charge = _source(tx, given)
    if tx.balance(currency) < amount:
        raise ApiError(
            400,
            "You have insufficient available funds in your Stripe account. Try adding funds directly to your "
            "available balance by creating Charges using the 4000000000000077 test card.",
            code="balance_insufficient",
        )
    transfer = tx.add(
        "tr",
        "transfer",
        amount=amount,
        amount_reversed=0,
        balance_transaction=None,
        currency=currency,
        description=given.get("description"),
        destination=destination["id"],
        destination_payment=tx.new_id("py"),
        metadata=p.merged({}, given.get("metadata")),
        reversals={
            "object": "list",
            "data": [],
            "has_more": False,
            "url": "/v1/transfers/reversals",
        },
        reversed=False,
        source_transaction=charge and charge["id"],
        source_type=given.get("source_type") or "card",
        transfer_group=given.get("transfer_group") or (charge and charge["transfer_group"]),
    )
    entry = tx.move(currency, -amount, "transfer", transfer["id"])
    transfer["balance_transaction"] = entry["id"]
    tx.emit("transfer.created", transfer)
    return tx.save(transfer)


def _source(tx: Transaction, given: p.Params) -> Object | None:
    """Return the charge that a transfer draws on; together its transfers take no more than it brought."""
    if not given.get("source_transaction"):
        return None
    charge = tx.get("charge", given["source_transaction"], param="source_transaction")
    drawn = charge.get("_transferred", 0) + given["amount"]
    if charge["currency"] != given["currency"] or drawn > charge["amount_captured"]:
        raise invalid(
            "Transfers using this transaction as a source must not exceed its amount.",
            "amount",
            "transfer_source_balance_parameters_mismatch",
        )
    return tx.save({**charge, "_transferred": drawn})


def update(tx: Transaction, given: p.Params, one: str) -> Object:
    """Change a transfer's description and metadata."""
    found = tx.get("transfer", one, status=404, param="transfer")
    found["metadata"] = p.merged(found["metadata"], given.get("metadata"))
    found["description"] = given.get("description", found["description"])
    tx.emit("transfer.updated", found)
    return tx.save(found)


def balance(tx: Transaction, _given: p.Params) -> Object:
    """Return what the platform has, by currency."""
    rows = tx.connection.execute("SELECT currency, amount FROM balances ORDER BY currency")
    available = [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}}
        for currency, amount in rows
    ]
    pending = [{**one, "amount": 0, "source_types": {"card": 0}} for one in available]
    return {"object": "balance", "available": available, "livemode": False, "pending": pending}


_EXPAND: p.Fields = {"expand": p.list_of(p.text)}
ROUTES = (
    Route("POST", "/v1/accounts", create_account, _ACCOUNT),
    listing("account", "/v1/accounts"),
    retrieving("account", "/v1/accounts/{}"),
    Route("POST", "/v1/accounts/{}", update_account, _ACCOUNT),
    Route("GET", "/v1/balance", balance, _EXPAND),
    listing(
        "balance_transaction",
        "/v1/balance_transactions",
        {"currency": p.currency, "source": p.text, "type": p.text},
    ),
    retrieving("balance_transaction", "/v1/balance_transactions/{}"),
    Route("POST", "/v1/transfers", create, _TRANSFER, ("amount", "currency", "destination")),
    listing("transfer", "/v1/transfers", {"destination": p.text, "transfer_group": p.text}),
    retrieving("transfer", "/v1/transfers/{}"),
    Route("POST", "/v1/transfers/{}", update, {**p.COMMON, "description": p.text}),
)

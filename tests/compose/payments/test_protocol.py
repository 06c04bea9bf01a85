"""Around the resources: who may ask, what is unknown, pages, bounds, renewals and settings."""

from __future__ import annotations

import base64
import os
import random
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
import stripe

from compose.standins.payments.api import ROUTES
from compose.standins.payments.faults import Faults
from compose.standins.payments.subscriptions import later
from tests.compose.payments.provider import KEY, Provider, raw
from tests.compose.payments.test_resources import charged, monthly, payer
from tests.compose.promtool import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from stripe import StripeClient

    from tests.compose.payments.provider import Recorder

BEARER = {"Authorization": f"Bearer {KEY}"}
FORM = {**BEARER, "Content-Type": "application/x-www-form-urlencoded"}


def test_wrong_keys_are_refused(provider: Provider, recorder: Recorder) -> None:
    """Without the key nothing is answered but health and metrics; the key given is not repeated."""
    other = stripe.StripeClient(
        "sk_test_another",
        base_addresses={"api": f"http://127.0.0.1:{provider.port}"},
        max_network_retries=0,
        http_client=recorder,
    )
    with pytest.raises(stripe.AuthenticationError) as refused:
        other.v1.customers.create()
    assert "sk_test_another" not in str(refused.value.http_body)
    for headers in ({}, {"Authorization": "Basic !"}, {"Authorization": "Bearer "}):
        for path in ("/v1/charges", "/v1/nothing", "/_control/faults"):
            assert raw(provider.port, "GET", path, headers=headers)[0] == 401
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    assert (
        raw(provider.port, "GET", "/v1/charges", headers={"Authorization": f"Basic {basic}"})[0]
        == 200
    )
    assert raw(provider.port, "GET", "/health")[2] == {"status": "healthy"}


def test_unknown_routes_and_parameters(client: StripeClient, provider: Provider) -> None:
    """What is not there is said in Stripe's shape, never passed over."""
    status, headers, body = raw(provider.port, "POST", "/v1/coupons", "", FORM)
    assert (status, body["error"]["type"]) == (404, "invalid_request_error")
    assert headers["request-id"].startswith("req_")
    assert body["error"]["message"].startswith("Unrecognized request URL (POST: /v1/coupons)")
    _, _, body = raw(provider.port, "POST", "/v1/customers", "emial=a", FORM)
    assert (body["error"]["code"], body["error"]["param"]) == ("parameter_unknown", "emial")
    _, _, body = raw(provider.port, "POST", "/v1/payment_intents", "amount=100", FORM)
    assert (body["error"]["code"], body["error"]["param"]) == ("parameter_missing", "currency")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.retrieve("pi_nothing")
    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        client.v1.customers.retrieve(client.v1.customers.create().id, {"expand": ["object"]})


@pytest.mark.parametrize(
    "body",
    [
        "amount=10.5&currency=usd",
        "amount=-5&currency=usd",
        "amount=1e3&currency=usd",
        "amount=49&currency=usd",
        "amount=100000000&currency=usd",
        "amount=500&currency=xyz",
        "amount[a]=500&currency=usd",
        "amount=500&currency=usd&metadata=x",
        "amount=500&currency=usd&metadata[a][b][c][d][e][f][g]=x",
        "amount=500&currency=usd&expand=latest_charge",
        "a[=1",
        "amount=500&currency=usd&metadata[a]=" + "x" * 501,
        "&".join(f"metadata[k{n}]=v" for n in range(501)),
    ],
)
def test_bad_parameters_are_one_clear_refusal(provider: Provider, body: str) -> None:
    """Amounts are integers of the minor unit within bounds; a broken form is said to be one. Nothing is made."""
    status, _, answer = raw(provider.port, "POST", "/v1/payment_intents", body, FORM)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert not raw(provider.port, "GET", "/v1/payment_intents", headers=BEARER)[2]["data"]


def test_whatever_is_asked_is_answered(client: StripeClient, provider: Provider) -> None:
    """Every route, called with any of its parameters set to anything, is done or refused, and never breaks."""
    dice = random.Random(7)  # noqa: S311 - the same calls in every run
    customer = payer(client)
    ids = [
        *(customer.id, monthly(client), charged(client).id, "pm_card_visa", "plan"),
        client.v1.subscriptions.create(
            {"customer": customer.id, "items": [{"price": monthly(client)}]}
        ).id,
        client.v1.accounts.create({"type": "express"}).id,
    ]
    values = ["", "0", "1", "99", "true", "x", "usd", "month", "card", "9" * 5000, "\0", *ids]
    for _ in range(500):
        route = dice.choice(ROUTES)
        path = route.path.format(*(dice.choice(ids) for _ in range(route.path.count("{}"))))
        pairs = []
        for name in {
            *dice.sample(sorted(route.fields), min(4, len(route.fields))),
            *route.required,
        }:
            tail = dice.choice(
                ["", "", "[0]", "[a]", "[0][price]", "[enabled]", "[" + "9" * 5000 + "]"]
            )
            pairs.append((name + tail, dice.choice(values)))
        form = urlencode(pairs)
        body, query = (form, "") if route.method == "POST" else (None, f"?{form}")
        status, _, answer = raw(provider.port, route.method, path + query, body, FORM)
        assert status in (200, 400, 402, 404), (route, form, answer)


def test_bytes_that_are_no_text_are_refused(provider: Provider) -> None:
    """A path, a query, a form or a key that is no UTF-8 is one clear refusal."""
    for line, more in (
        (b"GET /v1/customers/\xff HTTP/1.1", b""),
        (b"GET /v1/customers?email=\xff HTTP/1.1", b""),
        (b"GET /v1/customers?email=%ff HTTP/1.1", b""),
        (b"POST /v1/customers HTTP/1.1", b"Idempotency-Key: \xff\r\n"),
    ):
        with socket.create_connection(("127.0.0.1", provider.port), 10) as opened:
            head = (
                b"\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\nAuthorization: Bearer "
            )
            opened.sendall(line + head + KEY.encode() + b"\r\n" + more + b"\r\n")
            assert opened.recv(1000).startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), line


def test_a_large_body_is_refused(provider: Provider) -> None:
    """A body beyond its bound is not read to its end."""
    status, _, answer = raw(provider.port, "POST", "/v1/customers", "email=" + "x" * 100_000, FORM)
    assert (status, answer["error"]["type"]) == (413, "invalid_request_error")


def test_pages(client: StripeClient) -> None:
    """Pages go both ways without a gap or a repetition, newest first, and the SDK walks them by itself."""
    made = [client.v1.customers.create({"email": f"{n}@b.example"}).id for n in range(7)][::-1]
    first = client.v1.customers.list({"limit": 3})
    assert ([one.id for one in first.data], first.has_more) == (made[:3], True)
    second = client.v1.customers.list({"limit": 3, "starting_after": made[2]})
    assert [one.id for one in second.data] == made[3:6]
    back = client.v1.customers.list({"limit": 2, "ending_before": made[4]})
    assert ([one.id for one in back.data], back.has_more) == (made[2:4], True)
    assert [one.id for one in first.auto_paging_iter()] == made
    last = client.v1.customers.list({"starting_after": made[5]})
    assert ([one.id for one in last.data], last.has_more) == (made[6:], False)
    now = client.v1.customers.retrieve(made[0]).created
    assert not client.v1.customers.list({"created": {"gt": now + 100}}).data
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        client.v1.customers.list({"starting_after": "cus_nothing"})


def test_faults_are_bounded(provider: Provider) -> None:
    """A fault that is unknown or too large is refused; faults end with the process."""
    for asked in (
        '{"duplicate": 6}',
        '{"drop": true}',
        '{"other": 1}',
        "[]",
        "{",
        '{"for_s": 601}',
    ):
        status, _, answer = raw(provider.port, "PUT", "/_control/faults", asked, BEARER)
        assert status == 400
        assert "\n" not in answer["error"]["message"]
    assert provider.control("PUT", "faults", drop=5)["drop"] == 5
    provider.kill()
    provider.start()
    assert provider.control("GET", "faults")["drop"] == 0


def test_faults_end_by_themselves() -> None:
    """After its time a fault is off, and so is what was left of a count."""
    now = [0.0]
    faults = Faults(lambda: now[0])
    faults.take_up({"duplicate": 1, "drop": 2, "for_s": 5})
    assert (faults.plan.duplicate, faults.use("drop"), faults.to_json()["drop"]) == (1, True, 1)
    now[0] = 5.0
    assert (faults.plan.duplicate, faults.use("drop"), faults.to_json()["drop"]) == (0, False, 0)


def test_subscriptions_renew(client: StripeClient, provider: Provider) -> None:
    """When a period is over the next is paid; a declined renewal is past due; what was to end has ended."""
    good, ending, never = payer(client), payer(client), payer(client)
    price = monthly(client)

    def subscribe(customer: stripe.Customer, **more: Any) -> stripe.Subscription:
        asked: Any = {"customer": customer.id, "items": [{"price": price}], **more}
        return client.v1.subscriptions.create(asked)

    renewed, ended = subscribe(good), subscribe(ending, cancel_at_period_end=True)
    waiting = subscribe(never, payment_behavior="default_incomplete")
    failing = client.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": never.id})
    declined = subscribe(never)
    client.v1.subscriptions.update(declined.id, {"default_payment_method": failing.id})
    provider.control("POST", "clock", advance_s=31 * 86_400)

    found = {
        one.id: client.v1.subscriptions.retrieve(one.id)
        for one in (renewed, ended, waiting, declined)
    }
    assert [one.status for one in found.values()] == [
        "active",
        "canceled",
        "incomplete_expired",
        "past_due",
    ]
    before, after = renewed["items"].data[0], found[renewed.id]["items"].data[0]
    assert after.current_period_start == before.current_period_end
    assert len(client.v1.invoices.list({"subscription": renewed.id, "status": "paid"}).data) == 2
    provider.kill()
    provider.start()
    provider.control("POST", "clock", advance_s=0)
    assert len(client.v1.invoices.list({"subscription": renewed.id}).data) == 2


def test_a_month_ends_on_its_last_day() -> None:
    """A period that began on the 31st ends on the last day of a shorter month and comes back to the 31st."""
    january = 1_769_860_800  # 2026-01-31T12:00:00Z
    assert later(january, "month", 1) - january == 28 * 86_400
    assert later(january, "month", 2) - january == 59 * 86_400
    assert later(january, "year", 1) - january == 365 * 86_400
    assert later(january, "week", 2) - january == 14 * 86_400


def test_the_state_outlives_a_kill(client: StripeClient, provider: Provider) -> None:
    """After kill -9 everything is as it was."""
    customer = payer(client)
    made = client.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": monthly(client)}]}
    )
    intent = charged(client)
    provider.kill()
    provider.start()
    assert client.v1.subscriptions.retrieve(made.id).to_dict() == made.to_dict()
    assert client.v1.payment_intents.retrieve(intent.id).to_dict() == intent.to_dict()
    assert client.v1.refunds.create({"payment_intent": intent.id}).amount == 1000


def test_it_listens_on_loopback_and_ends_when_asked(provider: Provider) -> None:
    """Unless told otherwise nobody beyond this machine reaches it; SIGTERM ends it cleanly."""
    import psutil

    assert provider.process is not None
    process = psutil.Process(provider.process.pid)
    listening = [c for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}
    os.kill(process.pid, signal.SIGTERM)
    assert provider.process.wait(10) == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "STRIPE_SECRET_KEY"),
        ({"PORT": "x"}, "PORT is 'x'"),
        ({"WEBHOOK_URL": "ftp://x"}, "WEBHOOK_URL"),
        ({"WEBHOOK_URL": "http://127.0.0.1:1/"}, "WEBHOOK_SECRET"),
        ({"DATA_DIR": "/dev/null/x"}, "cannot start"),
    ],
)
def test_wrong_settings_end_it_with_one_line(
    tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    """What is missing or wrong is named, and the process ends with 2."""
    good = {"STRIPE_SECRET_KEY": KEY, "DATA_DIR": str(tmp_path)} if settings else {}
    done = subprocess.run(
        [sys.executable, "-m", "compose.standins.payments"],
        cwd=ROOT,
        env={**good, **settings},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert says in done.stderr

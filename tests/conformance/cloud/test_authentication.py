"""Tokens: made in the constructor, ended by the world's clock, refreshed, refused."""

import time

import pytest

EXPIRED = ("unauthorized_request", "Access token is missing, invalid or expired")
WRONG = ("unauthorized_request", "Invalid client id or client secret")
TOKEN = "/v1/oauth2/token"


def test_the_constructor_gets_a_token_for_an_hour(client, asked):
    authentication = client._authentication
    assert (authentication._token_type, authentication._scope) == ("Bearer", "fullAccess")
    assert authentication._expires_at == pytest.approx(time.time() + 3600, abs=30)
    assert asked() == [("POST", TOKEN, 200)]


@pytest.mark.parametrize("wrong", ["client_id", "client_secret"])
def test_a_wrong_half_of_the_credentials_is_refused_before_any_call(log_in, refused, asked, wrong):
    with refused(*WRONG):
        log_in(**{wrong: "nobody-knows-this"})
    assert asked() == [("POST", TOKEN, 401)]


def test_a_token_lives_just_under_an_hour(world, client):
    world.jump(3590)
    assert client.balance.get().currency == "usd"


def test_a_token_ends_on_the_worlds_clock(world, client, refused):
    world.jump(3601)
    with refused(*EXPIRED):
        client.balance.get()


def test_a_client_that_knows_its_token_expired_refreshes_it(world, client, asked):
    before = client._authentication._access_token
    world.jump(3601)
    client._authentication._expires_at = 0
    assert client.balance.get().amount == 50.0
    assert client._authentication._access_token != before
    assert asked(TOKEN) == [("POST", TOKEN, 200)] * 2


def test_a_refresh_gives_a_new_refresh_token_that_works_too(client):
    authentication = client._authentication
    first = authentication._refresh_token
    authentication.refresh()
    second = authentication._refresh_token
    authentication.refresh()
    assert len({first, second, authentication._refresh_token}) == 3
    assert client.locations.get()[0]["code"] == "FIN-01"


def test_a_refused_refresh_ends_in_a_new_login(world, client, asked):
    world.jump(25 * 3600)
    client._authentication._expires_at = 0
    assert client.balance.get().amount == 50.0
    assert asked(TOKEN) == [("POST", TOKEN, 200), ("POST", TOKEN, 401), ("POST", TOKEN, 200)]


def test_a_revoked_token_is_refused_at_once(world, client, refused):
    world.set(cloud={"revoke_tokens": True})
    with refused(*EXPIRED):
        client.instances.get()


def test_revoking_reaches_the_refresh_token_as_well(world, client, asked):
    world.set(cloud={"revoke_tokens": True})
    client._authentication._expires_at = 0
    assert client.instances.get() == []
    assert asked(TOKEN) == [("POST", TOKEN, 200), ("POST", TOKEN, 401), ("POST", TOKEN, 200)]


def test_a_login_that_fails_after_a_refused_refresh_is_told(client, refused):
    authentication = client._authentication
    authentication._refresh_token, authentication._client_secret = "stale", "changed"
    authentication._expires_at = 0
    with refused(*WRONG):
        client.balance.get()


def test_a_made_up_token_is_refused(client, refused):
    client._authentication._access_token = "eyJhbGciOiJIUzI1NiJ9.e30.x"
    with refused(*EXPIRED):
        client.ssh_keys.get()


def test_a_second_login_leaves_the_first_token_alive(client, log_in):
    second = log_in()
    assert second._authentication._access_token != client._authentication._access_token
    assert (client.balance.get().amount, second.balance.get().amount) == (50.0, 50.0)


def test_a_reset_of_the_world_keeps_client_and_token(world, client, key):
    world.admin("POST", "reset")
    assert client.ssh_keys.get() == []

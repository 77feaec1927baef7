"""What is sealed can be opened with the right key only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.message.signing import split_endpoint
from cdc.webhooks.vault import MARK, CannotOpen, Vault, new_key, sealed

OLD, NEW, OTHER = new_key(), new_key(), new_key()


@given(st.text())
def test_sealed_and_opened_again(text: str) -> None:
    vault = Vault([NEW])
    closed = vault.seal(text)
    assert closed.startswith(MARK)
    assert not text or text not in closed or len(text) < 6
    assert vault.open(closed) == text
    assert vault.seal(text) != closed, "equal secrets do not look equal"


def test_without_a_key_nothing_changes() -> None:
    vault = Vault()
    assert not vault.locked
    assert vault.seal("whsec_x") == vault.open("whsec_x") == "whsec_x"
    assert vault.seal_endpoint("https://me:pass@a.com/") == "https://me:pass@a.com/"


def test_the_first_key_seals_and_all_open() -> None:
    before = Vault([OLD]).seal("x")
    both = Vault([NEW, OLD])
    assert both.open(before) == "x"
    assert not both.holds(before)
    assert both.holds(both.seal("x"))
    assert Vault([NEW]).open(both.seal("x")) == "x"
    assert not both.holds("x"), "plain, where it is to be encrypted"
    assert Vault().holds("x")
    assert not Vault().holds(before)


@pytest.mark.parametrize(
    ("keys", "says"), [([], "CDC_SECRET_KEYS is not set"), ([OTHER], "not in CDC_SECRET_KEYS")]
)
def test_the_error_names_the_setting_and_no_secret(keys: list[str], says: str) -> None:
    closed = Vault([NEW]).seal("whsec_marked")
    with pytest.raises(CannotOpen) as caught:
        Vault(keys).open(closed)
    message = caught.value.message + caught.value.hint
    assert says in message
    assert closed not in message
    assert not any(key in message for key in keys)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("change", [-1, -20, 30])
def test_what_was_tampered_with_is_not_opened(change: int) -> None:
    closed = Vault([NEW]).seal("whsec_marked")
    other = "A" if closed[change] != "A" else "B"
    broken = closed[:change] + other + closed[change:][1:]
    with pytest.raises(CannotOpen):
        Vault([NEW]).open(broken)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://me:pass@a.com:8443/x?y=1#z",
        "https://m%40e:p%3Ass@a.com",
        "https://only@a.com/",
        "https://me:p:q@a.com?x=@",
    ],
)
def test_an_endpoint_leads_to_the_same_place(endpoint: str) -> None:
    vault = Vault([NEW])
    closed = vault.seal_endpoint(endpoint)
    assert sealed(closed)
    assert not sealed(endpoint)
    assert split_endpoint(closed)[0] == split_endpoint(endpoint)[0]
    assert closed.startswith("https://")
    assert vault.open_endpoint(closed) == endpoint
    assert vault.holds_endpoint(closed)


def test_an_endpoint_without_login_stays_as_it_is() -> None:
    assert Vault([NEW]).seal_endpoint("https://a.com/@you") == "https://a.com/@you"
    assert Vault([NEW]).holds_endpoint("https://a.com/@you")

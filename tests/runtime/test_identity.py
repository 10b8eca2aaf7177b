"""What a replica shows to proxies and to other replicas: certificates that are valid, of the root that signs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from smeagol.pki import AuthorityError, LocalAuthority, MemoryKeyStore, Phase
from smeagol.providers.envoy import provider
from smeagol.runtime.admission import AdmissionSettings
from smeagol.runtime.controller import Controller, ControllerSettings
from smeagol.webhook import InjectionSettings, WebhookPlace

ADMISSION = AdmissionSettings(
    injection=InjectionSettings(proxy_image="proxy:1", init_image="smeagol:1"), place=WebhookPlace()
)


def a_replica(admission: AdmissionSettings | None = None) -> Controller:
    """One that nobody has told anything yet."""
    return Controller(
        ControllerSettings(identity="a", admission=admission),
        client=httpx2.AsyncClient(),
        provider=provider,
        keys=MemoryKeyStore(),
    )


def replace_root(authority: LocalAuthority) -> None:
    """Until the new one signs."""
    for hours in (0, 2):
        authority.maintain(
            now=datetime.now(UTC) + timedelta(hours=hours),
            bundle_acknowledged=True,
            last_old_leaf_expiry=None,
            rotate_root=not hours,
        )
    assert authority.state.phase is Phase.RETIRING


async def test_what_becomes_due_while_it_waits_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a machine sleeps its timers stand still and certificates expire, and the next one may live shorter."""
    monkeypatch.setattr("smeagol.runtime.controller.TEND_SECONDS", 0.01)
    replica = a_replica()
    shown = replica._shown
    tending = asyncio.create_task(replica._tend())
    await asyncio.sleep(0)  # it has begun to wait
    monkeypatch.setattr("smeagol.runtime.controller.now", lambda: datetime.now(UTC) + timedelta(hours=20))
    async with asyncio.timeout(20):
        while replica._shown is shown:
            await asyncio.sleep(0.01)
    tending.cancel()
    await asyncio.wait([tending])


def test_a_root_that_comes_to_sign_while_a_certificate_is_made_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is taken in a thread of its own; who knows the new root alone would not believe the old one's."""
    replica = a_replica()
    authority = replica._authorities.own
    issue = authority.issue

    def overtaken(*args: object, **more: object) -> object:
        issued = issue(*args, **more)  # type: ignore[arg-type]  # as it was called
        replace_root(authority)
        return issued

    with monkeypatch.context() as patched:
        patched.setattr(authority, "issue", overtaken)
        replica._identity()
    before = replica._shown
    replica._follow_roots()
    assert replica._shown is not before


def test_what_could_not_be_made_for_a_new_root_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The webhooks' certificate too: once the old root is forgotten, the API server would not believe it."""
    replica = a_replica(ADMISSION)
    assert replica.admission is not None
    tries: list[int] = []

    def renew() -> None:
        tries.append(len(tries))
        if len(tries) == 1:
            raise AuthorityError("not now")

    monkeypatch.setattr(replica.admission._certificate, "renew", renew)
    replace_root(replica._authorities.own)
    for _ in range(3):
        replica._follow_roots()
    assert tries == [0, 1]


def test_where_another_authority_signs_the_own_root_waits() -> None:
    """For replicas that have not been told of that one yet sign with it, and nobody tells who trusts its successor."""
    replica = a_replica()
    own = replica._authorities.own
    own.begin_rotation(now=datetime.now(UTC), hurried=True)
    replica._tend_own()
    assert own.state.phase is Phase.INTRODUCING

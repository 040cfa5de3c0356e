from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from usance.adapters.keys_aws import AwsKeyService, AwsSettings
from usance.crypto.keyservice import KekId, KeyGone, KeyServiceDenied, KeyState, KeyTampered
from usance.crypto.secret import Secret
from usance.kernel.clock import MS_PER_DAY, SystemClock
from usance.kernel.errors import Unavailable
from usance.testing.key_conformance import TENANT, KeyServiceConformance, context, data_keys

REGION = "eu-west-1"
_places = itertools.count(1)


@pytest.fixture(scope="module")
def kms() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "of-a-test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "of-a-test")
        with mock_aws():
            yield boto3.client("kms", region_name=REGION)


@pytest.fixture
def place() -> AwsSettings:
    """Where no other test has keys."""
    return AwsSettings(REGION, f"test-{next(_places)}")


class TestAwsKeyService(KeyServiceConformance):
    @pytest.fixture(autouse=True)
    def _place(self, kms: Any, place: AwsSettings) -> None:
        self.kms, self.place = kms, place

    def open_service(self) -> AwsKeyService:
        return AwsKeyService(self.place, self.kms)


def test_a_key_pending_deletion_opens_nothing_whatever_the_server_does(
    kms: Any, place: AwsSettings
) -> None:
    service = AwsKeyService(place, kms)
    service.create(TENANT)
    keys = data_keys(1)
    wrapped = service.wrap(TENANT, keys)
    service.rotate(TENANT)
    told = service.destroy(KekId(TENANT, 1))
    # The stand-in goes on decrypting, so it is our guard that is seen here.
    plain = kms.decrypt(
        KeyId=f"alias/{place.prefix}/{TENANT}/1",
        CiphertextBlob=wrapped[0].blob,
        EncryptionContext={
            "usance-tenant": TENANT,
            "usance-kek": "1",
            "usance-subject": "s-0",
            "usance-retention": "trade-10y",
            "usance-key-id": "00" * 16,
            "usance-key-version": "1",
            "usance-purpose": "data",
        },
    )["Plaintext"]
    assert Secret(plain) == keys[0][1]
    assert service.unwrap(wrapped) == [KeyGone(KekId(TENANT, 1), wrapped[0].context.key_id)]
    assert told.state is KeyState.DESTROYED
    days = (told.final - SystemClock().now()) / MS_PER_DAY
    assert 6.9 < days < 7.1


def test_a_version_whose_alias_went_with_its_key_is_gone_and_known(
    kms: Any, place: AwsSettings
) -> None:
    service = AwsKeyService(place, kms)
    service.create(TENANT)
    wrapped = service.wrap(TENANT, data_keys(1))
    service.rotate(TENANT)
    service.destroy(KekId(TENANT, 1))
    kms.delete_alias(AliasName=f"alias/{place.prefix}/{TENANT}/1")  # what KMS does after seven days
    assert service.unwrap(wrapped) == [KeyGone(KekId(TENANT, 1), wrapped[0].context.key_id)]
    assert [v.state for v in service.versions(TENANT)] == [KeyState.DESTROYED, KeyState.ACTIVE]
    assert service.rotate(TENANT).id == KekId(TENANT, 3)


def test_another_process_rotation_is_seen_by_the_next_wrap(kms: Any, place: AwsSettings) -> None:
    one, two = AwsKeyService(place, kms), AwsKeyService(place, kms)
    one.create(TENANT)
    assert one.wrap(TENANT, data_keys(1))[0].kek.version == 1
    two.rotate(TENANT)
    assert one.wrap(TENANT, data_keys(1))[0].kek.version == 2


class Failing:
    """A client that answers one operation with an error of KMS."""

    def __init__(self, real: Any, operation: str, code: str) -> None:
        self._real, self._operation, self._code = real, operation, code

    def __getattr__(self, name: str) -> Any:
        if name != self._operation:
            return getattr(self._real, name)

        def fail(**_: Any) -> None:
            raise ClientError({"Error": {"Code": self._code, "Message": "said the test"}}, name)

        return fail


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDeniedException", KeyServiceDenied),
        ("ExpiredTokenException", KeyServiceDenied),
        ("DisabledException", KeyServiceDenied),
        ("ThrottlingException", Unavailable),
        ("KMSInternalException", Unavailable),
        ("KMSInvalidStateException", Unavailable),
    ],
)
def test_what_kms_refuses_is_no_tampering(
    kms: Any, place: AwsSettings, code: str, kind: type[Exception]
) -> None:
    service = AwsKeyService(place, kms)
    service.create(TENANT)
    wrapped = service.wrap(TENANT, data_keys(1))
    with pytest.raises(kind) as error:
        AwsKeyService(place, Failing(kms, "decrypt", code)).unwrap(wrapped)
    assert isinstance(error.value, KeyServiceDenied) is (kind is KeyServiceDenied)
    assert code in str(error.value)


def test_a_ciphertext_of_another_kek_is_tampering(kms: Any, place: AwsSettings) -> None:
    service = AwsKeyService(place, kms)
    service.create(TENANT)
    service.rotate(TENANT)
    [item] = service.wrap(TENANT, data_keys(1))
    [verdict] = service.unwrap([item._replace(kek=KekId(TENANT, 1))])
    assert isinstance(verdict, KeyTampered)


def test_a_tenants_own_key_has_no_subject_and_is_bound_all_the_same(
    kms: Any, place: AwsSettings
) -> None:
    service = AwsKeyService(place, kms)
    service.create(TENANT)
    own = context(1, subject="", retention="")
    secret = Secret(b"\x07" * 32)
    [item] = service.wrap(TENANT, [(own, secret)])
    assert service.unwrap([item]) == [secret]
    [verdict] = service.unwrap([item._replace(context=own._replace(subject="s-1"))])
    assert isinstance(verdict, KeyTampered)


def test_no_network_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-a-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-a-test")
    service = AwsKeyService(AwsSettings(REGION, endpoint="http://127.0.0.1:1"))
    with pytest.raises(Unavailable):
        service.check()

"""Hashes that other systems made: each was written by the system that it is named for."""

from __future__ import annotations

import time

import pytest

from app.security import PasswordHasher, UnsupportedHash, parse_stored_hash
from gatehouse.testing.factories import PASSWORD

MADE_ELSEWHERE = {
    "bcrypt 2b": "$2b$04$r1jLEaJHWRouR7DuusIGaeJ.TSbKCkfYaPSi1sl.AC6C01ivvCcja",
    "bcrypt 2y": "$2y$04$YFFvofDJTiSVqN9M2/JMVusGF6MlmN4.zh166kKrC3zek51MatPsW",
    "django bcrypt": "bcrypt$$2b$04$WDkQAWqKkfGbeKm8QKcWOO/6zim.vXNFyMU4qXcICESGrHGEPhsum",
    "django bcrypt_sha256": "bcrypt_sha256$$2b$04$8XE3dlImEw.Gl4tK5bTBPOADlix4VrRvyHjVGCOo/pEglmEPMio2C",
    "django pbkdf2_sha256": "pbkdf2_sha256$1000$seasaltseasalt$NedxMDuJzwAKT7oxK0Z/l3X6Vyl0WXEn3XVr3cI0sz4=",
    "django pbkdf2_sha1": "pbkdf2_sha1$1000$seasaltseasalt$CF/dOfwniR82MhN7yg8TzvQSLjc=",
    "django argon2": "argon2$argon2id$v=19$m=1024,t=2,p=1"
    "$c2Vhc2FsdHNlYXNhbHQ$wvsr86K5iALgVUsgexfIEdzCVH0mbMD2jMToP86vFFI",
    "django scrypt": "scrypt$1024$seasalt$8$5"
    "$YnptR67fCPx4F71uVNtD9QIOFRnK4GFCEAHnVcXYvxV9C1P/7jB5DsZ+9cYJWp8bctEGNO3/SzZaRPgdOtQwUw==",
    "passlib pbkdf2-sha256": "$pbkdf2-sha256$1000$dQ6BkHJurTWm9D6H8J6zNg$yQZOGbxytup3KZHJeFBKXh75JQ0IvwSnzKhHRy0zc1I",
    "passlib pbkdf2-sha512": "$pbkdf2-sha512$1000$7n3vXQthDGGMMUZIiZEy5g"
    "$L4tjWu8lB5yXCnDdq9JY/LFGspE/SyhVFILHrrxiRFSFnbiQg6w.c3b.VjThKIqAtCjZu7J/qBTmFiT32POr.A",
    "passlib pbkdf2-sha1": "$pbkdf2$1000$nVPqPef8XyvF.F.r9V6rVQ$RY6e8ctMB51OOabgZnU.SUcVfF4",
    "passlib scrypt": "$scrypt$ln=10,r=8,p=1$7D0HoJTSupfyXguhNCZECA$7QPo+RsnlVR1+mWmk1blrJu6/eA4JdQH4nPFEQmrez4",
    "argon2id in four lanes": "$argon2id$v=19$m=1024,t=1,p=4$DbL1MRp/iE/DvcpLr8"
    "t+Ng$u4uyqLlwpuloBV5yLdLKrYxegW4kwBv38h1HwDEbfwg",
    "argon2id with a long digest": "$argon2id$v=19$m=1024,t=1,p=1$/wUR33skrkcQXzSq9dCINENYWHc7Gkj33WYwIidQ9qQ$7wmK01"
    "pzE2/8OMq0CXORMYPQ0puvJG3+GrxEmk1IpNv/f8m1ULogT48AfqdO1qBVx8TnaHptDl6Ko6L2qG4pLg",
    "argon2i": "$argon2i$v=19$m=1024,t=2,p=1$cy6lNEaoFYIwxjgnRCiFUA$2xlRWWb1H32BRT/K/IuGNkU9xMdO95KpwMNRPcLgWa4",
    "werkzeug scrypt": "scrypt:1024:8:1$SUSRrijFcKlYOSDB"
    "$a9541e1b8c39445ce33fee85e46027d223d94493d332831f5501cf33522b51b6"
    "5a83e30e713c90039d18c5c1f7cc8e4d63ee353b909c5a0dfa61c06805d72efd",
    "werkzeug pbkdf2 sha256": "pbkdf2:sha256:1000$aQkgxi1o2nQq90bN"
    "$3c0dc6c67659d6e2d41208d372c69ebf1b9178590334a3fe2a2b0323a92b2349",
    "werkzeug pbkdf2 sha512": "pbkdf2:sha512:1000$ZOandhPZcPPfk0Ib"
    "$6ecddfd7270104ec7c1181a1f6f5f89edf870137d1fef2f13453e2291c2e7ede8dbb54c945cc03f2c0d6dd1b7feff00634d196e953f2f0c7"
    "6b8c76b56ca0c3e2",
}
# Of a password of 72 times "x" and then "tail", by a bcrypt that reads 72 bytes.
LONG_BCRYPT = "$2b$04$3N4hbraqBJWUvlW4axTZZu4E7AOoSKEC46rT.iuegra1SZ1yNh9sG"
# Of "café lantern gravel osprey" with the accent typed as a character of its own.
DECOMPOSED = "$pbkdf2-sha256$1000$zznn/P8fQyjFeA.BsJaS8g$zaSkXEq4mDxF9SQ6AWJ6UVjZFmgqlO3OLGF0zznhnBI"

B64 = "c2Vhc2FsdHNlYXNhbHQ"
HEX = "3c0dc6c67659d6e2d41208d372c69ebf1b9178590334a3fe2a2b0323a92b2349"
HARMFUL = {
    "bcrypt of cost 31": "$2b$31$r1jLEaJHWRouR7DuusIGaeJ.TSbKCkfYaPSi1sl.AC6C01ivvCcja",
    "bcrypt of cost 3": "$2b$03$r1jLEaJHWRouR7DuusIGaeJ.TSbKCkfYaPSi1sl.AC6C01ivvCcja",
    "Argon2 with 4 GiB": f"$argon2id$v=19$m=4194304,t=1,p=1${B64}${B64}{B64}",
    "Argon2 with a million passes": f"$argon2id$v=19$m=19456,t=1000000,p=1${B64}${B64}{B64}",
    "Argon2 with 999 lanes": f"$argon2id$v=19$m=19456,t=1,p=999${B64}${B64}{B64}",
    "Argon2 with a short digest": f"$argon2id$v=19$m=19456,t=1,p=1${B64}$AAAAAAAA",
    "PBKDF2 with 999 million rounds": f"pbkdf2:sha256:999999999$salt${HEX}",
    "PBKDF2 with no round": f"pbkdf2:sha256:0$salt${HEX}",
    "PBKDF2 with a digest of many blocks": f"pbkdf2:sha1:1000$salt${HEX}{HEX}",
    "PBKDF2 with a digest of one byte": "pbkdf2:sha256:1000$salt$3c",
    "scrypt with 512 GiB": f"scrypt:536870912:8:1$salt${HEX}",
    "scrypt with a million lanes": f"scrypt:32768:8:1000000$salt${HEX}",
    "scrypt with n no power of 2": f"scrypt:32767:8:1$salt${HEX}",
    "scrypt with n too large for r": f"scrypt:131072:1:1$salt${HEX}",
    "scrypt with an exponent of 99": f"$scrypt$ln=99,r=8,p=1${B64}${B64}{B64}",
}
UNKNOWN = {
    "MD5": "5f4dcc3b5aa765d61d8327deb882cf99",
    "clear text": "turnip lantern gravel osprey",
    "bcrypt 2x, which ignores characters": "$2x$04$r1jLEaJHWRouR7DuusIGaeJ.TSbKCkfYaPSi1sl.AC6C01ivvCcja",
    "PBKDF2 with MD5": f"pbkdf2:md5:1000$salt${HEX}",
    "bcrypt cut short": "$2b$04$r1jLEaJHWRouR7DuusIGaeJ.TSbKCkf",
    "digits of another script": f"pbkdf2:sha256:\u0661\u0660\u0660\u0660$salt${HEX}",
    "a line feed at its end": MADE_ELSEWHERE["bcrypt 2b"] + "\n",
    "damaged base64": "pbkdf2_sha256$1000$seasalt$NedxMDu!!!",
    "odd hexadecimal digits": f"pbkdf2:sha256:1000$salt${HEX}a",
    "longer than the column": f"pbkdf2:sha256:1000${'s' * 200}${HEX}",
}


@pytest.fixture(scope="module")
def hasher() -> PasswordHasher:
    return PasswordHasher(concurrency=2, capacity=8)


@pytest.mark.parametrize("stored", MADE_ELSEWHERE.values(), ids=MADE_ELSEWHERE.keys())
def test_a_hash_made_elsewhere_knows_its_password_and_no_other(hasher: PasswordHasher, stored: str) -> None:
    assert hasher.verify(stored, PASSWORD)
    assert not hasher.verify(stored, PASSWORD + "x")
    assert not hasher.verify(stored, "")


@pytest.mark.parametrize("stored", MADE_ELSEWHERE.values(), ids=MADE_ELSEWHERE.keys())
def test_a_hash_made_elsewhere_is_renewed_as_our_own(hasher: PasswordHasher, stored: str) -> None:
    renewed = hasher.renew(stored, PASSWORD)
    assert renewed is not None
    assert renewed.startswith("$argon2id$")
    assert hasher.verify(renewed, PASSWORD)
    assert hasher.renew(renewed, PASSWORD) is None


@pytest.mark.parametrize("stored", (HARMFUL | UNKNOWN).values(), ids=(HARMFUL | UNKNOWN).keys())
def test_a_harmful_or_unknown_hash_is_refused_and_never_repeated(stored: str) -> None:
    with pytest.raises(UnsupportedHash) as caught:
        parse_stored_hash(stored)
    assert stored not in str(caught.value)


@pytest.mark.parametrize("stored", HARMFUL.values(), ids=HARMFUL.keys())
def test_a_harmful_hash_that_got_into_the_database_costs_no_more_than_none(hasher: PasswordHasher, stored: str) -> None:
    began = time.perf_counter()
    assert not hasher.verify(stored, PASSWORD)
    assert time.perf_counter() - began < 5


def test_a_long_password_is_checked_as_its_bcrypt_did_and_kept_whole_from_then_on(hasher: PasswordHasher) -> None:
    password = "x" * 72 + "tail"
    assert hasher.verify(LONG_BCRYPT, password)
    renewed = hasher.renew(LONG_BCRYPT, password)
    assert hasher.verify(renewed, password)
    assert not hasher.verify(renewed, "x" * 72)
    assert not hasher.verify(renewed, "x" * 72 + "liat")


def test_a_long_password_that_was_hashed_before_bcrypt_is_checked_whole(hasher: PasswordHasher) -> None:
    stored = MADE_ELSEWHERE["django bcrypt_sha256"]
    assert not hasher.verify(stored, PASSWORD + "x" * 72)


def test_a_password_with_a_nul_matches_no_bcrypt_hash(hasher: PasswordHasher) -> None:
    assert not hasher.verify(MADE_ELSEWHERE["bcrypt 2b"], PASSWORD + "\0tail")


def test_a_password_is_checked_as_it_was_typed_at_its_source(hasher: PasswordHasher) -> None:
    assert hasher.verify(DECOMPOSED, "cafe\u0301 lantern gravel osprey")


def test_a_bcrypt_salt_with_stray_bits_is_no_crash(hasher: PasswordHasher) -> None:
    assert not hasher.verify("$2b$04$" + "9" * 53, PASSWORD)

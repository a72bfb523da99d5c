"""`causeway cert` against openssl: each makes what the other reads and verifies. No network, no root."""

import json
import os
import pathlib
import stat
import subprocess

import pytest

from lab import causeway_binary

KEYS = ["p256", "p384", "ed25519", "rsa2048"]


class Desk:
    """A directory with the two programs."""

    def __init__(self, path):
        self.path = path

    def __truediv__(self, name):
        return self.path / name

    def run(self, *words, ok=True, input=None):
        done = subprocess.run([str(word) for word in words], cwd=self.path, capture_output=True, text=True,
                              input=input, timeout=60)
        assert (done.returncode == 0) == ok, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def cert(self, *words, ok=True):
        return self.run(causeway_binary(), "cert", *words, ok=ok)

    def openssl(self, *words, ok=True):
        return self.run("openssl", *words, ok=ok)

    def shown(self, *files):
        return json.loads(self.cert("show", *files, "--json"))

    def write(self, name, text):
        (self.path / name).write_text(text)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def make_ca(desk, name="root", issuer=None, days=100):
    """A CA of openssl's; with an issuer, one below it."""
    desk.openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                 "-subj", f"/O=Lab/CN=The {name}")
    desk.write(f"{name}.ext", "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign,cRLSign\n")
    signer = ["-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key", "-CAcreateserial"] if issuer else ["-signkey", f"{name}.key"]
    desk.openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", "-days", days,
                 "-extfile", f"{name}.ext", *signer)


def sign(desk, csr, out, issuer="root", days=90, extensions="subjectAltName=DNS:vpn.example.com\n", extra=()):
    """What a CA makes of a request."""
    desk.write("leaf.ext", extensions)
    desk.openssl("x509", "-req", "-in", csr, "-out", out, "-days", days, "-CA", f"{issuer}.crt",
                 "-CAkey", f"{issuer}.key", "-CAcreateserial", "-extfile", "leaf.ext", *extra)


@pytest.mark.parametrize("key", KEYS)
def test_openssl_reads_and_verifies_what_we_make(desk, key):
    desk.cert("csr", "--cn", "vpn.example.com", "--o", "Big Corp", "--ou", "Net works", "--c", "de",
              "--san", "192.0.2.1", "--san", "2001:db8::1", "--san", "other.example.com", "--key", key, "--out", "hub")
    text = desk.openssl("req", "-in", "hub.csr", "-noout", "-text", "-verify", "-nameopt", "RFC2253")
    assert "verify OK" in text
    assert "CN=vpn.example.com,OU=Net works,O=Big Corp,C=DE" in text
    for name in ("DNS:vpn.example.com", "DNS:other.example.com", "IP Address:192.0.2.1", "IP Address:2001:DB8:0:0:0:0:0:1"):
        assert name in text
    assert mode(desk / "hub.key") == 0o600
    desk.openssl("pkey", "-in", "hub.key", "-check", "-noout")

    desk.cert("self-sign", "--cn", "vpn.example.com", "--days", 77, "--key", key, "--out", "self")
    assert "OK" in desk.openssl("verify", "-CAfile", "self.crt", "-verify_hostname", "vpn.example.com", "self.crt")
    [facts] = desk.shown("self.crt")
    assert facts["days_left"] in (76, 77) and facts["self_signed"] and not facts["warnings"]
    fingerprint = desk.openssl("x509", "-in", "self.crt", "-noout", "-fingerprint", "-sha256").strip().split("=")[1]
    assert desk.cert("fingerprint", "self.crt").strip() == fingerprint.lower() == facts["fingerprint"]
    assert "is there already" in desk.cert("self-sign", "--cn", "a", "--out", "self", ok=False)
    assert "is good" in desk.cert("verify", "self.crt", "--ca", "self.crt", "--name", "vpn.example.com", "--key", "self.key")


@pytest.mark.parametrize("kind", ["rsa:2048", "ec:P-256", "ec:P-384", "ed25519"])
def test_we_read_what_openssl_makes_and_import_its_answer(desk, kind):
    make_ca(desk)
    make_ca(desk, "middle", issuer="root")
    new = {"ec:P-256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
           "ec:P-384": ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"]}.get(kind, [kind])
    desk.openssl("req", "-newkey", *new, "-nodes", "-keyout", "their.key", "-out", "their.csr",
                 "-subj", "/C=DE/O=Lab/CN=vpn.example.com")
    [request] = desk.shown("their.csr")
    assert request["holds"] == "a certificate signing request" and not request["warnings"]
    sign(desk, "their.csr", "their.crt", issuer="middle")
    # The chain comes in a wrong order, with a stranger in it.
    make_ca(desk, "stranger")
    desk.write("bundle.crt", "".join((desk / name).read_text() for name in ("root.crt", "stranger.crt", "middle.crt")))
    told = desk.cert("import", "--certificate", "their.crt", "--key", "their.key", "--chain", "bundle.crt",
                     "--ca", "root.crt", "--out", "server")
    assert "left out: " in told and "The stranger" in told
    subjects = [facts["subject"] for facts in desk.shown("server.crt")]
    assert [subject.split("CN=")[1] for subject in subjects] == ["vpn.example.com", "The middle"]
    assert mode(desk / "server.key") == 0o600
    desk.write("middle-only.crt", "".join((desk / "server.crt").read_text().partition("-----END CERTIFICATE-----\n")[2:]))
    assert "OK" in desk.openssl("verify", "-CAfile", "root.crt", "-untrusted", "middle-only.crt", "server.crt")
    assert "is good" in desk.cert("verify", "server.crt", "--ca", "root.crt", "--name", "vpn.example.com")
    # The intermediate left out is named.
    told = desk.cert("verify", "their.crt", "--ca", "root.crt", "--name", "vpn.example.com", ok=False)
    assert "chain is incomplete" in told and "The middle" in told
    told = desk.cert("import", "--certificate", "their.crt", "--key", "their.key", "--ca", "root.crt", "--out", "x", ok=False)
    assert "The middle" in told and not (desk / "x.key").exists()


def test_certificates_of_clients_are_imported_too(desk):
    make_ca(desk)
    desk.cert("csr", "--cn", "branch", "--out", "branch")
    take = ["import", "--certificate", "branch.crt", "--key", "branch.key", "--ca", "root.crt", "--out", "in", "--force"]
    for extensions in ("extendedKeyUsage=clientAuth\nsubjectAltName=DNS:branch\n", "subjectAltName=email:ops@example.com\n",
                       "subjectAltName=email:ops@example.com,DNS:vpn.example.com\nextendedKeyUsage=clientAuth,serverAuth\n"):
        sign(desk, "branch.csr", "branch.crt", extensions=extensions)
        desk.cert(*take)
        assert "is good" in desk.cert("verify", "in.crt", "--ca", "root.crt", "--purpose", "client", "--key", "in.key")
    # The mailbox comes first, and the other name is what is verified.
    assert "is good" in desk.cert("verify", "in.crt", "--ca", "root.crt")
    desk.cert(*take, "--purpose", "server")
    sign(desk, "branch.csr", "branch.crt", extensions="extendedKeyUsage=clientAuth\nsubjectAltName=DNS:branch\n")
    was = (desk / "in.crt").read_bytes()
    desk.cert(*take, "--purpose", "server", ok=False)
    make_ca(desk, "other")
    desk.cert(*take[:-5], "--ca", "other.crt", "--out", "in", "--force", ok=False)
    assert (desk / "in.crt").read_bytes() == was


def test_a_key_that_everybody_could_read_is_secret_after_a_renewal(desk):
    for renew in (["self-sign", "--cn", "a"], ["csr", "--cn", "a"], ["import", "--certificate", "new.crt", "--key", "new.key"]):
        desk.cert("self-sign", "--cn", "a", "--out", "new", "--force")
        desk.cert("self-sign", "--cn", "a", "--out", "old", "--force")
        (desk / "old.key").chmod(0o644)
        assert "others may read it" in desk.cert("show", "old.key")
        desk.cert(*renew, "--out", "old", "--force")
        assert mode(desk / "old.key") == 0o600, renew
        (desk / "old.key").chmod(0o640)
        desk.cert(*renew, "--out", "old", "--force")
        assert mode(desk / "old.key") == 0o640, renew
    # Both or none: a directory is in the certificate's place.
    was = (desk / "old.key").read_bytes()
    (desk / "old.crt").unlink()
    (desk / "old.crt").mkdir()
    desk.cert("self-sign", "--cn", "a", "--out", "old", "--force", ok=False)
    assert (desk / "old.key").read_bytes() == was
    assert not list(desk.path.glob(".old*"))


def test_errors_say_exactly_what_does_not_fit(desk):
    make_ca(desk)
    desk.cert("csr", "--cn", "vpn.example.com", "--out", "hub")
    desk.cert("csr", "--cn", "other.example.com", "--out", "other")
    sign(desk, "hub.csr", "hub.crt")
    sign(desk, "other.csr", "other.crt", extensions="subjectAltName=DNS:other.example.com,IP:192.0.2.7\n")
    bad = lambda *words: desk.cert(*words, ok=False)  # noqa: E731

    told = bad("import", "--certificate", "hub.crt", "--key", "other.key", "--out", "x")
    assert "key and certificate do not match" in told and "vpn.example.com" in told
    told = bad("verify", "hub.crt", "--ca", "root.crt", "--key", "other.key")
    assert "key and certificate do not match" in told
    told = bad("verify", "other.crt", "--ca", "root.crt", "--name", "vpn.example.com")
    assert "expected vpn.example.com" in told and "other.example.com" in told and "192.0.2.7" in told

    desk.write("ca.conf", "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\n"
               "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
    desk.write("index.txt", "")
    desk.openssl("ca", "-config", "ca.conf", "-batch", "-notext", "-keyfile", "root.key", "-cert", "root.crt", "-in", "hub.csr",
                 "-out", "old.crt", "-extfile", "leaf.ext", "-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
    assert "is expired since 2021-01-01" in bad("verify", "old.crt", "--ca", "root.crt", "--name", "vpn.example.com")
    assert "expired on" in bad("import", "--certificate", "old.crt", "--key", "hub.key", "--out", "x")
    assert any("expired on" in warning for warning in desk.shown("old.crt")[0]["warnings"])

    for wrong, words in [
        ("holds a private key, not a certificate", ["hub.key", "hub.key"]),
        ("holds a certificate signing request, not a certificate: a CA makes", ["hub.csr", "hub.key"]),
        ("holds a certificate, not a private key", ["hub.crt", "hub.crt"]),
    ]:
        assert wrong in bad("import", "--certificate", words[0], "--key", words[1], "--out", "x")
    desk.openssl("x509", "-in", "hub.crt", "-outform", "DER", "-out", "hub.der")
    assert "in binary (DER)" in bad("import", "--certificate", "hub.der", "--key", "hub.key", "--out", "x")
    desk.openssl("pkey", "-in", "hub.key", "-outform", "DER", "-out", "key.der")
    assert "a key in binary (DER)" in bad("import", "--certificate", "hub.crt", "--key", "key.der", "--out", "x")
    desk.openssl("pkey", "-in", "hub.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key")
    told = bad("import", "--certificate", "hub.crt", "--key", "locked.key", "--out", "x")
    assert "an encrypted private key" in told and "openssl pkey" in told
    desk.openssl("pkcs12", "-export", "-in", "hub.crt", "-inkey", "hub.key", "-out", "hub.p12", "-passout", "pass:secret")
    told = bad("import", "--certificate", "hub.p12", "--key", "hub.key", "--out", "x")
    assert "PKCS #12" in told and "openssl pkcs12" in told
    desk.write("empty.crt", "")
    assert "it holds nothing" in bad("verify", "empty.crt", "--ca", "root.crt")
    desk.write("cut.crt", (desk / "hub.crt").read_text()[:300])
    assert "is not good PEM" in bad("verify", "cut.crt", "--ca", "root.crt")
    assert "cannot read" in bad("verify", "nothing.crt", "--ca", "root.crt")
    assert "at least 2048 bits" in bad("csr", "--cn", "a", "--key", "rsa1024", "--out", "x")
    assert "not two letters" in bad("csr", "--cn", "a", "--c", "Germany", "--out", "x")
    assert list(pathlib.Path(desk.path).glob("x.*")) == []


def test_a_revoked_certificate_is_refused(desk):
    make_ca(desk)
    desk.cert("csr", "--cn", "vpn.example.com", "--out", "hub")
    sign(desk, "hub.csr", "hub.crt")
    desk.write("ca.conf", "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=30\n"
               "crlnumber=number.txt\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid:always\n")
    desk.write("old.conf", (desk / "ca.conf").read_text().split("crlnumber")[0])
    desk.write("index.txt", "")
    desk.write("number.txt", "01\n")
    desk.openssl("ca", "-config", "old.conf", "-keyfile", "root.key", "-cert", "root.crt", "-gencrl", "-out", "v1.crl")
    assert "is of version 1" in desk.cert("verify", "hub.crt", "--ca", "root.crt", "--crl", "v1.crl", ok=False)
    crl = ["ca", "-config", "ca.conf", "-keyfile", "root.key", "-cert", "root.crt"]
    desk.openssl(*crl, "-gencrl", "-out", "empty.crl")
    assert "is good" in desk.cert("verify", "hub.crt", "--ca", "root.crt", "--crl", "empty.crl")
    desk.openssl(*crl, "-revoke", "hub.crt")
    desk.openssl(*crl, "-gencrl", "-out", "full.crl")
    assert "is revoked" in desk.cert("verify", "hub.crt", "--ca", "root.crt", "--crl", "full.crl", ok=False)
    [facts] = desk.shown("full.crl")
    serial = desk.openssl("x509", "-in", "hub.crt", "-noout", "-serial").strip().split("=")[1].lower()
    assert [number.replace(":", "").lstrip("0") for number in facts["revoked"]] == [serial.lstrip("0")]
    assert "holds a revocation list" in desk.cert("verify", "full.crl", "--ca", "root.crt", ok=False)


def test_a_renewal_may_keep_its_key(desk):
    desk.cert("self-sign", "--cn", "vpn.example.com", "--out", "one")
    told = desk.cert("csr", "--cn", "vpn.example.com", "--key-file", "one.key", "--out", "two")
    assert "one.key" in told and not (desk / "two.key").exists()
    assert desk.openssl("req", "-in", "two.csr", "-noout", "-pubkey") == desk.openssl("pkey", "-in", "one.key", "-pubout")
    # An old format is told, and read where nothing has to be signed with it.
    desk.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sec1.key")
    [facts] = desk.shown("sec1.key")
    assert facts["holds"] == "a private key"
    assert "openssl pkey" in desk.cert("csr", "--cn", "a", "--key-file", "sec1.key", "--out", "x", ok=False)

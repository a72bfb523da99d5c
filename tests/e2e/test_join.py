"""Two sites that know each other by a join token, and the certificates that a server makes, renews and asks for."""

import json
import re
import subprocess
import time

import pytest

from lab import SITE_A, Lab
from netns import CommandFailed, sh
from tools import ping_times, pinging, seconds_until_ping

SERVER = """\
mode = "server"

# What is here stays here.
[system]
workers = [0]
socket = "{socket}"
state = "{state}"

""" + SITE_A + """
[server]
{server}
"""


class Plain(Lab):
    """The lab without configurations: they come from `site add` and `join`."""

    def write_configs(self, wan=None, password=None):
        self.state = self.directory / "state"
        self.write_server("")

    def write_server(self, text):
        self.a.config.write_text(SERVER.format(socket=self.a.socket, state=self.state, server=text))

    def causeway(self, appliance, *words, ok=True, input=None):
        done = subprocess.run([str(x) for x in appliance.namespace.command(self.binary, *words)], cwd=self.directory,
                              capture_output=True, text=True, timeout=60, input=input)
        assert (done.returncode == 0) == ok, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def site(self, *words, ok=True):
        return self.causeway(self.a, "site", *words, "-c", self.a.config, ok=ok)

    def join(self, token, *words, ok=True):
        return self.causeway(self.b, "join", token, "-c", self.b.config, "--trunk", "lan1", "--uplink", "eth0",
                             "--segment", "voice=111", "--socket", self.b.socket, *words, ok=ok)

    def certificate(self, appliance=None):
        return (appliance or self.a).show("certificate")

    def served(self):
        """The fingerprint of the certificate that the server shows to anybody."""
        text = subprocess.run([str(x) for x in self["wan"].command(
            "openssl", "s_client", "-connect", "192.0.2.1:443", "-alpn", "causeway/1", "-showcerts")],
            capture_output=True, text=True, input="", timeout=20).stdout
        pem = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.S).group(0)
        return sh("openssl", "x509", "-noout", "-fingerprint", "-sha256", input=pem).strip().split("=")[1].lower()

    def refused(self, text, since=0, timeout=20.0):
        """Waits until the server tells, in its log from `since` on, why it refused a connection of the client."""
        def told():
            return any("connection from" in line and text in line for line in self.a.log()[since:].splitlines())

        self.until(told, timeout, lambda: self.a.log()[-2000:])

    @staticmethod
    def until(true, timeout=20.0, told=lambda: ""):
        deadline = time.monotonic() + timeout
        while not true():
            assert time.monotonic() < deadline, told()
            time.sleep(0.05)


def token_of(text):
    return re.search(r"causeway1\.\S+", text).group(0)


@pytest.fixture(scope="module")
def lab():
    with Plain() as lab:
        yield lab


def test_a_site_is_added_and_joins_with_nothing_else(lab):
    lab.a.start()
    lab.until(lambda: lab.a.socket.exists(), told=lab.a.log)
    assert "made one in" in lab.a.log() and "fingerprint is" in lab.a.log()
    assert (lab.state / "server.key").stat().st_mode & 0o777 == 0o600
    before = lab.a.config.read_text()
    told = lab.site("add", "branch", "--segments", "servers,voice", "--description", "Branch office")
    assert "the running appliance has taken it up" in told
    text = lab.a.config.read_text()
    assert text.startswith(before.rstrip("\n")) and "# What is here stays here." in text
    token = token_of(told)
    assert "SCRAM-SHA-256$" in text and token not in text
    assert "there is a site" in lab.site("add", "branch", ok=False)

    damaged = token[:30] + ("A" if token[30] != "A" else "B") + token[31:]
    assert "damaged" in lab.join(damaged, ok=False) and not lab.b.config.exists()
    assert "no join token" in lab.join("hello", ok=False)
    told = lab.join(token)
    assert 'segment "voice" (tunnel ID 11) is VLAN 111' in told
    password = lab.directory / "branch.password"
    assert password.stat().st_mode & 0o777 == 0o600
    assert password.read_text().strip() not in lab.b.config.read_text()
    assert "--force" in lab.join(token, ok=False)
    # What an appliance may be running with outlives choices that are no good.
    was = password.read_text(), lab.b.config.read_text()
    assert "no good configuration" in lab.join(token, "--force", "--segment", "servers=111", ok=False)
    assert (password.read_text(), lab.b.config.read_text()) == was
    assert not list(lab.directory.glob(".*password"))
    lab.join(token, "--force")
    # A second configuration in the same directory would take the password from the first.
    other = lab.directory / "other.toml"
    told = lab.causeway(lab.b, "join", token, "-c", other, "--trunk", "lan1", "--uplink", "eth0", ok=False)
    assert "branch.password is there already" in told and not other.exists()
    assert 'names no segment "vioce", but servers, voice' in lab.join(token, "--force", "--segment", "vioce=112", ok=False)
    # What no option names is kept.
    was = lab.b.config.read_text()
    lab.b.config.write_text(was.replace("workers = [0]", "workers = [0]\nmemory_mb = 128"))
    told = lab.causeway(lab.b, "join", token, "-c", lab.b.config, "--segment", "voice=111", "--force")
    assert "are as they were" in told and "start it with: causeway run" in told
    assert lab.b.config.read_text() == was.replace("workers = [0]", "workers = [0]\nmemory_mb = 128")
    lab.join(token, "--force")

    lab.b.start()
    lab.wait_up()
    assert seconds_until_ping(lab["b11"], "10.11.0.1") < 10
    assert len(ping_times(lab["b11"], "10.11.0.1", count=3)) == 3
    [own] = lab.certificate()["certificates"]
    assert own["use"] == "server" and own["days_left"] > 3000 and not own["warnings"]
    assert own["fingerprint"] == lab.served() == lab.certificate(lab.b)["pinned"][0]
    assert lab.certificate(lab.b)["shown_by_server"]["fingerprint"] == own["fingerprint"]
    shown = lab.causeway(lab.b, "show", "certificate", "--socket", lab.b.socket)
    assert "the server is known by its fingerprint " + own["fingerprint"] in shown


def test_sites_are_disabled_enabled_and_get_new_passwords(lab):
    assert "branch" in lab.site("list") and "Branch office" in lab.site("list")
    lab.site("disable", "branch")
    lab.until(lambda: not lab.b.up())
    lab.site("enable", "branch")
    lab.wait_up(30)
    token = token_of(lab.site("password", "branch"))
    lab.until(lambda: not lab.b.up())
    lab.join(token, "--force")
    lab.causeway(lab.b, "reload", "--socket", lab.b.socket)
    lab.wait_up(30)
    assert "there is no site" in lab.site("remove", "nobody", ok=False)
    # Two at once: the second waits for the first.
    names = ["left", "right"]
    running = [subprocess.Popen([str(word) for word in lab.a.namespace.command(lab.binary, "site", "add", name, "-c", lab.a.config)],
                                stdout=subprocess.DEVNULL) for name in names]
    assert [one.wait(60) for one in running] == [0, 0]
    # Nothing waits for what is typed, and what is written meanwhile stays.
    before = lab.a.config.read_text()
    words = lab.a.namespace.command(lab.binary, "site", "password", "left", "--ask", "-c", lab.a.config)
    with subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as asking:
        lab.until(lambda: "pipe" in open(f"/proc/{asking.pid}/wchan").read(), told=lambda: "it asks for no password")
        lab.site("disable", "right")
        asking.communicate(b"correct horse\n", timeout=60)
    assert asking.returncode == 0
    after = lab.a.config.read_text()
    assert after != before and after.count("enabled = false") == 1 and after.count("SCRAM") == before.count("SCRAM")
    for name in names:
        assert name in lab.site("list")
        lab.site("remove", name)


def test_only_what_we_speak_is_spoken(lab):
    """TLS 1.3 with our ALPN, no tickets; everything else is refused before it costs a signature."""
    def s_client(*words):
        done = subprocess.run([str(x) for x in lab["wan"].command(
            "openssl", "s_client", "-connect", "192.0.2.1:443", *words)], capture_output=True, text=True, input="", timeout=20)
        return done.returncode, done.stdout + done.stderr
    code, text = s_client("-alpn", "causeway/1")
    assert "TLSv1.3" in text and "ALPN protocol: causeway/1" in text and "AES" in text
    assert "New Session Ticket" not in text and "session ticket" not in text.lower()
    for version in ("-tls1_2", "-tls1_1", "-tls1"):
        code, text = s_client(version, "-alpn", "causeway/1")
        assert code != 0 and "-----BEGIN CERTIFICATE-----" not in text, text
    for other in (["-alpn", "h2,http/1.1"], []):
        code, text = s_client(*other)
        assert code != 0 and "-----BEGIN CERTIFICATE-----" not in text, text
    code, text = s_client("-alpn", "causeway/1", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256")
    assert code != 0 and "-----BEGIN CERTIFICATE-----" not in text, text


class Authority:
    """A CA of openssl's in the lab's directory."""

    def __init__(self, lab):
        self.lab = lab
        path = lab.directory
        sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 90,
           "-keyout", path / "ca.key", "-out", path / "ca.crt", "-subj", "/O=Lab/CN=The CA")
        (path / "ca.conf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={path}/index.txt\nnew_certs_dir={path}\nrand_serial=yes\ndefault_md=sha256\n"
            f"default_days=90\ndefault_crl_days=30\nunique_subject=no\ncrlnumber={path}/number.txt\npolicy=p\ncrl_extensions=e\ncopy_extensions=copy\n"
            "[p]\ncommonName=supplied\n[e]\nauthorityKeyIdentifier=keyid:always\n")
        (path / "index.txt").write_text("")
        (path / "number.txt").write_text("01\n")

    def ca(self, *words):
        path = self.lab.directory
        sh("openssl", "ca", "-config", path / "ca.conf", "-keyfile", path / "ca.key", "-cert", path / "ca.crt", *words)

    def issue(self, name, out):
        """A certificate for a request of `causeway cert csr`."""
        path = self.lab.directory
        sh(self.lab.binary, "cert", "csr", "--cn", name, "--out", path / f"{out}-request")
        self.ca("-batch", "-notext", "-in", path / f"{out}-request.csr", "-out", path / f"{out}-issued.crt")
        sh(self.lab.binary, "cert", "import", "--certificate", path / f"{out}-issued.crt", "--key", path / f"{out}-request.key",
           "--ca", path / "ca.crt", "--out", path / out, "--force")

    def revoke(self, out):
        self.ca("-revoke", self.lab.directory / f"{out}-issued.crt")

    def crl(self, file):
        self.ca("-gencrl", "-out", self.lab.directory / file)


def use(appliance, table, **keys):
    """Sets keys of a table in a file; None takes a key out."""
    text = appliance.config.read_text()
    head, tail = text.split(f"[{table}]\n", 1)
    for key, value in keys.items():
        tail = re.sub(rf"^{key} = .*\n", "", tail, count=1, flags=re.M)
        if value is not None:
            tail = f"{key} = {json.dumps(value)}\n" + tail
    appliance.config.write_text(f"{head}[{table}]\n{tail}")


def session(appliance):
    return appliance.show("service", "l2vpn")["sites"][0]


def failure(appliance):
    return session(appliance)["last_failure"] or ""


def reload(lab, appliance, ok=True):
    return lab.causeway(appliance, "reload", "--socket", appliance.socket, ok=ok)


def test_certificates_are_renewed_under_traffic(lab):
    """Other certificate, other key, then a CA instead of the pin: the session and every ping live on."""
    authority = Authority(lab)
    lab.authority = authority
    authority.issue("vpn.lab", "one")
    authority.issue("vpn.lab", "two")
    since = lab.a.show("service", "l2vpn")["sites"][0]["up_s"]
    old = lab.served()
    with pinging(lab["b11"], "10.11.0.1") as result:
        new = sh(lab.binary, "cert", "fingerprint", lab.directory / "one.crt").strip()
        # First the clients learn the new fingerprint, then the server changes over.
        use(lab.b, "client", fingerprint=[old, new])
        reload(lab, lab.b)
        use(lab.a, "server", certificate="one.crt", key="one.key")
        reload(lab, lab.a)
        assert lab.served() == new
        # Then a CA, and a renewal of the files only.
        use(lab.b, "client", fingerprint=None, ca="ca.crt", server_name="vpn.lab")
        reload(lab, lab.b)
        for end in ("crt", "key"):
            (lab.directory / f"one.{end}").write_bytes((lab.directory / f"two.{end}").read_bytes())
        reload(lab, lab.a)
        assert lab.served() == sh(lab.binary, "cert", "fingerprint", lab.directory / "two.crt").strip()
        time.sleep(1)
    assert result["received"] == result["sent"] > 20, result
    assert lab.a.show("service", "l2vpn")["sites"][0]["up_s"] > since
    # A key that does not fit is refused, and nothing changes.
    (lab.directory / "one.key").write_bytes((lab.directory / "one-request.key").read_bytes())
    assert "does not belong to the certificate" in reload(lab, lab.a, ok=False)
    (lab.directory / "one.key").write_bytes((lab.directory / "two.key").read_bytes())
    reload(lab, lab.a)
    # And the next login works with what is there now.
    lab.b.stop()
    lab.b.start()
    lab.wait_up(30)
    assert lab.certificate(lab.b)["shown_by_server"]["names"] == ["vpn.lab"]


def test_a_fingerprint_that_fits_no_more_is_told(lab):
    use(lab.b, "client", ca=None, server_name=None, fingerprint="00" * 32)
    lab.b.stop()
    lab.b.start()
    lab.until(lambda: "another fingerprint" in lab.b.log().rpartition("ends in order")[2], told=lab.b.log)
    assert "add the new fingerprint to client.fingerprint" in lab.b.log()
    use(lab.b, "client", fingerprint=None, ca="ca.crt", server_name="vpn.lab")
    reload(lab, lab.b)
    lab.wait_up(30)


def test_a_site_may_have_to_show_a_certificate(lab):
    authority = lab.authority
    authority.issue("branch", "branch")
    authority.issue("other", "other")
    authority.crl("clients.crl")
    use(lab.a, "server", client_ca="ca.crt", client_crl="clients.crl")
    use(lab.a, "[server.site]", require_certificate=True)
    reload(lab, lab.a)

    def again(**keys):
        use(lab.b, "client", **keys)
        lab.b.stop()
        since = len(lab.a.log())
        lab.b.start()
        return since

    lab.refused("it showed no certificate, which the site requires", again())
    lab.until(lambda: failure(lab.b))
    assert "certificate" not in failure(lab.b)
    again(certificate="other.crt", key="other.key")
    lab.refused('its certificate has to be for "branch", but is for "other"')
    again(certificate="branch.crt", key="branch.key")
    lab.wait_up(30)
    assert lab.certificate(lab.b)["certificates"][-1]["use"] == "client"

    authority.revoke("branch")
    authority.crl("clients.crl")
    reload(lab, lab.a)
    assert not lab.a.up(), "whose certificate is on the list is out at once"
    assert 'site "branch" is down: the client\'s certificate is revoked' in lab.a.log()
    lab.refused("the client's certificate is revoked")
    lab.until(lambda: "ended the session: the site's certificate is not accepted any more" in lab.b.log(), told=lab.b.log)
    lab.until(lambda: "the peer refused our certificate" in failure(lab.b), told=lab.b.log)
    assert "revoked" not in failure(lab.b) and "channel binding" not in lab.b.log()


def test_a_client_looks_at_the_servers_revocation_list(lab):
    use(lab.a, "[server.site]", require_certificate=None)
    use(lab.a, "server", client_ca=None, client_crl=None)
    reload(lab, lab.a)
    lab.authority.crl("servers.crl")
    use(lab.b, "client", certificate=None, key=None, crl="servers.crl")
    lab.b.stop()
    lab.b.start()
    lab.wait_up(30)
    assert lab.certificate(lab.b)["crls"][0]["revoked"] == 1
    lab.authority.revoke("two")
    lab.authority.crl("servers.crl")
    reload(lab, lab.b)
    lab.until(lambda: not lab.b.up(), told=lab.b.log)
    assert "the session is down: the server's certificate is revoked" in lab.b.log()
    lab.until(lambda: "192.0.2.1:443: the server's certificate is revoked" in failure(lab.b), told=lab.b.log)
    assert 'site "branch" is down: the site ended the session: the server\'s certificate is revoked' in lab.a.log()
    # Another certificate of the server mends it.
    lab.authority.issue("vpn.lab", "three")
    use(lab.a, "server", certificate="three.crt", key="three.key")
    reload(lab, lab.a)
    lab.wait_up(30)


def test_a_client_that_is_to_believe_otherwise_asks_at_once(lab):
    """Another pin, while the server has another certificate: the session goes over to its keys. A pin of no server of ours ends it."""
    lab.authority.issue("vpn.lab", "four")
    pin = sh(lab.binary, "cert", "fingerprint", lab.directory / "four.crt").strip()
    assert seconds_until_ping(lab["b11"], "10.11.0.1") < 10
    before = session(lab.b)
    with pinging(lab["b11"], "10.11.0.1") as result:
        use(lab.a, "server", certificate="four.crt", key="four.key")
        reload(lab, lab.a)
        use(lab.b, "client", ca=None, server_name=None, crl=None, fingerprint=pin)
        reload(lab, lab.b)
        lab.until(lambda: session(lab.b)["renewals"] == before["renewals"] + 1, told=lab.b.log)
        time.sleep(1)
    assert result["received"] == result["sent"] > 20, result
    assert session(lab.b)["up_s"] > before["up_s"]
    # The same once more changes nothing.
    reload(lab, lab.b)
    assert lab.b.up() and session(lab.b)["renewals"] == before["renewals"] + 1
    use(lab.b, "client", fingerprint="00" * 32)
    reload(lab, lab.b)
    lab.until(lambda: not lab.b.up(), told=lab.b.log)
    lab.until(lambda: f"presented was {pin}" in failure(lab.b), told=lab.b.log)
    assert "the server's certificate has another fingerprint" in session(lab.a)["last_failure"]
    use(lab.b, "client", fingerprint=None, ca="ca.crt", server_name="vpn.lab", crl="servers.crl")
    reload(lab, lab.b)
    lab.wait_up(30)


def test_bad_combinations_are_told(lab):
    use(lab.b, "client", fingerprint="00" * 32)
    with pytest.raises(CommandFailed, match="needs exactly one of fingerprint and ca"):
        sh(lab.binary, "check", "-c", lab.b.config)
    use(lab.b, "client", ca=None)
    with pytest.raises(CommandFailed, match="has no use with fingerprint"):
        sh(lab.binary, "check", "-c", lab.b.config)
    use(lab.a, "[server.site]", require_certificate=True)
    with pytest.raises(CommandFailed, match="needs server.client_ca"):
        sh(lab.binary, "check", "-c", lab.a.config)
    use(lab.a, "[server.site]", require_certificate=None)
    use(lab.a, "server", key=None)
    with pytest.raises(CommandFailed, match="server.key: is missing: certificate and key belong together"):
        sh(lab.binary, "check", "-c", lab.a.config)

#!/bin/sh
# Installs the tunnels that the end-to-end benchmark can hold beside Causeway: Debian's OpenVPN, fastd, SoftEther and tinc, and
# vpncloud from crates.io when cargo is there. No service of theirs is started.
set -eu
[ "$(id -u)" = 0 ] || { echo "it installs packages: run it as root" >&2; exit 1; }
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends openvpn fastd tinc softether-vpnserver softether-vpnbridge softether-vpncmd >/dev/null
if command -v cargo >/dev/null && ! command -v vpncloud >/dev/null; then
    cargo install --quiet --locked vpncloud || echo "vpncloud does not build here: it is left out" >&2
fi

#!/bin/sh
# The runtime stage of the Dockerfile: the package without what a container has no use for, and its capabilities on the program, so that
# it runs as the user "causeway".
set -eu
# The same numbers in every image, so that files of the host can be made readable for it.
groupadd --system --gid 443 causeway
useradd --system --uid 443 --gid 443 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin causeway
apt-get update -qq
apt-get install -y -qq --no-install-recommends /tmp/causeway.deb libcap2-bin >/dev/null
setcap cap_net_admin,cap_net_raw,cap_net_bind_service,cap_ipc_lock+ep /usr/bin/causeway
# What systemd would make: the socket's place, and the state, where a server keeps its certificate.
install -d -o causeway -g causeway /run/causeway
install -d -o causeway -g causeway -m 0750 /var/lib/causeway
apt-get purge -y -qq --auto-remove libcap2-bin >/dev/null
rm -rf /var/lib/apt/lists/* /tmp/causeway.deb /tmp/container.sh

#!/bin/sh
# The runtime stage of the Dockerfile: the package without what a container has no use for, and its capabilities on the program, so that
# it runs as the user "causeway".
set -eu
apt-get update -qq
apt-get install -y -qq --no-install-recommends /tmp/causeway.deb libcap2-bin >/dev/null
setcap cap_net_admin,cap_net_raw,cap_net_bind_service,cap_ipc_lock+ep /usr/bin/causeway
install -d -o causeway -g causeway /run/causeway
apt-get purge -y -qq --auto-remove libcap2-bin >/dev/null
rm -rf /var/lib/apt/lists/* /tmp/causeway.deb /tmp/container.sh

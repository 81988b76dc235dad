#!/bin/sh
# By dacapo: sets the host key that this server is known by. DESTDIR is the root of the file system; empty here.
set -eu
umask 077
keys=${DESTDIR-}/etc/ssh
kept=${DESTDIR-}/etc/cloud/cloud.cfg.d
mkdir -p "$keys" "$kept"
cat > "$keys/.dacapo" <<'END'
@private@
END
printf '%s\n' '@public@' > "$keys/ssh_host_ed25519_key.pub"
chmod 644 "$keys/ssh_host_ed25519_key.pub"
mv -f "$keys/.dacapo" "$keys/ssh_host_ed25519_key"
# The key stays with the disk, also when another machine boots it.
printf 'ssh_deletekeys: false\n' > "$kept/99-dacapo.cfg"
if [ -z "${DESTDIR-}" ]; then
    systemctl restart ssh || systemctl restart sshd || service ssh restart
fi

# Takes away what belongs to this machine and not to the image: identity, keys, logs, caches, and the bake's own traces.
rm -f /usr/sbin/policy-rc.d /etc/dpkg/dpkg.cfg.d/ewulf-bake /etc/apt/apt.conf.d/99ewulf-bake /etc/apt/sources.list.d/ewulf-bake.list
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old "$WORK"
rm -f /etc/ssh/ssh_host_* /etc/ssh/ssh_known_hosts ~root/.ssh/authorized_keys /home/*/.ssh/authorized_keys ~root/.bash_history
if command -v cloud-init > /dev/null; then
    cloud-init clean --logs --configs network > /dev/null 2>&1 || cloud-init clean --logs
fi
# An empty file, not a missing one: a boot from it is an ordinary boot with a new identity.
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -rf /var/lib/dhcp/* /var/log/journal/* /var/log/apt/* /var/tmp/* /tmp/*
find /var/log -type f -exec truncate -s 0 {} +
sync

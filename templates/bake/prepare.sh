# Makes the builder ready: nothing else may use apt, no service starts by being installed, and packages come without
# documentation and without waiting for the disk. What is only for the bake is undone by clean.sh.
systemctl stop apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service 2> /dev/null || true
# What cloud-init has to do comes first; status 2 means that it ended with warnings.
if command -v cloud-init > /dev/null; then
    timeout 300 cloud-init status --wait || [ "$?" -eq 2 ]
fi
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
cat > /etc/dpkg/dpkg.cfg.d/ewulf-bake << 'DPKG'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/man/*
DPKG
cat > /etc/apt/apt.conf.d/99ewulf-bake << 'APT'
Acquire::Languages "none";
Acquire::Retries "4";
APT::Install-Recommends "false";
Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";
DPkg::Lock::Timeout "300";
Dpkg::Options { "--force-confdef"; "--force-confold"; };
Dpkg::Use-Pty "false";
APT
if ! id ewulf > /dev/null 2>&1; then
    # The same id on every node, whatever the base brings: files on the shared path belong to numbers.
    useradd --uid 2000 --user-group --create-home --shell /bin/bash --comment 'MPI jobs' ewulf
fi
install -d -m 0700 -o ewulf -g ewulf /home/ewulf/.ssh
mkdir -p /opt/ewulf/bin /etc/ewulf
tar -xf "$WORK/payload.tar" -C "$WORK"

# A builder that its bake has forgotten ends itself: a power-off of it is its termination.
systemd-run --quiet --collect --unit=ewulf-bake-forgotten --on-active=4h systemctl poweroff || true

# Puts the rendered files in place, and makes systemd start what the recipe says.

tar -xf "$WORK/tree.tar" -C / --no-same-owner --no-overwrite-dir
chown -R ewulf:ewulf /home/ewulf
systemctl daemon-reload
tar -tf "$WORK/tree.tar" | sed -n '/\.preset$/p' | while read -r preset; do
    awk '$1 == "disable" { print $2 }' "/$preset"
done | while read -r unit; do
    # Units that the base does not have, or has masked, need nothing.
    if [ "$(systemctl is-enabled "$unit" 2> /dev/null || true)" = enabled ]; then
        systemctl disable "$unit"
    fi
done
for unit in ${enable[@]+"${enable[@]}"}; do
    systemctl enable "$unit"
done
if command -v sshd > /dev/null; then
    mkdir -p /run/sshd
    if [ ! -e /etc/ssh/ssh_host_ed25519_key ]; then
        ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
    fi
    sshd -t
fi

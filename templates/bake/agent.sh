#!/bin/sh
# User data of a builder: sees to it that SSM can reach it. Debian's public images come without the SSM agent, and on EC2
# every machine needs its own; it stays in the image, where nodes need it too.
set -eu

# The commands of a container are run by the machine that it is on, so it needs no agent. No EC2 instance is one.
if systemd-detect-virt --quiet --container; then
    exit 0
fi
for unit in amazon-ssm-agent.service snap.amazon-ssm-agent.amazon-ssm-agent.service; do
    if systemctl cat "$unit" > /dev/null 2>&1; then
        systemctl start "$unit"
        exit 0
    fi
done

metadata=http://169.254.169.254/latest
token=$(curl -fsS --retry 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$metadata/api/token")
fact() {
    curl -fsS --retry 5 -H "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/$1"
}
region=$(fact placement/region)
domain=$(fact services/domain)
package=/var/tmp/amazon-ssm-agent.deb
curl -fsS --retry 5 --retry-all-errors -o "$package" \
    "https://s3.$region.$domain/amazon-ssm-$region/latest/debian_amd64/amazon-ssm-agent.deb"
dpkg -i "$package"
rm -f "$package"
systemctl enable --now amazon-ssm-agent.service

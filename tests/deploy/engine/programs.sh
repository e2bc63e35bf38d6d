#!/usr/bin/env bash
# Unpacks a Docker engine with BuildKit, Compose and its helpers from Debian's packages. It installs nothing.
#
#   tests/deploy/engine/programs.sh FOLDER
#
# FOLDER gets the packages' usr/. Debian 12's Docker does not support newer options of Dockerfiles, so the engine is
# Debian 13's. runc and iptables are those of this Debian, for its C library.
set -euo pipefail
if [[ $# -ne 1 ]]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
folder=$(mkdir -p "$1" && cd "$1" && pwd)
lists=$folder/lists
mkdir -p "$lists/partial" "$folder/cache/archives/partial" "$folder/packages"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] http://deb.debian.org/debian trixie main" >"$folder/trixie.list"
trixie=(-o "Dir::Etc::sourcelist=$folder/trixie.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$lists"
    -o Dir::State::status=/dev/null -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root)

cd "$folder/packages"
apt-get -qq "${trixie[@]}" update
apt-get -qq "${trixie[@]}" download docker.io docker-cli containerd docker-buildx docker-compose
apt-get -qq update
apt-get -qq -o APT::Sandbox::User=root download runc tini mmdebstrap iptables libxtables12 libip4tc2 libip6tc2 \
    libnetfilter-conntrack3 libnfnetlink0 libnftnl11 libmnl0
for package in *.deb; do
    dpkg -x "$package" "$folder"
done
ln -sf tini-static "$folder/usr/bin/docker-init"
mkdir -p "$folder/config/cli-plugins"
ln -sf "$folder"/usr/libexec/docker/cli-plugins/* "$folder/config/cli-plugins/"
echo '{}' >"$folder/config/config.json"
rm -r "$folder/packages" "$folder/cache" "$lists"
ln -sf xtables-nft-multi "$folder/usr/sbin/iptables"
ln -sf xtables-nft-multi "$folder/usr/sbin/ip6tables"

#!/usr/bin/env bash
# Unpacks a headless Chromium, its driver and a Korean font from Debian's packages (some 450 MB). It installs nothing.
#
#   tests/gateway/browser.sh FOLDER
#
# FOLDER gets the packages' usr/, with the libraries that this machine lacks.
set -euo pipefail
if [[ $# -ne 1 ]]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
packages=(chromium-headless-shell chromium-driver fonts-nanum)
folder=$(mkdir -p "$1" && cd "$1" && pwd)
mkdir -p "$folder/packages"
cd "$folder/packages"
missing() {
    apt-get --print-uris -qq --no-install-recommends install "${packages[@]}" | awk '{ split($2, part, "_"); print part[1] }'
}
names=$(missing) || { apt-get -qq update && names=$(missing); }
# shellcheck disable=SC2086 # one word each
apt-get -qq -o APT::Sandbox::User=root download $names || { apt-get -qq update && apt-get -qq -o APT::Sandbox::User=root download $names; }
for package in *.deb; do
    dpkg -x "$package" "$folder"
done
rm -r "$folder/packages"

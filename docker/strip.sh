#!/usr/bin/env bash
# Removes torch's headers from an environment that install.sh made. Only bake.sh needs them, for the encoder's
# operators.
#
#   docker/strip.sh FOLDER
set -euo pipefail
if [[ $# -ne 1 ]]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi

packages=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rm -rf "$packages/torch/include"

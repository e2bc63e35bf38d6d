#!/usr/bin/env bash
# Installs Sentriton into a virtual environment of its own that has neither pip nor any other build tool in it.
#
#   docker/install.sh SOURCE FOLDER EXTRAS
#
# SOURCE   a checkout of this repository
# FOLDER   where the environment is made: it cannot be moved afterwards
# EXTRAS   of pyproject.toml: `serve` where the base image has a tritonserver, `export` beside it to make repositories
#          there as well, `server` for everything, the wheel's Triton included
#
# $PYTHON is the interpreter (python3), with pip 22.3 or later. pip's own variables hold, such as PIP_EXTRA_INDEX_URL.
set -euo pipefail
if [[ $# -ne 3 ]]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
source=$1 folder=$2 extras=$3
python=${PYTHON:-python3}

"$python" -m venv --without-pip "$folder"
"$python" -m pip --python "$folder/bin/python" install --disable-pip-version-check --no-warn-script-location --quiet \
    --constraint "$source/constraints.txt" --constraint "$source/docker/constraints.txt" "$source[$extras]"
"$folder/bin/sentriton" --help >/dev/null

#!/usr/bin/env bash
# Installs Sentriton into a new virtual environment, without pip or other build tools. It leaves out tests, and bytecode
# of modules that Sentriton does not import. strip.sh removes torch's headers, which only an export needs.
#
#   docker/install.sh SOURCE FOLDER PART...
#
# SOURCE   a checkout of this repository
# FOLDER   where the environment is made: it cannot be moved afterwards
# PART     a file of server/requirements: `serve` where the base image has a tritonserver, `pooling` beside it for GPUs,
#          `export` to make repositories there as well, `triton` for the wheel's Triton; `pip install sentriton-server`
#          brings all of them. `gateway`, alone, for the gateway without a server.
#
# $PYTHON is the interpreter (python3): 3.11 or 3.12, with pip 22.3 or later. pip's variables apply, such as
# PIP_EXTRA_INDEX_URL.
set -euo pipefail
if [[ $# -lt 3 ]]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
source=$1 folder=$2
package=server requirements=() without_dependencies=()
for part in "${@:3}"; do
    case $part in
        gateway) package=gateway requirements+=(--requirement "$source/gateway/requirements.txt") ;;
        # Only its files are needed, not its Python package.
        triton) without_dependencies+=(--requirement "$source/server/requirements/$part.txt") ;;
        *) requirements+=(--requirement "$source/server/requirements/$part.txt") ;;
    esac
done
python=${PYTHON:-python3}
"$python" - "$0" <<'END'
import sys

version = sys.version_info
if not (3, 11) <= version < (3, 13):
    given = f"{sys.executable} is Python {version[0]}.{version[1]}"
    sys.exit(f"{sys.argv[1]}: {given}; the pinned packages need 3.11 or 3.12; take a base image that has it")
END

"$python" -m venv --without-pip "$folder"
pip=("$python" -m pip --python "$folder/bin/python" install --disable-pip-version-check --no-warn-script-location --no-compile --quiet)
"${pip[@]}" --constraint "$source/constraints.txt" --constraint "$source/docker/constraints.txt" \
    "$source/client/python" "${requirements[@]}"
# The server's metadata ask for all parts.
"${pip[@]}" --no-deps "$source/$package" "${without_dependencies[@]}"

packages=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
find "$packages" -type d -name tests -prune -exec rm -rf {} +
rm -rf "$packages/torch/share"

# A module's first import writes its bytecode. A container cannot, and would compile all of them at each start.
for part in "${@:3}"; do
    case $part in
        gateway)
            "$folder/bin/sentriton" gateway --help >/dev/null
            "$folder/bin/python" -c 'import sentriton_gateway.health, sentriton_gateway.service'
            ;;
        serve)
            "$folder/bin/sentriton" serve --help >/dev/null
            "$folder/bin/python" -c 'import numpy, tokenizers, sentriton_server.serving'
            ;;
        pooling) "$folder/bin/python" -c 'import torch' ;;
        export)
            "$folder/bin/python" -c 'import sentence_transformers, sentriton_server.export'
            # A container has no compiler.
            "$folder/bin/python" -m sentriton_server.encoder.operators ||
                echo "exports by $folder have torch's operators" >&2
            ;;
        triton) "$folder/bin/python" -m sentriton_server.serving.prepare ;;
    esac
done

#!/usr/bin/env bash
# Exports the checkpoint of an image.
#
#   docker/bake.sh FOLDER REPOSITORY CHECKPOINT [PRECISION [CORES]]
#
# FOLDER       the environment that install.sh made
# REPOSITORY   the model repository to write
# CHECKPOINT   a folder or a hub id; empty: nothing is baked in, mount a repository instead
# PRECISION    fp32 (default), bf16 or int8
# CORES        that a server of it will have, whatever the builder has: a small encoder is there once for each
set -euo pipefail
if [[ $# -lt 3 || $# -gt 5 ]]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
folder=$1 repository=$2 checkpoint=$3 precision=${4:-} cores=${5:-}

mkdir -p "$(dirname "$repository")"
if [[ -n $cores ]]; then
    export OMP_NUM_THREADS=$cores
fi
if [[ -n $checkpoint ]]; then
    "$folder/bin/sentriton" export "$checkpoint" "$repository" --device cpu ${precision:+--precision "$precision"}
fi

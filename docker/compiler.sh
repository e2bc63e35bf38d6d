#!/usr/bin/env bash
# Installs a C++ compiler into a Debian builder stage, for the encoder's operators. The final image needs no compiler.
set -euo pipefail
if ! command -v g++ >/dev/null; then
    apt-get update --quiet=2
    apt-get install --quiet=2 --yes --no-install-recommends g++
fi

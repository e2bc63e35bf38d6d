#!/usr/bin/env bash
# Creates /opt/tritonserver like NVIDIA's image, and torch for the stand-in of the libtorch backend.
#
#   fill.sh ENVIRONMENT
#
# ENVIRONMENT   the environment of the CPU image
set -euo pipefail
packages=$(echo "$1"/lib/python3*/site-packages)
triton=/opt/tritonserver torch=/opt/libtorch
mkdir -p $triton $torch

cp -a "$packages/pytriton/tritonserver/bin" $triton/bin
cp -a "$packages/nvidia_pytriton.libs" $triton/lib
# The folder in which Triton looks for backends by itself.
cp -a "$1/libexec/sentriton/backends" $triton/backends

# Only torch and its dependencies, so that packages that the GPU image lacks are missing. PyTorch's CPU build has no
# CUDA.
for name in torch torchgen functorch typing_extensions.py sympy mpmath networkx jinja2 markupsafe fsspec filelock \
    nvidia triton cuda; do
    if [[ -e $packages/$name ]]; then
        cp -a "$packages/$name" $torch/
    fi
done
# The stubs do not read PYTHONPATH, and an environment reads the interpreter's own sitecustomize (Debian's is a link).
customize=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')/sitecustomize.py
rm -f "$customize"
echo "import sys; sys.path.append('$torch')" >"$customize"

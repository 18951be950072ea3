#!/usr/bin/env bash
# The steps of the image, as the Dockerfile calls them:
#
#   install.sh system cpu|gpu          what the system must have, and the user of the image
#   install.sh dependencies cpu|gpu    an environment with the packages of pyproject.toml, in the versions of constraints.txt
#   install.sh project                 the project in it, without its dependencies
#   install.sh models "PRESET ..."     the published models of these presets, each file with the hub's hash; none for an empty list
#   install.sh check                   whether it works, as the user of the image
set -euo pipefail

home=${TERRAQUERY_HOME:-/opt/terraquery}
venv=$home/.venv
uv_version=0.13.9

system() {
  # libgomp1 for PyTorch, libnuma1 for vLLM on CPUs, libexpat1 for GDAL's drivers of XML.
  local wanted=(ca-certificates libexpat1 libgomp1 libnuma1)
  # Triton compiles its launchers when a model is loaded.
  [ "$1" = gpu ] && wanted+=(gcc libc6-dev)
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  apt-get -qq install -y --no-install-recommends "${wanted[@]}"
  apt-get clean
  rm -rf /var/lib/apt/lists/*
  groupadd --gid 1000 terraquery
  useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash terraquery
  # A login shell, which an operator may start Ray in, sets its own PATH.
  echo "export PATH=$venv/bin:\$PATH" >/etc/profile.d/terraquery.sh
  mkdir -p "$home/hub"
}

uv() {
  test -x /opt/uv/bin/uv || {
    python -m venv /opt/uv
    /opt/uv/bin/pip install --quiet --no-cache-dir "uv==$uv_version"
  }
  UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 /opt/uv/bin/uv "$@"
}

dependencies() {
  python -m venv --without-pip "$venv"
  # sam2 is built here and wants PyTorch for it: this one, and not another of several GB beside it.
  local install=(uv pip install --python "$venv/bin/python" --constraints constraints.txt)
  "${install[@]}" torch setuptools
  SAM2_BUILD_CUDA=0 "${install[@]}" --no-build-isolation-package sam2 \
    --requirements pyproject.toml --extra "$1" --extra clouds
}

project() {
  uv pip install --python "$venv/bin/python" --no-deps .
}

models() {
  local token=/run/secrets/hub-token preset
  for preset in $1; do
    HF_TOKEN=$(cat "$token" 2>/dev/null || true) \
      "$venv/bin/python" jobs/fetch_models.py --preset "$preset" --to "$home/hub"
  done
  chmod -R a+rX "$home/hub"
}

check() {
  test "$(id -u)" -eq 1000
  test "$(command -v python)" = "$venv/bin/python"
  test "$(bash -lc 'command -v python')" = "$venv/bin/python"
  test "$(command -v ray)" = "$venv/bin/ray"
  if touch "$home/jobs/x" 2>/dev/null; then
    echo "the user of the image may write to the project" >&2
    exit 1
  fi
  cd /
  python - <<'PY'
import importlib.metadata
from pathlib import Path

import cc3d, numba, onnxruntime, pyogrio, rasterio, ray.data, sam2, torch, transformers, vllm  # noqa: E401

import pipeline

assert Path(pipeline.__file__).is_relative_to("/opt/terraquery/.venv"), pipeline.__file__
print("terraquery", importlib.metadata.version("terraquery"), "ray", ray.__version__, "vllm", vllm.__version__)
PY
  # What vLLM loads only with a model. CUDA's own libraries come with the wheels and the driver.
  local site=$venv/lib/python3.12/site-packages missing
  missing=$(LD_LIBRARY_PATH=$site/torch/lib ldd "$site"/vllm/*.so | grep 'not found' | grep -vE 'lib(cu|nv)' || true)
  if [ -n "$missing" ]; then
    echo "the system lacks libraries: $missing" >&2
    exit 1
  fi
  python "$home/jobs/segment_region.py" --help >/dev/null
  python -m pipeline.run.pods.keep_logs --help >/dev/null
}

step=$1
shift
case $step in
  system | dependencies | project | models | check) "$step" "$@" ;;
  *)
    echo "unknown step: $step" >&2
    exit 2
    ;;
esac

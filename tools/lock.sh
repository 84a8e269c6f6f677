#!/bin/sh
# Write requirements.lock anew: the version and the hashes of every library, for every extra and interpreter.
#
#     tools/lock.sh [FILE]               keep the versions where pyproject.toml allows them
#     tools/lock.sh [FILE] --upgrade     take the newest
set -eu
case ${1:-} in ""|-*) file=requirements.lock ;; *) file=$1; shift ;; esac
cd "$(dirname "$0")/.."
# Without addresses: each machine has its own index.
exec uv pip compile --quiet --universal --generate-hashes --all-extras --no-annotate --no-emit-index-url \
  --no-emit-find-links --custom-compile-command tools/lock.sh --output-file "$file" "$@" pyproject.toml

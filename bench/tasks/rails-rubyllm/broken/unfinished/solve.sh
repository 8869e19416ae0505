#!/usr/bin/env bash
# The application is there; what stands around it is as a generator leaves it.
set -eu
HOTSEAT_SOLUTION="${HOTSEAT_SOLUTION:-/solution}/../../solution"
export HOTSEAT_SOLUTION
bash "$HOTSEAT_SOLUTION/solve.sh"
rm -r .github bin/ci compose.yaml
printf '# README\n\nThis is a new application. Things to be written down here: versions, configuration, tests.\n' > README.md
sed -i '/simplecov/Id' test/test_helper.rb

#!/usr/bin/env bash
# The environment that points podman (and the service it runs) at the test bed.
#   . tests/testbed/env.sh            in bash
#   eval "$(tests/testbed/env.sh)"    in any shell
# PERIGEE_TESTBED moves the bed; the default is target/testbed of this repository.
PERIGEE_TESTBED=$(realpath -m -- "${PERIGEE_TESTBED:-$(dirname "${BASH_SOURCE[0]}")/../../target/testbed}")
CONTAINERS_CONF=$PERIGEE_TESTBED/containers.conf
CONTAINERS_STORAGE_CONF=$PERIGEE_TESTBED/storage.conf
export PERIGEE_TESTBED CONTAINERS_CONF CONTAINERS_STORAGE_CONF
if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    for _v in PERIGEE_TESTBED CONTAINERS_CONF CONTAINERS_STORAGE_CONF; do
        printf 'export %s=%q\n' "$_v" "${!_v}"
    done
fi

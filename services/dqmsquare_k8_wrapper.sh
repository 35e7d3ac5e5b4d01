#!/usr/bin/env bash
# Runs a part of the mirror in a container. CMSWEB's manifest calls it in the image's working folder:
#
#   ./dqmsquare_k8_wrapper.sh server         web server and both grabbers in one container, ended together
#   ./dqmsquare_k8_wrapper.sh server-only    the web server alone
#   ./dqmsquare_k8_wrapper.sh grabber production | playback
#   ./dqmsquare_k8_wrapper.sh dummy          an idle container, to look around in
#
# Any other words go to dqmsquare_mirror.py as they are: migrate, db adopt, healthcheck.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

case ${1:-} in
    server) words=(all) ;;
    server-only) words=(server) ;;
    dummy) exec sleep infinity ;;
    *) words=("$@") ;;
esac
exec python dqmsquare_mirror.py "${words[@]}"

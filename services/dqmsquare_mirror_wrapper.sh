#!/usr/bin/env bash
# Starts a service of the mirror for systemd, delaying restarts that follow each other quickly:
#
#   dqmsquare_mirror_wrapper.sh server | grabber-production | grabber-playback  STATE
#   dqmsquare_mirror_wrapper.sh stopped STATE    after it has stopped, with SERVICE_RESULT of systemd.exec(5)
#
# The working directory is this script's, with the executable, .env, log/ and tmp/. STATE is a directory that
# systemd keeps across restarts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# A service that ran for longer than this did not fail at startup (s).
stable_after=600
# Maximum delay of a restart (s), included in the unit's TimeoutStartSec.
max_delay=300

service=${1:-}
state=${2:-}
case $service in
    server) command=(server) ;;
    grabber-production | grabber-playback) command=(grabber "${service#grabber-}") ;;
    stopped)
        # A service that was stopped on request did not fail: its next start is not delayed.
        [[ ${SERVICE_RESULT:-} != success ]] || rm -f -- "$state/restarts"
        exit
        ;;
    *)
        echo "unknown service '$service'; accepted: server, grabber-production, grabber-playback" >&2
        exit 2
        ;;
esac

# Exponential backoff; RestartSteps needs systemd 254.
delay_restart() {
    local failures=0 started=0 delay=0 now
    if [[ -r $state/restarts ]]; then
        # It is empty if there was no space for it.
        read -r failures started <"$state/restarts" || failures=0 started=0
        now=$(date +%s)
        failures=$((now - started < stable_after ? failures + 1 : 0))
    fi
    # No delay of the first restart, 5 s of the second, then twice as long each time.
    if ((failures >= 8)); then
        delay=$max_delay
    elif ((failures >= 2)); then
        delay=$((5 << (failures - 2)))
    fi
    # Without a record the next restart is not delayed, which is better than no restart.
    echo "$failures $(($(date +%s) + delay))" >"$state/restarts" || true
    if ((delay > 0)); then
        echo "restart $failures in a row, delayed by $delay s" >&2
        sleep "$delay"
    fi
}

if [[ -n $state ]]; then
    delay_restart
fi

# Directory where the executable unpacks itself; one that was killed leaves files behind.
export TMPDIR=$PWD/tmp/$service
rm -rf -- "$TMPDIR"
mkdir -p -- "$TMPDIR"

exec ./dqmsquare_mirror "${command[@]}"

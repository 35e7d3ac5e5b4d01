#!/usr/bin/env bash
# Becomes one part of the mirror, for systemd:
#
#   dqmsquare_mirror_wrapper.sh server | grabber-production | grabber-playback  STATE
#   dqmsquare_mirror_wrapper.sh ended STATE    when it has ended; why is in SERVICE_RESULT, as systemd.exec(5) says
#
# It stands beside the executable, whose working directory is this one, with .env, log/ and tmp/. STATE is a
# folder that lasts from a start to the restarts that follow it, and no longer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# A part that ran for so long has not failed at its start (s).
lasted=600
# The longest pause before a restart (s). The unit's TimeoutStartSec leaves room for it.
longest_pause=300

part=${1:-}
state=${2:-}
case $part in
    server) words=(server) ;;
    grabber-production | grabber-playback) words=(grabber "${part#grabber-}") ;;
    ended)
        # Who was told to end did not fail: an operator's restart is at once, however many came before it.
        [[ ${SERVICE_RESULT:-} != success ]] || rm -f -- "$state/restarts"
        exit
        ;;
    *)
        echo "no part of the mirror is called '$part'; there are server, grabber-production, grabber-playback" >&2
        exit 2
        ;;
esac

# Restarts that follow quickly on each other come ever more slowly: older systemd has no RestartSteps.
pause_before_restart() {
    local quick=0 started=0 pause=0 now
    if [[ -r $state/restarts ]]; then
        read -r quick started <"$state/restarts"
        now=$(date +%s)
        quick=$((now - started < lasted ? quick + 1 : 0))
    fi
    # The first restart is at once, the second after 5 s, then twice as long each time.
    if ((quick >= 8)); then
        pause=$longest_pause
    elif ((quick >= 2)); then
        pause=$((5 << (quick - 2)))
    fi
    echo "$quick $(($(date +%s) + pause))" >"$state/restarts"
    if ((pause > 0)); then
        echo "restart number $quick in a row: waiting for $pause s" >&2
        sleep "$pause"
    fi
}

if [[ -n $state ]]; then
    pause_before_restart
fi

# Where the executable unpacks itself. What one that was killed left there goes now.
export TMPDIR=$PWD/tmp/$part
rm -rf -- "$TMPDIR"
mkdir -p -- "$TMPDIR"

exec ./dqmsquare_mirror "${words[@]}"

#!/usr/bin/env bash
# Builds the mirror as one executable, for machines without Python, and installs it as systemd services.
set -euo pipefail

program=dqmsquare_mirror
services=(server grabber-production grabber-playback)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<END
dqmsquare_deploy.sh build [--dist DIR]
    build DIR/$program (default: dist/ in this directory), with Python $min_python or newer
dqmsquare_deploy.sh install [--prefix DIR] [--units DIR] [--user NAME] [--executable FILE]
    install or update the executable in --prefix (default: /opt/$program) and the systemd unit in --units
    (default: /etc/systemd/system), and create the user (default: dqmsquare) if it does not exist;
    .env, log/ and tmp/ are kept
dqmsquare_deploy.sh status [--prefix DIR]
    print the installed version, the state of the services, and their health
dqmsquare_deploy.sh uninstall [--prefix DIR] [--units DIR]
    stop the services and remove the installed files; .env, log/ and tmp/ are kept
END
}
min_python=3.11

fail() {
    echo "$1" >&2
    exit 2
}

# Parses options into dist, prefix, units, user and executable; "$1" lists those of the command.
read_options() {
    local known=" $1 "
    shift
    dist=$here/dist
    prefix=/opt/$program
    units=/etc/systemd/system
    user=dqmsquare
    executable=$here/dist/$program
    while (($# > 0)); do
        [[ $known == *" $1 "* ]] || fail "$1 is not an option of this command; accepted:$known"
        (($# > 1)) || fail "$1 requires a value"
        case $1 in
            --dist) dist=$2 ;;
            --prefix) prefix=${2%/} ;;
            --units) units=${2%/} ;;
            --user) user=$2 ;;
            --executable) executable=$2 ;;
        esac
        shift 2
    done
    # Characters without a special meaning in units, sed and the shell.
    [[ $prefix =~ ^(/[A-Za-z0-9._-]+)+$ ]] || fail "--prefix must be an absolute path of A-Z a-z 0-9 . _ - and /"
    [[ $user =~ ^[a-z_][a-z0-9_-]*$ ]] || fail "--user must be a name of a-z 0-9 _ -"
}

build() {
    read_options "--dist" "$@"
    cd "$here"
    # Builds of one directory take turns: each begins by emptying what it works in.
    mkdir -p build
    exec 9>build/lock
    flock 9
    create_venv build/venv
    local python=build/venv/bin/python module
    $python -B tools/frontend_libs.py
    $python -c 'from runtime import version; print(version.current().commit)' >build/COMMIT
    local hidden=()
    while read -r module; do
        hidden+=(--hidden-import "$module")
    done < <($python -c 'import dqmsquare_mirror as mirror; print(*{module for module, _ in mirror.COMMANDS.values()}, sep="\n")')
    hidden+=(--hidden-import "$($python -c 'from grabbing import sender_process as sender; print(sender.MODULE)')")
    # Time zones are included for machines that have none. gunicorn, uvicorn and apprise load modules by name; apprise
    # lists the files of its folder to find its plug-ins, and it reads its assets.
    $python -m PyInstaller --noconfirm --clean --log-level ERROR --onefile --name "$program" \
        --paths "$here" --distpath "$dist" --workpath build --specpath build \
        --add-data "$here/templates:templates" \
        --add-data "$here/static:static" \
        --add-data "$here/migrations:migrations" \
        --add-data "$here/docs/*.md:docs" \
        --add-data "$here/web/api_v1/*.json:web/api_v1" \
        --add-data "$here/build/COMMIT:." \
        --collect-data tzdata --hidden-import tzdata \
        --hidden-import gunicorn.glogging \
        --collect-all apprise \
        --hidden-import uvicorn.loops.uvloop --hidden-import uvicorn.lifespan.off \
        --exclude-module tools --exclude-module benchmarks --exclude-module tests \
        "${hidden[@]}" "$program.py"
    check_libraries "$dist/$program"
    echo "$dist/$program: $("$dist/$program" --version), $(du -h "$dist/$program" | cut -f1)"
    echo "Requires $(uname -m) and $(getconf GNU_LIBC_VERSION) or newer, as on this system."
}

# PyInstaller's bootloader is compiled here with a static zlib: the prebuilt one needs the system's.
create_venv() {
    local venv=$1 python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is not Python $min_python or newer; name one: PYTHON=/path/to/python"
    type gcc >/dev/null 2>&1 || fail "gcc is required to compile PyInstaller's bootloader"
    [[ -x $venv/bin/python ]] || "$python" -m venv "$venv"
    PYI_STATIC_ZLIB=1 "$venv/bin/python" -m pip --quiet --disable-pip-version-check install \
        --no-cache-dir --no-binary pyinstaller --require-hashes --requirement requirements-build.txt
}

check_libraries() {
    local other
    other=$(ldd "$1" | awk '{ print $1 }' | grep -vE '^(linux-vdso|.*/ld-linux|lib(c|dl|pthread|m|rt))[.-]' || true)
    [[ -z $other ]] || fail "$1 requires libraries other than glibc: $other"
}

install_() {
    read_options "--prefix --units --user --executable" "$@"
    [[ -x $executable ]] || fail "$executable does not exist; run dqmsquare_deploy.sh build"
    "$executable" --version >/dev/null || fail "$executable does not run on this system, see above"
    create_user
    mkdir -p "$prefix" "$units"
    install -d -o "$user" -g "$(id -gn "$user")" -m 0750 "$prefix/log" "$prefix/tmp"
    replace 0755 "$executable" "$prefix/$program"
    replace 0755 "$here/services/${program}_wrapper.sh" "$prefix/${program}_wrapper.sh"
    unit | replace 0644 /dev/stdin "$units/$program@.service"
    local next="running services keep the previous version until: systemctl restart"
    if [[ ! -e $prefix/.env ]]; then
        create_env
        next="edit $prefix/.env, then: systemctl enable --now"
    fi
    reload_systemd
    echo "installed $("$prefix/$program" --version) in $prefix"
    echo "$next ${services[*]/#/$program@}"
}

create_user() {
    id "$user" >/dev/null 2>&1 && return
    [[ $(id -u) == 0 ]] || fail "user $user does not exist, and only root can create it; --user names another"
    useradd --system --no-create-home --home-dir "$prefix" --shell /usr/sbin/nologin "$user"
}

# Replaces a file atomically; running services keep the previous one.
replace() {
    install -m "$1" "$2" "$3.new"
    mv -f "$3.new" "$3"
}

unit() {
    sed -e "s#/opt/$program#$prefix#g" \
        -e "s#^User=.*#User=$user#" -e "s#^Group=.*#Group=$(id -gn "$user")#" \
        "$here/services/$program@.service"
}

# Creates .env from the sample, with the directories of the installation and placeholders for required settings.
create_env() {
    sed -e 's/^ENV=development$/ENV=production/' \
        -e "s#^\#LOG_DIR=.*#LOG_DIR=$prefix/log#" -e "s#^\#TMP_DIR=.*#TMP_DIR=$prefix/tmp#" \
        -e 's/^#\(POSTGRES_PASSWORD\|PSEUDONYM_SECRET\|SESSION_SECRET\)=.*/\1=CHANGEME/' \
        "$here/.env_sample" | install -m 0640 -g "$(id -gn "$user")" /dev/stdin "$prefix/.env"
}

status() {
    read_options "--prefix" "$@"
    [[ -x $prefix/$program ]] || fail "the mirror is not installed in $prefix"
    echo "$prefix: $("$prefix/$program" --version)"
    local service
    for service in "${services[@]}"; do
        echo "$service: $(state_of "$program@$service")"
    done
    (cd "$prefix" && ./"$program" healthcheck)
}

state_of() {
    if has_systemd; then
        systemctl is-active "$1" || true
    else
        echo "unknown, systemd is not running"
    fi
}

uninstall() {
    read_options "--prefix --units" "$@"
    if has_systemd; then
        systemctl disable --now "${services[@]/#/$program@}" || true
    fi
    rm -f "$units/$program@.service" "$prefix/$program" "$prefix/${program}_wrapper.sh"
    reload_systemd
    echo "removed; kept .env, log/ and tmp/ in $prefix"
}

reload_systemd() {
    if has_systemd && [[ $units == /etc/systemd/system ]]; then
        systemctl daemon-reload
    fi
}

has_systemd() {
    [[ -d /run/systemd/system ]]
}

command=${1:-}
case $command in
    build | status | uninstall) "$command" "${@:2}" ;;
    install) install_ "${@:2}" ;;
    help | --help | -h) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac

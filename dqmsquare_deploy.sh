#!/usr/bin/env bash
# The mirror as one executable, for machines where no Python can be installed, and as services of systemd.
set -euo pipefail

program=dqmsquare_mirror
parts=(server grabber-production grabber-playback)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<END
dqmsquare_deploy.sh build [--dist DIR]
    makes DIR/$program (dist/ here by default) out of this folder, with a Python $oldest_python or newer
dqmsquare_deploy.sh install [--prefix DIR] [--units DIR] [--user NAME] [--executable FILE]
    puts the executable into DIR (/opt/$program), a unit into the other one (/etc/systemd/system), and
    makes the user (dqmsquare) if need be; what is there is replaced, but for .env, log/ and tmp/
dqmsquare_deploy.sh status [--prefix DIR]
    tells which version is installed, which services run, and whether they are well
dqmsquare_deploy.sh uninstall [--prefix DIR] [--units DIR]
    ends the services and removes what install put in place, but for .env, log/ and tmp/
END
}
oldest_python=3.11

refuse() {
    echo "$1" >&2
    exit 2
}

# Reads the options into dist, prefix, units, user and executable; "$1" are those that the command has.
read_options() {
    local known=" $1 "
    shift
    dist=$here/dist
    prefix=/opt/$program
    units=/etc/systemd/system
    user=dqmsquare
    executable=$here/dist/$program
    while (($# > 0)); do
        [[ $known == *" $1 "* ]] || refuse "$1 is no option of this command; there are:$known"
        (($# > 1)) || refuse "$1 needs a value"
        case $1 in
            --dist) dist=$2 ;;
            --prefix) prefix=${2%/} ;;
            --units) units=${2%/} ;;
            --user) user=$2 ;;
            --executable) executable=$2 ;;
        esac
        shift 2
    done
    # Words that a unit, sed and the shell all take as they are.
    [[ $prefix =~ ^(/[A-Za-z0-9._-]+)+$ ]] || refuse "--prefix must be a full path of A-Z a-z 0-9 . _ - and /"
    [[ $user =~ ^[a-z_][a-z0-9_-]*$ ]] || refuse "--user must be a name of a-z 0-9 _ -"
}

build() {
    read_options "--dist" "$@"
    cd "$here"
    make_environment build/venv
    local python=build/venv/bin/python module
    $python -B tools/frontend_libs.py
    $python -c 'from runtime import version; print(version.current().commit)' >build/COMMIT
    local hidden=()
    while read -r module; do
        hidden+=(--hidden-import "$module")
    done < <($python -c 'import dqmsquare_mirror as mirror; print(*{module for module, _ in mirror.COMMANDS.values()}, sep="\n")')
    # Time zones come along, for a machine may have none. Gunicorn loads its log by name.
    $python -m PyInstaller --noconfirm --clean --log-level ERROR --onefile --name "$program" \
        --paths "$here" --distpath "$dist" --workpath build --specpath build \
        --add-data "$here/templates:templates" \
        --add-data "$here/static:static" \
        --add-data "$here/migrations:migrations" \
        --add-data "$here/docs/*.md:docs" \
        --add-data "$here/build/COMMIT:." \
        --collect-data tzdata --hidden-import tzdata \
        --hidden-import gunicorn.glogging --hidden-import gunicorn.workers.gthread \
        "${hidden[@]}" "$program.py"
    refuse_more_than_glibc "$dist/$program"
    echo "$dist/$program: $("$dist/$program" --version), $(du -h "$dist/$program" | cut -f1)"
    echo "It runs on $(uname -m) with $(getconf GNU_LIBC_VERSION) or newer, this system's own."
}

# PyInstaller's bootloader is compiled here with a static zlib: the prebuilt one needs the system's.
make_environment() {
    local environment=$1 python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        refuse "$python is not Python $oldest_python or newer; name one: PYTHON=/path/to/python"
    type gcc >/dev/null 2>&1 || refuse "gcc is required to compile PyInstaller's bootloader"
    [[ -x $environment/bin/python ]] || "$python" -m venv "$environment"
    PYI_STATIC_ZLIB=1 "$environment/bin/python" -m pip --quiet --disable-pip-version-check install \
        --no-cache-dir --no-binary pyinstaller --require-hashes --requirement requirements-build.txt
}

refuse_more_than_glibc() {
    local more
    more=$(ldd "$1" | awk '{ print $1 }' | grep -vE '^(linux-vdso|.*/ld-linux|lib(c|dl|pthread|m|rt))[.-]' || true)
    [[ -z $more ]] || refuse "$1 needs more than glibc: $more"
}

install_() {
    read_options "--prefix --units --user --executable" "$@"
    [[ -x $executable ]] || refuse "there is no $executable; dqmsquare_deploy.sh build makes it"
    "$executable" --version >/dev/null || refuse "$executable does not run here; why stands above"
    make_user
    mkdir -p "$prefix" "$units"
    install -d -o "$user" -g "$(id -gn "$user")" -m 0750 "$prefix/log" "$prefix/tmp"
    replace 0755 "$executable" "$prefix/$program"
    replace 0755 "$here/services/${program}_wrapper.sh" "$prefix/${program}_wrapper.sh"
    unit | replace 0644 /dev/stdin "$units/$program@.service"
    local then="what runs goes on as it was until: systemctl restart"
    if [[ ! -e $prefix/.env ]]; then
        make_env
        then="fill in $prefix/.env, then: systemctl enable --now"
    fi
    reload_systemd
    echo "installed $("$prefix/$program" --version) in $prefix"
    echo "$then ${parts[*]/#/$program@}"
}

make_user() {
    id "$user" >/dev/null 2>&1 && return
    [[ $(id -u) == 0 ]] || refuse "there is no user $user, and only root can make one; or name another: --user"
    useradd --system --no-create-home --home-dir "$prefix" --shell /usr/sbin/nologin "$user"
}

# Puts a file in place whole: what runs goes on with the old one.
replace() {
    install -m "$1" "$2" "$3.new"
    mv -f "$3.new" "$3"
}

unit() {
    sed -e "s#/opt/$program#$prefix#g" \
        -e "s#^User=.*#User=$user#" -e "s#^Group=.*#Group=$(id -gn "$user")#" \
        "$here/services/$program@.service"
}

# The settings as the sample has them, with what is so in an installation, and placeholders for what must be set.
make_env() {
    sed -e 's/^ENV=development$/ENV=production/' \
        -e "s#^\#LOG_DIR=.*#LOG_DIR=$prefix/log#" -e "s#^\#TMP_DIR=.*#TMP_DIR=$prefix/tmp#" \
        -e 's/^#\(POSTGRES_PASSWORD\|PSEUDONYM_SECRET\|SESSION_SECRET\)=.*/\1=CHANGEME/' \
        "$here/.env_sample" | install -m 0640 -g "$(id -gn "$user")" /dev/stdin "$prefix/.env"
}

status() {
    read_options "--prefix" "$@"
    [[ -x $prefix/$program ]] || refuse "nothing is installed in $prefix"
    echo "$prefix: $("$prefix/$program" --version)"
    local part
    for part in "${parts[@]}"; do
        echo "$part: $(state_of "$program@$part")"
    done
    (cd "$prefix" && ./"$program" healthcheck)
}

state_of() {
    if has_systemd; then
        systemctl is-active "$1" || true
    else
        echo "unknown, systemd does not run here"
    fi
}

uninstall() {
    read_options "--prefix --units" "$@"
    if has_systemd; then
        systemctl disable --now "${parts[@]/#/$program@}" || true
    fi
    rm -f "$units/$program@.service" "$prefix/$program" "$prefix/${program}_wrapper.sh"
    reload_systemd
    echo "removed; .env, log/ and tmp/ are still in $prefix"
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

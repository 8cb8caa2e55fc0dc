# shellcheck shell=bash
# What the developer scripts share. Source it; the working directory becomes the checkout's top.
#
# Debian 12. Only what is missing is installed; where nothing is missing, neither apt nor root is
# needed. A service that comes with a package (redis-server, memcached, prometheus) is never left
# running, since the tests start their own on ports of their own.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck disable=SC2034 # used by those who source this
{
    BUILD_PACKAGES=(gcc libc6-dev cmake ninja-build librocksdb-dev libaio-dev libzstd-dev
        libxxhash-dev libevent-dev libssl-dev libjansson-dev libjemalloc-dev)
    UNIT_PACKAGES=(pkg-config check libsubunit-dev)
    CLANG_PACKAGES=(clang llvm libclang-rt-14-dev)
    STYLE_PACKAGES=(python3 clang-format shellcheck)
    INTEGRATION_PACKAGES=(python3 redis-server redis-tools)
}

note() {
    printf '%s\n' "$*" >&2
}

die() {
    note "$0: $*"
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root (or sudo) to run: $*"
    fi
}

is_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# While packages are configured, policy-rc.d (Debian policy 9.3.3) refuses to start services. One
# that is there already stays as it is. Runs as root, in a shell of its own.
install_without_services() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    as_root bash -euo pipefail -c '
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            remove_policy() { rm -f "$policy"; }
            trap remove_policy EXIT
            printf "#!/bin/sh\nexit 101\n" >"$policy"
            chmod 755 "$policy"
        fi
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y -qq --no-install-recommends "$@"' install "$@"
}

# Packages that bring a service would start it at the next boot.
disable_services() {
    [ -d /run/systemd/system ] || return 0
    local package
    for package in "$@"; do
        case $package in
        redis-server | memcached | prometheus)
            as_root systemctl disable --now --quiet "$package" || true
            ;;
        esac
    done
}

# ensure_packages name...: installs those that are missing.
ensure_packages() {
    local missing=() package
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    note "installing: ${missing[*]}"
    # The lists of a fresh machine are empty or old: refresh them, then install.
    mkdir -p build
    {
        as_root apt-get update -qq
        install_without_services "${missing[@]}"
    } >build/apt.log 2>&1 </dev/null || {
        cat build/apt.log >&2
        die "apt could not install: ${missing[*]}"
    }
    disable_services "${missing[@]}"
}

# configure preset compiler: into build/<preset>; anew if that was configured for another compiler.
configure() {
    local preset=$1 compiler=$2 cache=build/$1/CMakeCache.txt
    local fresh=()
    if [ -f "$cache" ] && ! grep -qE "^CMAKE_C_COMPILER:[A-Z]+=(.*/)?$compiler\$" "$cache"; then
        fresh=(--fresh)
    fi
    CC=$compiler cmake --preset "$preset" "${fresh[@]}" >"build/$preset.log" 2>&1 || {
        cat "build/$preset.log"
        return 1
    }
}

# build preset compiler [target...]: quiet but for warnings and errors.
build() {
    local preset=$1 compiler=$2
    shift 2
    mkdir -p build
    configure "$preset" "$compiler"
    ninja -C "build/$preset" --quiet "$@"
}

#!/bin/sh
# Puts a runnable bitcoind into a cache folder and prints its path on stdout. Everything else goes to stderr.
#
#   sh fetch-bitcoind.sh CACHE
#
# Source: Debian's package `bitcoin-knots` (a Bitcoin Core derivative) of the suite sid, from the mirror this machine's
# apt already uses, together with the shared libraries it needs, the C library included, so that it runs on an older
# Debian too. apt checks the suite's index against Debian's archive keys, and each package against that index.
# Needs no root and installs nothing: an apt with settings and lists of its own works inside CACHE.
#
# Leaves in CACHE: bin/bitcoind, bin/bitcoin-cli (start those), files/ (programs, libraries) and
# packages.txt (name, version and SHA-256 of every package used).
set -eu

package=bitcoin-knots
suite=sid
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

tell() { printf '%s\n' "$*" >&2; }
fail() {
    tell "bitcoind cannot be fetched: $1"
    tell "Install Bitcoin Core or Bitcoin Knots, version 28 or later, and put bitcoind on PATH or its path in BITCOIND."
    exit 1
}

[ $# -eq 1 ] || fail "usage: fetch-bitcoind.sh CACHE"
# What this script starts, each with its package. Every Debian has them all.
missing=
while read -r tool package_of_it; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool (package $package_of_it)"
done <<TOOLS
apt-get apt
apt-cache apt
awk mawk
cat coreutils
chmod coreutils
cp coreutils
dirname coreutils
dpkg dpkg
dpkg-deb dpkg
find findutils
grep grep
head coreutils
mkdir coreutils
mktemp coreutils
paste coreutils
rm coreutils
sed sed
sort coreutils
tar tar
tr coreutils
TOOLS
command -v gpgv >/dev/null 2>&1 || command -v sqv >/dev/null 2>&1 || missing="$missing gpgv (package gpgv)"
[ -z "$missing" ] || fail "not on PATH:$missing. Fetching works on Debian and its kin only."
[ -r "$keyring" ] || fail "Debian's archive keys are missing; apt-get install debian-archive-keyring brings them."

mkdir -p "$1"
cache=$(cd "$1" && pwd -P)
case $cache in
    *[!A-Za-z0-9_./+@,=-]*) fail "the cache path has a character apt's settings cannot hold: $cache" ;;
esac

works() {
    for program in bitcoind bitcoin-cli; do
        "$cache/bin/$program" -version >/dev/null 2>&1 || return 1
    done
}

# Whoever comes second waits, then finds the work done.
if command -v flock >/dev/null 2>&1; then
    exec 9>"$cache/lock"
    flock 9
fi
if works; then
    printf '%s\n' "$cache/bin/bitcoind"
    exit 0
fi

# The archive of this machine's own Debian: neither its security updates nor its backports.
mirror=$(apt-get indextargets --format '$(IDENTIFIER) $(REPO_URI)' 2>/dev/null |
    awk '$1 == "Packages" && $2 !~ /security|backports/ && $2 ~ /\/debian\/*$/ { print $2; exit }')
[ -n "$mirror" ] || fail "apt on this machine names no Debian archive."
arch=$(dpkg --print-architecture)

job=$cache/job
tree=$job/tree
rm -rf "$job"
trap 'rm -rf "$job"' EXIT
mkdir -p "$job/state/lists/partial" "$job/cache/archives/partial" "$job/debs" "$tree"
: >"$job/state/status"
echo "deb [arch=$arch signed-by=$keyring] $mirror $suite main" >"$job/sources"
cat >"$job/settings" <<SETTINGS
Dir::State "$job/state";
Dir::State::status "$job/state/status";
Dir::Cache "$job/cache";
Dir::Log "$job";
Dir::Etc::sourcelist "$job/sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "/dev/null";
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Languages "none";
Acquire::Retries "3";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
SETTINGS
# Named by -c it is read after the machine's own settings (proxy, certificates), which stay in force where it is silent.
own() {
    tool=$1
    shift
    "$tool" -c "$job/settings" "$@"
}

tell "Fetching $package from Debian $suite, signatures checked (about 30 MB kept in $cache)"
own apt-get -q update >"$job/log" 2>&1 || { cat "$job/log" >&2; fail "apt could not read or verify the index of $suite."; }
if grep -q '^[EW]:' "$job/log"; then
    cat "$job/log" >&2
    fail "apt has doubts about the index of $suite."
fi

unpack() { # PACKAGE...
    (cd "$job/debs" && own apt-get -q download "$@") >"$job/log" 2>&1 || { cat "$job/log" >&2; fail "apt could not download: $*"; }
    for deb in "$job"/debs/*.deb; do
        dpkg-deb -x "$deb" "$tree"
        rm "$deb"
    done
}

libraries_of() { # PACKAGE...: the library packages they depend on
    own apt-cache depends --important "$@" |
        sed -n 's/^ *|*\(Pre\)*Depends: \(lib[^ ]*\)$/\2/p' | grep -v -e '^libsystemd' -e '^libudev' -e '^libpam' || :
}

# What the programs load: one "name path" per library, path "-" where it is not in the tree.
# A library the system would lend counts as missing, because it belongs to another C library.
loads() {
    for program in bitcoind bitcoin-cli; do
        "$loader" --library-path "$search" --list "$tree/usr/bin/$program" 2>&1
    done | awk -v tree="$tree/" '
        /error while loading shared libraries:/ { sub(/.*libraries: /, ""); sub(/:.*/, ""); print $0, "-"; next }
        $2 == "=>" && $1 !~ /\// { print $1, (index($3, tree) == 1 ? $3 : "-") }' | sort -u
}

# Breadth first through the dependencies, only as far as the loader still misses something.
used=$package
level=$package
unpack $package
while :; do
    fresh=
    for library in $(libraries_of $level); do
        case " $used " in *" $library "*) continue ;; esac
        used="$used $library"
        fresh="$fresh $library"
    done
    [ -n "$fresh" ] || fail "libraries are missing after all dependencies: $(loads | awk '$2 == "-" { print $1 }' | tr '\n' ' ')"
    unpack $fresh
    level=$fresh
    loader=$(find "$tree" -name 'ld-linux*.so.*' -type f | head -n 1)
    [ -n "$loader" ] || loader=$(find "$tree" -name 'ld-linux*.so.*' | head -n 1)
    [ -n "$loader" ] || continue
    search=$(find "$tree" -name '*.so.*' -exec dirname {} + | sort -u | paste -s -d : -)
    loads | grep -q ' -$' || break
done

rm -rf "$cache/files" "$cache/bin"
mkdir -p "$cache/files" "$cache/bin"
loads | while read -r name path; do cp -L "$path" "$cache/files/$name"; done
cp -L "$loader" "$cache/files/loader"
own apt-cache show $used | grep -E '^(Package|Version|SHA256): ' >"$cache/packages.txt"
for program in bitcoind bitcoin-cli; do
    cp "$tree/usr/bin/$program" "$cache/files/"
    {
        echo '#!/bin/sh'
        echo "exec '$cache/files/loader' --library-path '$cache/files' '$cache/files/$program' \"\$@\""
    } >"$cache/bin/$program"
    chmod 755 "$cache/bin/$program"
done
works || fail "it was unpacked but does not run: $("$cache/bin/bitcoind" -version 2>&1 | head -n 1)"
tell "$("$cache/bin/bitcoind" -version | head -n 1), packages listed in $cache/packages.txt"
printf '%s\n' "$cache/bin/bitcoind"

# Installs all packages in one transaction. A package may name its suite: rustc/trixie-backports.

# What the base has already is never removed.
dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package}\n' | awk '$1 == "ii" { print $2 }' | sort > "$BAKE/base-packages"
apt-mark showauto | sort > "$BAKE/base-auto"

# Adds a suite to the sources, at the place where the base gets its own release from.
add_suite() {
    local suite=$1 file=$2 targets place options=
    # shellcheck disable=SC2016 # apt fills in the variables of its format
    targets=$(apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages')
    if awk -v suite="$suite" '$1 == suite { found = 1 } END { exit !found }' <<< "$targets"; then
        return
    fi
    place=$(awk -v release="$(. /etc/os-release && echo "$VERSION_CODENAME")" '$1 == release && !found++ { print $2 }' <<< "$targets")
    [ -n "$place" ] || { echo "packages: no source of this base leads to suite $suite" >&2; exit 1; }
    if [ -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
        options='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] '
    fi
    printf 'deb %s%s %s main\n' "$options" "$place" "$suite" >> "/etc/apt/sources.list.d/$file.list"
}
for package in ${packages[@]+"${packages[@]}"}; do
    [[ $package != */* ]] || add_suite "${package#*/}" ewulf
done
for package in ${build_packages[@]+"${build_packages[@]}"}; do
    [[ $package != */* ]] || add_suite "${package#*/}" ewulf-bake
done
apt-get update -q
if [ $((${#packages[@]} + ${#build_packages[@]})) -gt 0 ]; then
    apt-get install -y -q ${packages[@]+"${packages[@]}"} ${build_packages[@]+"${build_packages[@]}"}
fi
